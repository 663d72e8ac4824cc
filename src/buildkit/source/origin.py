"""Where the parts of an image come from: a registry, or an OCI layout that a session lends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar
from weakref import WeakKeyDictionary

from buildkit.core.aio import Shared, run_apart
from buildkit.core.digest import Digest, algorithm, hasher, hex_of
from buildkit.core.errors import Corrupt, FailedPrecondition, NotFound, Unavailable
from buildkit.oci import spec
from buildkit.oci.names import Reference
from buildkit.oci.registry import Access, Registry
from buildkit.oci.spec import Descriptor
from buildkit.oci.transport import BLOCK, Sink
from buildkit.session.registry import Sessions
from buildkit.session.session import Session
from buildkit.source.answers import Answers
from buildkit.source.pull import Pull, Pulls, forbid, look_up

_KIND = "image"
T = TypeVar("T")


class Origin(Protocol):
    """One image's place."""

    @property
    def repository(self) -> tuple[str, str]:
        """The registry and the repository in it; empty when the image is elsewhere."""
        ...

    async def resolve(self) -> Descriptor:
        """What the name stands for now."""

    async def size(self, digest: Digest) -> int:
        """Bytes of a blob."""

    async def read(self, descriptor: Descriptor) -> bytes:
        """A manifest, index or config, checked."""

    async def fetch(self, descriptor: Descriptor, sink: Sink, progress: Callable[[int], None]) -> None:
        """Move a blob into ``sink``; its digest is for the sink to check."""


class Visit:
    """What one session has learnt from registries: its tokens, and what each name stood for."""

    def __init__(
        self, registry: Registry, session: Session | None, answers: Answers | None = None, pull: Pull = Pull.ALWAYS
    ) -> None:
        self.access: Access = registry.access(session.auth if session is not None else None)
        self.pull = pull
        self._answers = answers
        self.documents: dict[Digest, bytes] = {}
        """Manifests and configs that were read, so that one build reads each once."""
        self._resolved: dict[str, Shared[Descriptor]] = {}

    async def resolve(self, reference: Reference) -> Descriptor:
        """Resolve a name, once for the whole session."""
        shared = self._resolved.get(str(reference))
        if shared is None:
            shared = self._resolved[str(reference)] = Shared(lambda: self._look_up(reference))
        return await shared.wait()

    async def _look_up(self, reference: Reference) -> Descriptor:
        name, known = str(reference), None
        answer = self._answers.find(_KIND, name) if self._answers is not None else None
        if answer is not None:
            known = Descriptor(answer["media_type"], answer["digest"], answer["size"])
        found = await look_up(name, self.pull, known, lambda: self.access.resolve(reference))
        if self._answers is not None and found != known:
            fields = {"media_type": found.media_type, "digest": found.digest, "size": found.size}
            self._answers.put(_KIND, name, fields)
        return found

    async def read(self, reference: Reference, descriptor: Descriptor) -> bytes:
        """A document, read once in a session; one that was read in an earlier build is taken from there."""
        found = self.documents.get(descriptor.digest)
        if found is None and self._answers is not None:
            found = self._answers.document(descriptor.digest)
        if found is None:
            if self.pull is Pull.NEVER:
                raise forbid(f"{descriptor.digest} of {reference}")
            found = await self.access.read(reference, descriptor)
            if self._answers is not None:
                self._answers.put_document(descriptor.digest, found)
        self.documents[descriptor.digest] = found
        return found


class Visits:
    """Visits by session; a visit ends with its session."""

    def __init__(
        self, registry: Registry, sessions: Sessions, answers: Answers | None = None, pulls: Pulls | None = None
    ) -> None:
        self._registry = registry
        self._sessions = sessions
        self._answers = answers
        self._pulls = pulls or Pulls()
        self._visits: WeakKeyDictionary[Session, Visit] = WeakKeyDictionary()

    def of(self, ids: tuple[str, ...]) -> Visit:
        """The visit of the first session that is attached; a new anonymous one when there is none."""
        for id in ids:
            session = self._sessions.find(id)
            if session is not None:
                visit = self._visits.get(session)
                if visit is None:
                    pull = self._pulls.of((id,))
                    visit = self._visits[session] = Visit(self._registry, session, self._answers, pull)
                return visit
        return Visit(self._registry, None, self._answers, self._pulls.of(ids))


class FromRegistry:
    """An image in a registry."""

    def __init__(self, visit: Visit, reference: Reference) -> None:
        self._visit = visit
        self._reference = reference

    @property
    def repository(self) -> tuple[str, str]:
        """See `Origin.repository`."""
        return self._reference.domain, self._reference.path

    async def resolve(self) -> Descriptor:
        """Ask the registry, once in a session."""
        return await self._visit.resolve(self._reference)

    async def size(self, digest: Digest) -> int:
        """Ask the registry."""
        return await self._visit.access.blob_size(self._reference, digest)

    async def read(self, descriptor: Descriptor) -> bytes:
        """Read a document, once in a session."""
        return await self._visit.read(self._reference, descriptor)

    async def fetch(self, descriptor: Descriptor, sink: Sink, progress: Callable[[int], None]) -> None:
        """Fetch a blob with this session's rights."""
        if self._visit.pull is Pull.NEVER:
            raise forbid(f"{descriptor.digest} of {self._reference}")
        await self._visit.access.fetch(self._reference, descriptor, sink, progress=progress)


class FromLayout:
    """An image in a store that a session lends."""

    def __init__(self, sessions: Sessions, ids: tuple[str, ...], session: str, store: str, digest: Digest) -> None:
        self._sessions = sessions
        self._ids = (session,) if session else ids
        self._store = store
        self._digest = digest

    @property
    def repository(self) -> tuple[str, str]:
        """None."""
        return "", ""

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

    async def size(self, digest: Digest) -> int:
        """Look it up."""

        async def look(session: Session) -> int:
            if session.stores is None:
                raise FailedPrecondition(f"oci-layout store {self._store!r}: the client lends no stores")
            return await session.stores.size(self._store, digest)

        return await self._sessions.any(self._ids, look)

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
            content = await run_apart(source.read, descriptor.size + 1)
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

                await run_apart(move)
            if sink.offset != descriptor.size:
                raise Unavailable(f"{descriptor.digest}: got {sink.offset} of {descriptor.size} bytes")

        await self._sessions.any(self._ids, copy)
