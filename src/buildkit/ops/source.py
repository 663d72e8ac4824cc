"""Steps that begin: images, local directories, git, http."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from buildkit.core.digest import hex_of
from buildkit.ops.load import Description, Result
from buildkit.solver.digests import RANDOM_PREFIX, source_digest
from buildkit.solver.graph import CacheMap, Step
from buildkit.source.source import Source
from buildkit.worker.worker import Worker

_SESSION_PREFIX = "session:"


class SourceOp:
    """A source as a step."""

    def __init__(self, description: Description, worker: Worker) -> None:
        self._description = description
        self._worker = worker
        self._opened: Source | None = None

    @property
    def source(self) -> Source:
        """The source itself, for its pin."""
        if self._opened is None:
            op = self._description.op
            platform = (
                self._description.platform if op.HasField("platform") or _has_platform(op.source.identifier) else None
            )
            self._opened = self._worker.sources.open(op.source, platform)
        return self._opened

    async def cache_maps(self, step: Step) -> AsyncIterator[CacheMap[Result]]:
        """One for each key of the source; a key of a session gives a digest that no other build has."""
        op = self._description.op.source
        step.note(kind="source", identifier=op.identifier, attrs=dict(op.attrs))
        async for key in self.source.keys(step):
            digest = source_digest(key)
            if key.startswith(_SESSION_PREFIX):
                digest = RANDOM_PREFIX + hex_of(digest)
            step.note(key=key, pin=self.source.pin)
            yield CacheMap(digest)

    async def execute(self, inputs: Sequence[Result], step: Step) -> Sequence[Result]:
        """Get the tree."""
        async with self._worker.leases.of(step) as lease:
            ref = await self.source.snapshot(step, lease)
            step.hold(ref)
            return [ref]


def _has_platform(identifier: str) -> bool:
    return identifier.startswith(("docker-image://", "oci-layout://"))
