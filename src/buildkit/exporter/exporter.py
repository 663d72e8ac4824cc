"""What an exporter is, what it is given, and what it gives back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from time import time_ns
from typing import TYPE_CHECKING, Protocol

from buildkit.core.errors import FailedPrecondition
from buildkit.core.values import dataclass, field
from buildkit.store.times import REAL, TimePolicy

if TYPE_CHECKING:
    from pathlib import Path

    from buildkit.core.progress import Reporter
    from buildkit.core.result import Result
    from buildkit.oci.names import Reference
    from buildkit.oci.registry import Access
    from buildkit.oci.spec import Descriptor
    from buildkit.session.session import Outputs
    from buildkit.store.blobs import Compression
    from buildkit.store.content import ContentStore
    from buildkit.store.draft import Draft
    from buildkit.store.lease import Lease
    from buildkit.store.refs import Layer, Ref


class LayerStore(Protocol):
    """The part of `buildkit.store.store.Store` that exporters use. None as a ref is the empty tree."""

    @property
    def content(self) -> ContentStore:
        """Blobs by digest."""

    async def layers(
        self, ref: Ref | None, compression: Compression, lease: Lease, *, times: TimePolicy = REAL
    ) -> Sequence[Layer]:
        """The layers of a ref, lowest first."""

    async def fetch(self, descriptor: Descriptor, lease: Lease) -> None:
        """Have a layer's blob in `content`."""

    def mounted(self, ref: Ref | None, lease: Lease) -> AbstractAsyncContextManager[Path]:
        """A path to read the tree at."""

    def draft(self, parent: Ref | None, lease: Lease) -> AbstractAsyncContextManager[Draft]:
        """A tree to write to, which is gone after the scope."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exporting:
    """The surroundings of one export.

    The defaults are BuildKit's behaviour. An engine that gives the same image each time sets ``times`` to a
    constant and ``created`` to the time that images shall carry (nanoseconds since 1970).
    """

    id: str
    """The exporter's place in the request: ``0``, ``1``, …"""
    store: LayerStore
    lease: Lease
    progress: Reporter
    outputs: Outputs | None = None
    access: Callable[[Reference, bool], Access] | None = None
    """The registry of a name with the client's keys; True for one that may be insecure."""
    times: TimePolicy = REAL
    created: int | None = None
    inline_cache: Callable[[], Awaitable[Mapping[str, bytes]]] | None = None
    """Makes the cache description to embed into each platform's config; the key of a lone ref is ``""``."""

    def need_outputs(self) -> Outputs:
        """Where files go; raises `FailedPrecondition` when the client takes none."""
        if self.outputs is None:
            raise FailedPrecondition(f"exporter {self.id}: the client's session takes no files")
        return self.outputs

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """A status that starts when entered and completes when left."""
        started = time_ns()
        self.progress.status(name, started=started)
        try:
            yield
        finally:
            self.progress.status(name, started=started, completed=time_ns())


@dataclass(frozen=True, slots=True)
class Exported:
    """What came of it: the response's entries, the root of the image if it is one, and what is left to do.

    ``documents`` are the manifests, configs and attestations below the root.

    ``finish`` (pushing) may run beside other work once every exporter of the build has exported.
    """

    response: Mapping[str, str] = field(default_factory=dict[str, str])
    descriptor: Descriptor | None = None
    documents: tuple[Descriptor, ...] = ()
    finish: Callable[[], Awaitable[None]] | None = None


class Exporter(Protocol):
    """Sends results somewhere. Its attributes were checked when it was made."""

    @property
    def name(self) -> str:
        """What the progress calls it: ``exporting to image``."""

    @property
    def compression(self) -> Compression:
        """How its layers are packed; cache exports follow it."""

    async def export(self, result: Result[Ref], exporting: Exporting) -> Exported:
        """Export; the client's mistakes raise `buildkit.core.errors.InvalidInput`."""
