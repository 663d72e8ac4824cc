"""The `Bridge` of a frontend, over a job of the solver."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from buildkit.core.entitlement import Grants
from buildkit.core.errors import BuildkitError, FailedPrecondition, InvalidInput, Unsupported
from buildkit.core.progress import Stream, WarningUpdate
from buildkit.core.result import Result
from buildkit.core.values import dataclass, replace
from buildkit.frontend import frontend as seam
from buildkit.frontend.frontend import Bridge, CacheImport, Frontend
from buildkit.llb.caps import BY_PING
from buildkit.llb.definition import Definition
from buildkit.ops.load import Rules, load
from buildkit.ops.make import OpMaker
from buildkit.solve.reading import Reader
from buildkit.solve.refs import FrontendRequest, LazyRef, locate, own
from buildkit.solve.resolving import SourceResolver, shown
from buildkit.solver.job import Job
from buildkit.source.image import Images
from buildkit.store.lease import Lease
from buildkit.store.refs import Ref
from buildkit.worker.worker import Worker

if TYPE_CHECKING:
    from buildkit.session.session import Verifier
    from buildkit.solve.verdicts import Verdicts
    from buildkit.source.policy import Policy


@dataclass(frozen=True, slots=True, eq=False)
class BuildBridge:
    """One build's access to the solver, the sources and the trees."""

    worker: Worker
    job: Job[Ref | None]
    lease: Lease
    progress: Stream
    session: str
    entitlements: Grants
    frontends: Mapping[str, Frontend]
    images: Images
    policies: tuple[Policy, ...] = ()
    policy_session: str = ""
    """The client that decides about every source."""

    def bridge(self) -> Bridge:
        """What the frontend gets."""
        reader = Reader(self.worker.store, self.job, self.lease)
        return Bridge(
            solving=self,
            resolving=self.resolver(),
            reading=reader,
            warn=self.warn,
            session_id=self.session,
            platform=self.worker.platforms.first,
            worker_platforms=self.worker.platforms.all,
            llb_caps=frozenset(BY_PING),
            caps=frozenset(),
            note=self.note,
            remains=self.remains,
            stricter=self.stricter,
        )

    def resolver(self) -> SourceResolver:
        """Looks at sources."""
        plain = SourceResolver(self.images, self.worker.sources, self.session, self.lease, self.progress)
        return plain if self._judges_nothing() else replace(plain, judge=self._verdicts(plain))

    def stricter(self, policies: Sequence[Policy]) -> Bridge:
        """See `buildkit.frontend.frontend.Bridge.stricter`."""
        return replace(self, policies=(*policies, *self.policies)).bridge()

    def _judges_nothing(self) -> bool:
        return not self.policies and not self.policy_session

    def _verdicts(self, resolving: SourceResolver) -> Verdicts:
        from buildkit.solve.verdicts import Verdicts

        return Verdicts(self.policies, resolving, self._verifier if self.policy_session else None)

    async def _verifier(self) -> Verifier:
        client = await self.worker.sessions.get(self.policy_session)
        if client.verifier is None:
            raise FailedPrecondition(f"session {self.policy_session} does not decide about sources")
        return client.verifier

    # -- solving --

    async def solve(
        self,
        definition: Definition,
        *,
        evaluate: bool = False,
        cache_imports: Sequence[CacheImport] = (),
    ) -> LazyRef:
        """See `buildkit.frontend.frontend.Solving.solve`."""
        if cache_imports:
            raise Unsupported("importing a build cache is not supported yet")
        edge = None
        if definition.ops:
            rules = Rules(self.entitlements, self.resolver().judge, self.worker.devices)
            try:
                edge = await load(definition.to_message(), OpMaker(self.worker, rules), rules)
            except BuildkitError as error:
                locate(error, definition)
                raise
        ref = LazyRef(definition, edge)
        if evaluate:
            await ref.evaluate(self.job)
        return ref

    async def forward(
        self, frontend: str, options: Mapping[str, str], inputs: Mapping[str, Definition]
    ) -> Result[seam.Ref]:
        """See `buildkit.frontend.frontend.Solving.forward`."""
        found = self.frontends.get(frontend)
        if found is None:
            if frontend == "gateway.v0":
                raise Unsupported("frontend gateway.v0 (frontends in images) is not supported yet")
            raise InvalidInput(f"invalid frontend: {frontend}")
        result = await found.solve(self.bridge(), options, inputs)
        for ref in result.refs.values():
            if isinstance(ref, LazyRef):
                ref.request = FrontendRequest(frontend, dict(options))
        return result

    async def evaluate(self, ref: seam.Ref | None) -> None:
        """See `buildkit.frontend.frontend.Solving.evaluate`."""
        if ref is not None:
            await own(ref).evaluate(self.job)

    def definition_of(self, ref: seam.Ref) -> Definition:
        """See `buildkit.frontend.frontend.Solving.definition_of`."""
        return own(ref).definition

    def remains(self, id: str) -> LazyRef | None:
        """See `buildkit.frontend.frontend.Bridge.remains`."""
        found = self.worker.store.find_ref(id, self.lease)
        return None if found is None else LazyRef(Definition(()), None, built=found)

    async def note(self, line: str) -> None:
        """Show a line as a step of its own."""
        async with shown(self.progress, line, line):
            pass

    async def warn(self, warning: seam.Warning) -> None:
        """Show a warning."""
        source = None
        if warning.source is not None:
            source = warning.source.detail(tuple(warning.ranges or ()))
        self.progress.write(
            WarningUpdate(
                warning.vertex,
                warning.level,
                warning.message.encode(),
                tuple(line.encode() for line in warning.detail),
                warning.url,
                source,
            )
        )
