"""The slow part of keys: digests of what steps see of their inputs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from buildkit.core.digest import Digest
from buildkit.core.errors import BuildkitError
from buildkit.fs.contenthash import Selector
from buildkit.solver.graph import Step
from buildkit.store.refs import Ref
from buildkit.worker.worker import Worker


def content_digest(worker: Worker, selectors: Sequence[Selector]) -> Callable[[Ref | None, Step], Awaitable[Digest]]:
    """A function that digests those parts of a tree; no selectors mean all of it."""

    async def compute(ref: Ref | None, step: Step) -> Digest:
        async with worker.leases.of(step) as lease:
            try:
                return await worker.store.checksum(ref, selectors, lease)
            except BuildkitError as error:
                name = f"{worker.id}::{ref.id if ref else ''}"
                raise error.prefixed(f"failed to calculate checksum of ref {name}: ") from None

    return compute
