"""The record of a build: what it was asked for, how it ended, and the blobs that tell the rest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from buildkit.core.digest import Digest
from buildkit.core.values import dataclass, field
from buildkit.solve.request import ExporterRequest


@dataclass(frozen=True, slots=True)
class BlobRef:
    """A blob of the history's content store."""

    media_type: str
    digest: Digest
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a build failed: a gRPC code and the message."""

    code: int
    message: str


@dataclass(frozen=True, slots=True)
class ResultBlobs:
    """What one platform of a build gave: roots of images by the exporter's place, and attestations."""

    images: Mapping[str, BlobRef] = field(default_factory=dict[str, BlobRef])
    attestations: tuple[BlobRef, ...] = ()


@dataclass(frozen=True, slots=True)
class Steps:
    """How many vertices there were."""

    total: int = 0
    cached: int = 0
    completed: int = 0
    warnings: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRecord:
    """One build. Times are nanoseconds since 1970; without ``completed_at`` it runs."""

    ref: str
    frontend: str = ""
    frontend_attrs: Mapping[str, str] = field(default_factory=dict[str, str])
    exporters: tuple[ExporterRequest, ...] = ()
    created_at: int = 0
    completed_at: int | None = None
    error: Failure | None = None
    full_error: BlobRef | None = None
    """``google.rpc.Status`` with all details."""
    logs: BlobRef | None = None
    """Every status message, each behind its length (4 bytes, little endian)."""
    trace: BlobRef | None = None
    """When the build and its steps were at work, as spans."""
    exporter_response: Mapping[str, str] = field(default_factory=dict[str, str])
    result: ResultBlobs | None = None
    """Of a build for one platform that nobody named."""
    results: Mapping[str, ResultBlobs] = field(default_factory=dict[str, ResultBlobs])
    """By platform."""
    manifests: tuple[Digest, ...] = ()
    """Manifests and configs below the roots."""
    steps: Steps = Steps()
    pinned: bool = False
    generation: int = 0

    @property
    def digests(self) -> set[Digest]:
        """Every blob that this record needs."""
        return set(self._digests())

    def _digests(self) -> Iterator[Digest]:
        for blob in (self.full_error, self.logs, self.trace):
            if blob is not None:
                yield blob.digest
        for result in (*([self.result] if self.result else []), *self.results.values()):
            yield from (image.digest for image in result.images.values())
            yield from (attestation.digest for attestation in result.attestations)
        yield from self.manifests

    @property
    def status(self) -> str:
        """``running``, ``completed``, ``error`` or ``canceled``."""
        if self.completed_at is None:
            return "running"
        if self.error is None:
            return "completed"
        return "canceled" if "context canceled" in self.error.message else "error"
