"""A client whose session offers whatever methods a test wants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from buildkit.rpc.client import Channel
from buildkit.rpc.server import Method, Server
from buildkit.rpc.tunnel import Tunnel
from buildkit.session import headers
from buildkit.session.serve import SESSION


@asynccontextmanager
async def offering(channel: Channel, id: str, methods: Mapping[str, Method]) -> AsyncIterator[None]:
    """Offer methods to a daemon under a session's id, for a scope."""
    call = channel.call(SESSION, headers.introduction(id, "", methods))
    over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    server = Server(methods)
    tunnel = Tunnel(call, server.connect, lambda _: over.done() or over.set_result(None))
    try:
        yield
    finally:
        server.cancel()
        call.end()
        tunnel.close("over")
        call.cancel()
