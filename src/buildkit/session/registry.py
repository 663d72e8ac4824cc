"""The sessions that are attached right now."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

from buildkit.core.errors import AlreadyExists, BuildkitError, FailedPrecondition, NotFound
from buildkit.session.session import Session

if TYPE_CHECKING:
    from buildkit.session.authority import SharedTokens

T = TypeVar("T")

WAIT_SECONDS = 5.0
"""How long a session that is named may take to attach."""

_MOST_LEFT = 100


class Sessions:
    """Attached sessions by id; lives on one event loop."""

    def __init__(self, *, wait: float = WAIT_SECONDS) -> None:
        self._attached: dict[str, Session] = {}
        self._waiting: dict[str, list[asyncio.Future[Session]]] = {}
        self._left: dict[str, str] = {}
        """Shared keys of those that left last."""
        self._wait = wait
        self._tokens: SharedTokens | None = None

    @property
    def tokens(self) -> SharedTokens:
        """What sessions of one user share of registries' tokens."""
        if self._tokens is None:
            from buildkit.session.authority import SharedTokens

            self._tokens = SharedTokens()
        return self._tokens

    @asynccontextmanager
    async def attach(self, session: Session) -> AsyncIterator[Session]:
        """Offer ``session`` while the scope lasts; raises `AlreadyExists`."""
        if session.id in self._attached:
            raise AlreadyExists(f"session {session.id} already exists")
        self._attached[session.id] = session
        for future in self._waiting.pop(session.id, ()):
            if not future.done():
                future.set_result(session)
        try:
            yield session
        finally:
            del self._attached[session.id]
            if session.shared_key:
                self._left[session.id] = session.shared_key
                while len(self._left) > _MOST_LEFT:
                    del self._left[next(iter(self._left))]

    def find(self, id: str) -> Session | None:
        """The session, if it is attached. A prefix ``…:`` of the id is not part of it."""
        return self._attached.get(_bare(id))

    def shared_key(self, id: str) -> str:
        """The shared key of a session that is attached, or was until a moment ago; "" when there is none."""
        session = self.find(id)
        return session.shared_key if session is not None else self._left.get(_bare(id), "")

    async def get(self, id: str) -> Session:
        """The session, waiting for it to attach; raises `NotFound`."""
        found = self.find(id)
        if found is not None:
            return found
        id = _bare(id)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Session] = loop.create_future()
        self._waiting.setdefault(id, []).append(future)
        # no asyncio.timeout: sources are asked for their keys outside of tasks
        late = loop.call_later(self._wait, _give_up, future, id)
        try:
            return await future
        finally:
            late.cancel()
            left = [one for one in self._waiting.pop(id, ()) if one is not future]
            if left:
                self._waiting[id] = left

    async def any(self, ids: Iterable[str], use: Callable[[Session], Awaitable[T]]) -> T:
        """Use the first session of ``ids`` with which ``use`` succeeds; its last error otherwise."""
        failure: BuildkitError = FailedPrecondition("no active sessions")
        for id in ids:
            try:
                return await use(await self.get(id))
            except BuildkitError as error:
                failure = error
        raise failure


def joining(ids: Callable[[], Iterable[str]]) -> Iterator[str]:
    """Each of ``ids()`` once, also those that join while the ones before are in use."""
    seen: set[str] = set()
    while (id := next((one for one in ids() if one not in seen), None)) is not None:
        seen.add(id)
        yield id


def _give_up(future: asyncio.Future[Session], id: str) -> None:
    if not future.done():
        future.set_exception(NotFound(f"no active session for {id}: context deadline exceeded"))


def _bare(id: str) -> str:
    """BuildKit lets callers write ``name:id`` to keep vertices apart; the part before the colon is for them."""
    before, _, after = id.partition(":")
    return after or before
