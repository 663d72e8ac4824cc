"""Where the parts of an image come from: a registry, or an OCI layout that a session lends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol, TypeVar
from weakref import WeakKeyDictionary

from buildkit.core.aio import Shared
from buildkit.core.digest import Digest, algorithm, hasher, hex_of
from buildkit.core.errors import Corrupt, FailedPrecondition, NotFound, Unavailable
from buildkit.oci import spec
from buildkit.oci.names import Reference
from buildkit.oci.registry import Access, Registry
from buildkit.oci.spec import Descriptor
from buildkit.oci.transport import BLOCK, Sink
from buildkit.session.registry import Sessions
from buildkit.session.session import Session

T = TypeVar("T")


class Origin(Protocol):
    """One image's place."""

    async def resolve(self) -> Descriptor:
        """What the name stands for now."""

    async def read(self, descriptor: Descriptor) -> bytes:
        """A manifest, index or config, checked."""

    async def fetch(self, descriptor: Descriptor, sink: Sink, progress: Callable[[int], None]) -> None:
        """Move a blob into ``sink``; its digest is for the sink to check."""


class Visit:
    """What one session has learnt from registries: its tokens, and what each name stood for."""

    def __init__(self, registry: Registry, session: Session | None) -> None:
        self.access: Access = registry.access(session.auth if session is not None else None)
        self.documents: dict[Digest, bytes] = {}
        """Manifests and configs that were read, so that one build reads each once."""
        self._resolved: dict[str, Shared[Descriptor]] = {}

    async def resolve(self, reference: Reference) -> Descriptor:
        """Resolve a name, once for the whole session."""
        shared = self._resolved.get(str(reference))
        if shared is None:
            shared = self._resolved[str(reference)] = Shared(lambda: self.access.resolve(reference))
        return await shared.wait()


class Visits:
    """Visits by session; a visit ends with its session."""

    def __init__(self, registry: Registry, sessions: Sessions) -> None:
        self._registry = registry
        self._sessions = sessions
        self._visits: WeakKeyDictionary[Session, Visit] = WeakKeyDictionary()

    def of(self, ids: tuple[str, ...]) -> Visit:
        """The visit of the first session that is attached; a new anonymous one when there is none."""
        for id in ids:
            session = self._sessions.find(id)
            if session is not None:
                visit = self._visits.get(session)
                if visit is None:
                    visit = self._visits[session] = Visit(self._registry, session)
                return visit
        return Visit(self._registry, None)


class FromRegistry:
    """An image in a registry."""

    def __init__(self, visit: Visit, reference: Reference) -> None:
        self._visit = visit
        self._reference = reference

    async def resolve(self) -> Descriptor:
        """Ask the registry, once in a session."""
        return await self._visit.resolve(self._reference)

    async def read(self, descriptor: Descriptor) -> bytes:
        """Read a document, once in a session."""
        found = self._visit.documents.get(descriptor.digest)
        if found is None:
            found = await self._visit.access.read(self._reference, descriptor)
            self._visit.documents[descriptor.digest] = found
        return found

    async def fetch(self, descriptor: Descriptor, sink: Sink, progress: Callable[[int], None]) -> None:
        """Fetch a blob with this session's rights."""
        await self._visit.access.fetch(self._reference, descriptor, sink, progress=progress)


class FromLayout:
    """An image in a store that a session lends."""

    def __init__(self, sessions: Sessions, ids: tuple[str, ...], session: str, store: str, digest: Digest) -> None:
        self._sessions = sessions
        self._ids = (session,) if session else ids
        self._store = store
        self._digest = digest

    async def resolve(self) -> Descriptor:
        """Look the digest up; its media type is told by its contents."""

        async def look(session: Session) -> Descriptor:
            if session.stores is None:
                raise FailedPrecondition(f"oci-layout store {self._store!r}: the client lends no stores")
            size = await session.stores.size(self._store, self._digest)
            descriptor = Descriptor("", self._digest, size)
            content = await self._read(session, descriptor)
            return Descriptor(spec.detect_media_type(content), self._digest, size)

        try:
            return await self._sessions.any(self._ids, look)
        except NotFound as error:
            error.prefixed("unable to get info about digest: ")
            raise

    async def read(self, descriptor: Descriptor) -> bytes:
        """Read a document."""
        return await self._sessions.any(self._ids, lambda session: self._read(session, descriptor))

    async def _read(self, session: Session, descriptor: Descriptor) -> bytes:
        if session.stores is None:
            raise FailedPrecondition(f"oci-layout store {self._store!r}: the client lends no stores")
        if descriptor.size > spec.MANIFEST_SIZE_LIMIT:
            raise Corrupt(f"{descriptor.digest} is too large for a document: {descriptor.size} bytes")
        source = await session.stores.open(self._store, descriptor.digest)
        with source:
            content = await asyncio.to_thread(source.read, descriptor.size + 1)
        if hasher(algorithm(descriptor.digest), content).hexdigest() != hex_of(descriptor.digest):
            raise Corrupt(f"oci-layout store {self._store!r}: content does not match digest {descriptor.digest}")
        return content

    async def fetch(self, descriptor: Descriptor, sink: Sink, progress: Callable[[int], None]) -> None:
        """Copy a blob."""

        async def copy(session: Session) -> None:
            if session.stores is None:
                raise FailedPrecondition(f"oci-layout store {self._store!r}: the client lends no stores")
            with await session.stores.open(self._store, descriptor.digest) as source:
                sink.restart()

                def move() -> None:
                    while block := source.read(BLOCK):
                        sink.write(block)
                        progress(sink.offset)

                await asyncio.to_thread(move)
            if sink.offset != descriptor.size:
                raise Unavailable(f"{descriptor.digest}: got {sink.offset} of {descriptor.size} bytes")

        await self._sessions.any(self._ids, copy)
