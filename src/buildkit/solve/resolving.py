"""Looking at sources before anything is built, as the policies of the build have them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from buildkit.core.digest import sha256_text
from buildkit.core.errors import BuildkitError
from buildkit.core.platform import Platform
from buildkit.core.progress import Reporter, Stream, VertexUpdate
from buildkit.core.values import dataclass
from buildkit.frontend.frontend import ImageConfig, LayoutStore, NotAnImage, SourceMetadata
from buildkit.source.image import Images
from buildkit.source.source import Describable, Inquiry, Sources
from buildkit.store.lease import Lease
from buildkit.store.refs import Ref

if TYPE_CHECKING:
    from buildkit.solve.verdicts import Verdicts
    from buildkit.source.attested import AttestationChain

_IMAGE = "docker-image://"
_LAYOUT = "oci-layout://"


@dataclass(frozen=True, slots=True, eq=False)
class SourceResolver:
    """`buildkit.frontend.frontend.Resolving` for one build."""

    images: Images
    sources: Sources
    session: str
    lease: Lease
    progress: Stream
    judge: Verdicts | None = None

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
        scheme = _IMAGE if store is None else _LAYOUT
        identifier, _ = await self._judged(scheme + ref, {}, platform)
        if not identifier.startswith((_IMAGE, _LAYOUT)) or (store is None and identifier.startswith(_LAYOUT)):
            raise NotAnImage(ref, identifier)
        name = identifier.partition("://")[2]
        if identifier.startswith(_IMAGE):
            store = None
        async with shown(self.progress, log_name or f"[internal] load metadata for {ref}", f"{ref} {platform}"):
            found = await self.images.resolve_config(
                name,
                platform=platform,
                mode=mode,
                sessions=(self.session,),
                layout_store=None if store is None else store.name,
                layout_session="" if store is None else store.session,
            )
        return ImageConfig(found.reference, found.digest, found.config)

    async def resolve_attestations(
        self, ref: str, *, platform: Platform | None, predicates: Sequence[str] = ()
    ) -> AttestationChain | None:
        """See `buildkit.frontend.frontend.Resolving.resolve_attestations`."""
        async with shown(self.progress, f"[internal] load attestations for {ref}", f"{ref} {platform}"):
            return await self.images.resolve_attestations(
                ref, platform=platform, predicates=predicates, sessions=(self.session,)
            )

    async def resolve_source(
        self, identifier: str, attrs: Mapping[str, str], *, inquiry: Inquiry, log_name: str = ""
    ) -> SourceMetadata:
        """See `buildkit.frontend.frontend.Resolving.resolve_source`."""
        identifier, attrs = await self._judged(identifier, attrs)
        source = self.sources.open(_Named(identifier, attrs))
        if not isinstance(source, Describable):
            return SourceMetadata(identifier, attrs)
        name = log_name or f"[internal] load metadata for {identifier}"
        async with shown(self.progress, name, identifier) as reporter:
            known = await source.describe(_Asking(reporter, (self.session,), self.lease), self.lease, inquiry)
        return SourceMetadata(identifier, attrs, known)

    async def _judged(
        self, identifier: str, attrs: Mapping[str, str], platform: Platform | None = None
    ) -> tuple[str, Mapping[str, str]]:
        if self.judge is None:
            return identifier, attrs
        from buildkit.frontend.gateway.convert import platform_to_pb

        try:
            asked = None if platform is None else platform_to_pb(platform)
            return await self.judge.judge(identifier, attrs, asked)
        except BuildkitError as error:
            raise error.prefixed("could not resolve image due to policy: ") from None


@asynccontextmanager
async def shown(progress: Stream, name: str, key: str) -> AsyncIterator[Reporter]:
    """Show work that is no vertex of a definition as a step; ``key`` tells it from others of the same name."""
    reporter = Reporter(VertexUpdate(sha256_text(f"{name} {key}"), name), [progress])
    reporter.start()
    try:
        yield reporter
    except BaseException as error:
        reporter.complete(error=str(error) or "context canceled")
        raise
    reporter.complete()


@dataclass(frozen=True, slots=True)
class _Named:
    identifier: str
    attrs: Mapping[str, str]


class _Asking:
    """Asks in the name of a build for what is no step of it."""

    def __init__(self, progress: Reporter, sessions: tuple[str, ...], lease: Lease) -> None:
        self.progress = progress
        self._sessions = sessions
        self._lease = lease

    def sessions(self) -> tuple[str, ...]:
        return self._sessions

    def note(self, **facts: object) -> None:
        """There is no record."""

    def hold(self, result: Ref | None) -> None:
        self._lease.hold(result)
