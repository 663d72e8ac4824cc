"""The `Bridge` of a frontend, over a job of the solver."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from buildkit.core.digest import sha256_text
from buildkit.core.errors import InvalidInput, SourceDetail, Unsupported
from buildkit.core.platform import Platform
from buildkit.core.progress import Reporter, Stream, VertexUpdate, WarningUpdate
from buildkit.core.result import Result
from buildkit.core.values import dataclass, replace
from buildkit.frontend import frontend as seam
from buildkit.frontend import requestopts
from buildkit.frontend.frontend import Bridge, CacheImport, Frontend, ImageConfig, LayoutStore, SourceMetadata
from buildkit.llb.caps import BY_PING
from buildkit.llb.definition import Definition
from buildkit.ops.load import Rules, load
from buildkit.ops.make import OpMaker
from buildkit.solve.reading import Reader
from buildkit.solve.refs import LazyRef, own
from buildkit.solver.job import Job
from buildkit.source.image import Images
from buildkit.store.lease import Lease
from buildkit.store.refs import Ref
from buildkit.worker.worker import Worker


@dataclass(frozen=True, slots=True, eq=False)
class BuildBridge:
    """One build's access to the solver, the sources and the trees."""

    worker: Worker
    job: Job[Ref | None]
    lease: Lease
    progress: Stream
    session: str
    entitlements: frozenset[str]
    frontends: Mapping[str, Frontend]
    images: Images

    def bridge(self) -> Bridge:
        """What the frontend gets."""
        reader = Reader(self.worker.store, self.job, self.lease)
        return Bridge(
            solving=self,
            resolving=self,
            reading=reader,
            warn=self.warn,
            session_id=self.session,
            platform=self.worker.platforms.first,
            worker_platforms=self.worker.platforms.all,
            llb_caps=frozenset(BY_PING),
            caps=frozenset(),
            note=self.note,
        )

    # -- solving --

    async def solve(
        self, definition: Definition, *, evaluate: bool = False, cache_imports: Sequence[CacheImport] = ()
    ) -> LazyRef:
        """See `buildkit.frontend.frontend.Solving.solve`."""
        if cache_imports:
            raise Unsupported("importing a build cache is not supported yet")
        edge = None
        if definition.ops:
            rules = Rules(self.entitlements)
            edge = await load(definition.to_pb(), OpMaker(self.worker, rules), rules)
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
        return replace(result, metadata={**result.metadata, requestopts.KEY: requestopts.capture(options)})

    async def evaluate(self, ref: seam.Ref | None) -> None:
        """See `buildkit.frontend.frontend.Solving.evaluate`."""
        if ref is not None:
            await own(ref).evaluate(self.job)

    def definition_of(self, ref: seam.Ref) -> Definition:
        """See `buildkit.frontend.frontend.Solving.definition_of`."""
        return own(ref).definition

    # -- resolving --

    async def resolve_image(
        self,
        ref: str,
        *,
        platform: Platform | None,
        mode: str = "default",
        log_name: str = "",
        store: LayoutStore | None = None,
    ) -> ImageConfig:
        """See `buildkit.frontend.frontend.Resolving.resolve_image`."""
        async with self._shown(log_name or f"[internal] load metadata for {ref}", platform):
            found = await self.images.resolve_config(
                ref,
                platform=platform,
                mode=mode,
                sessions=(self.session,),
                layout_store=None if store is None else store.name,
                layout_session="" if store is None else store.session,
            )
        return ImageConfig(found.reference, found.digest, found.config)

    async def resolve_source(self, identifier: str, attrs: Mapping[str, str], *, log_name: str = "") -> SourceMetadata:
        """See `buildkit.frontend.frontend.Resolving.resolve_source`."""
        raise Unsupported(f"{identifier}: looking at this source without fetching it is not supported yet")

    @asynccontextmanager
    async def _shown(self, name: str, platform: Platform | None) -> AsyncIterator[None]:
        reporter = Reporter(VertexUpdate(sha256_text(f"{name} {platform}"), name), [self.progress])
        reporter.start()
        try:
            yield
        except BaseException as error:
            reporter.complete(error=str(error) or "context canceled")
            raise
        reporter.complete()

    async def note(self, line: str) -> None:
        """Show a line as a step of its own."""
        async with self._shown(line, None):
            pass

    async def warn(self, warning: seam.Warning) -> None:
        """Show a warning."""
        source = None
        if warning.source is not None:
            file = warning.source
            source = SourceDetail(file.filename, file.content, file.language, tuple(warning.ranges or ()))
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
