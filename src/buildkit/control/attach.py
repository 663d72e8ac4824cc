"""``Control.Session``: a client attaches itself, and the daemon becomes its client through the same stream."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from buildkit.core.errors import BuildkitError, InvalidInput
from buildkit.rpc.call import Metadata
from buildkit.rpc.client import Channel
from buildkit.rpc.h2 import Chunk, Connection
from buildkit.rpc.server import Method, ServerCall
from buildkit.rpc.tunnel import Tunnel
from buildkit.session.registry import Sessions
from buildkit.session.session import Session

Opening = Callable[[Channel, Metadata], Session]


def bare_session(channel: Channel, metadata: Metadata) -> Session:
    """A session of which only the name is known: it lends nothing. Raises `InvalidInput`."""
    ids = metadata.get("x-docker-expose-session-uuid", ())
    if len(ids) != 1 or not ids[0]:
        raise InvalidInput("the session has no id (x-docker-expose-session-uuid)")
    shared = metadata.get("x-docker-expose-session-sharedkey", [""])
    return Session(id=ids[0], shared_key=shared[0])


def session_method(sessions: Sessions, open_session: Opening) -> Method:
    """The method: the session is attached for as long as its stream lasts."""

    async def run(call: ServerCall) -> None:
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        channels: list[Channel] = []

        def connect(write: Callable[[list[Chunk]], None], closed: Callable[[str], None]) -> Connection:
            channels.append(Channel(write, closed=closed))
            return channels[0].connection

        def ended(error: BuildkitError | None) -> None:
            if not over.done():
                over.set_result(None)

        Tunnel(call, connect, ended)
        channel = channels[0]
        channel.start()
        async with sessions.attach(open_session(channel, call.metadata)):
            await over

    return Method(streaming=run)
