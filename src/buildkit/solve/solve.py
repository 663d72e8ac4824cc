"""One solve: open a lease and a job, ask the frontend, build what it wants, write the outputs."""

from __future__ import annotations

from collections.abc import Mapping

from buildkit.core.aio import gather_all
from buildkit.core.errors import InvalidInput
from buildkit.core.progress import Stream
from buildkit.core.result import Result
from buildkit.core.values import dataclass
from buildkit.frontend.frontend import Frontend
from buildkit.solve.bridge import BuildBridge
from buildkit.solve.outputs import Outputs
from buildkit.solve.refs import LazyRef, own
from buildkit.solve.request import SolveRequest, SolveResponse
from buildkit.solver.job import Job, Solver
from buildkit.source.image import Images
from buildkit.source.pull import Pulls
from buildkit.store.refs import Ref
from buildkit.worker.worker import Worker

_SHOWN = "frontend."
"""What a frontend's metadata begins with that clients are to see among the exporters' responses."""


@dataclass(frozen=True, slots=True)
class Builder:
    """What solving needs: the parts that every build shares."""

    worker: Worker
    solver: Solver[Ref | None]
    images: Images
    frontends: Mapping[str, Frontend]
    pulls: Pulls

    async def solve(self, request: SolveRequest, progress: Stream, *, driver: Frontend | None = None) -> SolveResponse:
        """Run one build to its end; ``progress`` gets everything that happens and is closed by the caller.

        ``driver`` is the frontend of a request that has neither a frontend nor a definition: the client itself.

        Raises `BuildkitError` with the vertex and the source lines that it comes from.
        """
        store = self.worker.store
        outputs = Outputs.open(request, store, self.worker.sessions, self.images.registry)
        async with (
            store.lease() as lease,
            self.solver.job(request.id, session=request.session, progress=progress, hold=lease.hold) as job,
        ):
            with self.worker.leases.lent(request.session, lease), self.pulls.lent(request.session, request.pull):
                building = BuildBridge(
                    self.worker,
                    job,
                    lease,
                    progress,
                    request.session,
                    request.entitlements,
                    self.frontends,
                    self.images,
                    request.policies,
                )
                wanted = await self._ask(building, request, driver)
                result = await evaluate(wanted, job)
                response = await outputs.write(result, request, lease, progress)
        shown = {
            key: value.decode("utf-8", "replace") for key, value in result.metadata.items() if key.startswith(_SHOWN)
        }
        return SolveResponse({**shown, **response}, result.metadata)

    async def _ask(self, building: BuildBridge, request: SolveRequest, driver: Frontend | None) -> Result[LazyRef]:
        if request.definition is not None:
            if request.frontend:
                raise InvalidInput("cannot solve with both Definition and Frontend specified")
            return Result({"": await building.solve(request.definition)})
        if request.frontend:
            found = await building.forward(request.frontend, request.frontend_attrs, request.frontend_inputs)
        elif driver is not None:
            found = await driver.solve(building.bridge(), request.frontend_attrs, request.frontend_inputs)
        else:
            raise InvalidInput("neither a frontend nor a definition is given")
        refs = {platform: None if ref is None else own(ref) for platform, ref in found.refs.items()}
        return Result(refs, found.single, found.metadata)


async def evaluate(wanted: Result[LazyRef], job: Job[Ref | None]) -> Result[Ref]:
    """Build every ref of a result, all at once."""

    async def one(ref: LazyRef | None) -> Ref | None:
        return None if ref is None else await ref.evaluate(job)

    found = await gather_all(one(ref) for ref in wanted.refs.values())
    return Result(dict(zip(wanted.refs, found, strict=True)), wanted.single, wanted.metadata)
