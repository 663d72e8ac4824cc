"""Lending to a daemon at the other end of a wire: the client's side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from buildkit.core.errors import BuildkitError
from buildkit.rpc.client import Channel
from buildkit.rpc.server import Method, Server
from buildkit.rpc.tunnel import Tunnel
from buildkit.session import headers
from buildkit.session.session import Session

SESSION = "/moby.buildkit.v1.Control/Session"


def session_methods(session: Session) -> dict[str, Method]:
    """What a session lends as gRPC methods; a part that is None has none."""
    from buildkit.session import servefiles, servekeys, servestores

    methods = servekeys.health()
    if session.locals is not None:
        methods |= servefiles.file_sync(session.locals)
    if session.outputs is not None:
        methods |= servefiles.file_send(session.outputs)
        if (directory := session.outputs.image_directory()) is not None:
            methods |= servestores.image_store(directory)
    if session.auth is not None:
        methods |= servekeys.auth(session.auth)
    if session.secrets is not None:
        methods |= servekeys.secrets(session.secrets)
    if session.ssh is not None:
        methods |= servekeys.ssh(session.ssh)
    if session.stores is not None:
        methods |= servestores.content(session.stores)
    if session.uploads is not None:
        methods |= servestores.upload(session.uploads)
    return methods


@asynccontextmanager
async def lend(channel: Channel, session: Session) -> AsyncIterator[asyncio.Future[BuildkitError | None]]:
    """Open ``Control/Session`` on a daemon's channel and lend while the scope lasts.

    Gives a future that is done when the daemon ends the session before, with its error.
    """
    methods = session_methods(session)
    call = channel.call(SESSION, headers.introduction(session.id, session.shared_key, methods))
    over: asyncio.Future[BuildkitError | None] = asyncio.get_running_loop().create_future()
    server = Server(methods)

    def ended(error: BuildkitError | None) -> None:
        if not over.done():
            over.set_result(error)

    tunnel = Tunnel(call, server.connect, ended)
    try:
        yield over
    finally:
        server.cancel()
        call.end()
        tunnel.close("session closed")
        call.cancel()
