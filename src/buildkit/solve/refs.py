"""Lazy refs: what a bridge gives for a definition before anything has run."""

from __future__ import annotations

from collections.abc import Mapping

from buildkit.core.errors import BuildkitError, InvalidInput, SourceDetail, VertexDetail
from buildkit.core.values import dataclass
from buildkit.llb.definition import Definition
from buildkit.solver.graph import Edge
from buildkit.solver.job import Job
from buildkit.store.refs import Ref


@dataclass(frozen=True, slots=True)
class FrontendRequest:
    """What a frontend was asked when it made a ref."""

    frontend: str
    options: Mapping[str, str]


@dataclass(slots=True, eq=False)
class LazyRef:
    """The tree that a definition makes. ``edge`` is None for the empty tree."""

    definition: Definition
    edge: Edge[Ref | None] | None
    request: FrontendRequest | None = None
    """None when the client gave the definition itself."""
    built: Ref | None = None
    """The tree, where it came without a definition."""

    async def evaluate(self, job: Job[Ref | None]) -> Ref | None:
        """Build it, or load it from the cache; an error knows the lines of the source that it comes from."""
        if self.edge is None:
            return self.built
        try:
            return await job.build(self.edge)
        except BuildkitError as error:
            locate(error, self.definition)
            raise


def locate(error: BuildkitError, definition: Definition) -> None:
    """Tell an error about a step which lines of the source the step comes from."""
    source = definition.source
    if source is None or any(isinstance(detail, SourceDetail) for detail in error.details):
        return
    for detail in error.details:
        if isinstance(detail, VertexDetail):
            for place in source.locations_of(detail.digest):
                error.detailed(place.file.detail(place.ranges))
            return


def own(ref: object) -> LazyRef:
    """A ref that comes back from a frontend; raises `InvalidInput` for anything else."""
    if not isinstance(ref, LazyRef):
        raise InvalidInput("the ref is not of this build")
    return ref
