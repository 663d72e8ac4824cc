"""Images from registries and OCI layouts: resolved by name, keyed by digest and by layers, fetched when needed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from buildkit.core.digest import Digest, parse_digest
from buildkit.core.errors import Corrupt, FailedPrecondition, InvalidInput
from buildkit.core.platform import Platform, host_platform
from buildkit.core.progress import Reporter
from buildkit.core.values import dataclass, replace
from buildkit.oci.names import Reference, parse_reference
from buildkit.oci.registry import Registry
from buildkit.oci.spec import SOURCE_PREFIX, Descriptor
from buildkit.session.registry import Sessions
from buildkit.source.answers import Answers
from buildkit.source.manifest import PulledImage, layers_key, manifest_key, pull_image
from buildkit.source.origin import FromLayout, FromRegistry, Origin, Visits
from buildkit.source.pull import Pulls
from buildkit.source.source import Asking
from buildkit.store.lease import Lease
from buildkit.store.refs import LayerSource, Ref
from buildkit.store.store import Store

if TYPE_CHECKING:
    from buildkit.source.attested import AttestationChain

MODES = ("default", "pull", "local")
RECORD_TYPES = ("regular", "internal", "frontend")
_REPORT_EVERY = 0.1


@dataclass(frozen=True, slots=True)
class ResolvedConfig:
    """An image's config: the name that was asked for, the digest it stands for, and the JSON as it came."""

    reference: str
    digest: Digest
    config: bytes


class Images:
    """The schemes ``docker-image`` and ``oci-layout``."""

    schemes = ("docker-image", "oci-layout")

    def __init__(
        self,
        registry: Registry,
        sessions: Sessions,
        store: Store,
        answers: Answers | None = None,
        pulls: Pulls | None = None,
    ) -> None:
        """``answers`` are remembered from build to build; ``pulls`` say which builds are content with them."""
        self.registry = registry
        self.sessions = sessions
        self.store = store
        self.visits = Visits(registry, sessions, answers, pulls)

    def open(self, scheme: str, name: str, attrs: Mapping[str, str], platform: Platform) -> Image:
        """A source for one image; raises `InvalidInput`."""
        prefix = "image." if scheme == "docker-image" else "oci."
        limit = _parse_limit(attrs.get(prefix + "layerlimit", ""))
        if scheme == "oci-layout":
            digest = _layout_digest(name)
            store = attrs.get("oci.store") or name.partition("@")[0]
            session = attrs.get("oci.session", "")
            return Image(self, Wanted(name, platform, limit, self._layout(session, store, digest)))
        reference = parse_image_name(name)
        parse_mode(attrs.get("image.resolvemode", ""))
        record_type = attrs.get("image.recordtype") or "regular"
        if record_type not in RECORD_TYPES:
            raise InvalidInput(f"invalid record type {record_type}")
        checksum = attrs.get("image.checksum", "")
        if checksum:
            try:
                parse_digest(checksum)
            except InvalidInput as error:
                raise error.prefixed(f"invalid image checksum {checksum}: ") from None
        wanted = Wanted(str(reference), platform, limit, self._registry(reference), checksum, record_type)
        return Image(self, wanted)

    async def resolve_config(
        self,
        name: str,
        *,
        platform: Platform | None = None,
        mode: str = "",
        sessions: tuple[str, ...] = (),
        layout_store: str | None = None,
        layout_session: str = "",
    ) -> ResolvedConfig:
        """The config of an image (``FROM`` needs it before anything is built).

        ``layout_store`` names the store of an OCI layout and ``name`` is then ``…@digest``. Raises `NotFound`,
        `Unauthenticated`, `Unavailable`, `Corrupt`.
        """
        parse_mode(mode)
        if layout_store is None:
            reference = parse_image_name(name)
            name = str(reference)
            origin = self._registry(reference)(sessions)
        else:
            store = layout_store or name.partition("@")[0]
            origin = self._layout(layout_session, store, _layout_digest(name))(sessions)
        image = await self.pull(origin, platform or host_platform())
        return ResolvedConfig(name, image.root.digest, image.config)

    async def resolve_attestations(
        self, name: str, *, platform: Platform | None, predicates: Sequence[str], sessions: tuple[str, ...]
    ) -> AttestationChain | None:
        """See `buildkit.source.attested.attestation_chain`; of an image in a registry."""
        from buildkit.oci.referrers import find_referrers
        from buildkit.source.attested import attestation_chain

        reference = parse_image_name(name)
        visit = self.visits.of(sessions)
        origin = FromRegistry(visit, reference)
        return await attestation_chain(
            await origin.resolve(),
            platform or host_platform(),
            origin.read,
            lambda digest: find_referrers(visit.access, reference, digest),
            predicates,
        )

    async def pull(self, origin: Origin, platform: Platform) -> PulledImage:
        """Read an image's documents, those that are stored here from here."""
        root = await origin.resolve()

        async def read(descriptor: Descriptor) -> bytes:
            if self.store.content.has(descriptor.digest):
                content = self.store.content.read(descriptor.digest)
                if len(content) == descriptor.size:
                    return content
            return await origin.read(descriptor)

        return await pull_image(root, platform, read)

    def _registry(self, reference: Reference) -> Callable[[tuple[str, ...]], Origin]:
        return lambda ids: FromRegistry(self.visits.of(ids), reference)

    def _layout(self, session: str, store: str, digest: Digest) -> Callable[[tuple[str, ...]], Origin]:
        return lambda ids: FromLayout(self.sessions, ids, session, store, digest)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a definition says about an image."""

    name: str
    platform: Platform
    limit: int | None
    origin: Callable[[tuple[str, ...]], Origin]
    """Where it is, for whoever asks: from the ids of their sessions."""
    checksum: Digest = ""
    record_type: str = "regular"


class Image:
    """One image source."""

    def __init__(self, images: Images, wanted: Wanted) -> None:
        self._images = images
        self._wanted = wanted
        self._pulled: PulledImage | None = None
        self._turn = asyncio.Lock()

    @property
    def pin(self) -> str:
        """The digest of what the name resolved to."""
        return self._pulled.root.digest if self._pulled is not None else ""

    async def keys(self, step: Asking) -> AsyncIterator[str]:
        """The manifest with its platform; then the chain of layers, which other manifests may share."""
        image = await self._pull(step)
        wanted = self._wanted
        first = manifest_key(image.root.digest, wanted.platform, wanted.limit)
        step.note(image=wanted.name, digest=image.root.digest, platform=str(wanted.platform))
        yield first
        yield layers_key(image.config, wanted.limit) or first

    async def snapshot(self, step: Asking, lease: Lease) -> Ref | None:
        """The image's tree; its layers come when someone reads it, with the rights of the sessions asking now."""
        image = await self._pull(step)
        if not image.layers:
            return None
        store = self._images.store
        origin = self._wanted.origin(step.sessions())
        ref = store.import_image(
            [_located(layer, *origin.repository) for layer in image.layers],
            Fetcher(store, origin, step.progress, self._wanted.name).fetch,
            lease,
            description=f"pulled from {self._wanted.name}",
            record_type=self._wanted.record_type,
            progress=step.progress,
        )
        if ref is not None:
            for digest, content in image.documents.items():
                lease.hold_blob(digest)
                if not store.content.has(digest):
                    store.content.put(content)
            store.attach(ref, image.documents)
        return ref

    async def _pull(self, step: Asking) -> PulledImage:
        async with self._turn:
            if self._pulled is None:
                self._pulled = await self._report(step, self._checked(step))
            return self._pulled

    async def _checked(self, step: Asking) -> PulledImage:
        wanted = self._wanted
        image = await self._images.pull(wanted.origin(step.sessions()), wanted.platform)
        if wanted.checksum and image.root.digest != wanted.checksum:
            raise FailedPrecondition(
                f"image digest {image.root.digest} for {wanted.name} does not match expected checksum {wanted.checksum}"
            )
        return image if wanted.limit is None else image.limited(wanted.limit)

    async def _report(self, step: Asking, work: Awaitable[PulledImage]) -> PulledImage:
        status, started = f"resolve {self._wanted.name}", time.time_ns()
        step.progress.status(status, started=started)
        try:
            return await work
        finally:
            step.progress.status(status, started=started, completed=time.time_ns())


def _located(layer: LayerSource, registry: str, repository: str) -> LayerSource:
    """The layer, saying where it is, which is not for manifests to say."""
    descriptor = layer.descriptor
    annotations = {key: value for key, value in descriptor.annotations.items() if not key.startswith(SOURCE_PREFIX)}
    if registry:
        annotations[SOURCE_PREFIX + registry] = repository
    return replace(layer, descriptor=replace(descriptor, annotations=annotations))


class Fetcher:
    """Brings the layers of one image, for one asker."""

    def __init__(self, store: Store, origin: Origin, progress: Reporter, name: str) -> None:
        self._store = store
        self._origin = origin
        self._progress = progress
        self._name = name

    async def fetch(self, descriptor: Descriptor) -> None:
        """Have a blob in the content store, checked; a broken download goes on where it ended.

        Reported as a status that is called after the digest, in bytes.
        """
        digest, size = descriptor.digest, descriptor.size
        started = time.time_ns()
        report = _Throttled(asyncio.get_running_loop(), self._progress, digest, size, started)
        self._progress.status(digest, total=size, started=started)
        content = self._store.content
        with content.ingest(digest, size, resume=f"layer-{digest}") as ingest:
            await self._origin.fetch(descriptor, ingest, report)
            try:
                ingest.commit()
            except Corrupt as error:
                raise error.prefixed(f"layer of {self._name}: ") from None
        self._progress.status(digest, current=size, total=size, started=started, completed=time.time_ns())


class _Throttled:
    """Passes numbers of bytes from a thread to a vertex, ten times a second at most."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, progress: Reporter, digest: Digest, size: int, started: int
    ) -> None:
        self._loop = loop
        self._progress = progress
        self._digest = digest
        self._size = size
        self._started = started
        self._next = 0.0

    def __call__(self, count: int) -> None:
        now = time.monotonic()
        if now >= self._next and count < self._size:
            self._next = now + _REPORT_EVERY
            self._loop.call_soon_threadsafe(self._write, count)

    def _write(self, count: int) -> None:
        self._progress.status(self._digest, current=count, total=self._size, started=self._started)


def parse_image_name(name: str) -> Reference:
    """A reference that says which image: with tag or digest; raises `InvalidInput`."""
    try:
        reference = parse_reference(name)
    except InvalidInput as error:
        raise error.prefixed(f'failed to parse image reference "{name}": ') from None
    if reference.is_name_only:
        raise InvalidInput("object required")
    return reference


def parse_mode(text: str) -> str:
    """``image.resolvemode``; every mode asks the registry, there being no other store. Raises `InvalidInput`."""
    mode = text or "default"
    if mode not in MODES:
        raise InvalidInput(f"invalid resolvemode: {text}")
    return mode


def _parse_limit(text: str) -> int | None:
    if not text:
        return None
    if not text.isdecimal() or not text.isascii() or int(text) <= 0:
        raise InvalidInput(f"invalid layer limit {text}")
    return int(text)


def _layout_digest(name: str) -> Digest:
    digest = name.partition("@")[2]
    if not digest:
        raise InvalidInput(f'reference "{name}" must have digest')
    return parse_digest(digest)
