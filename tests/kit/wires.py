"""Two ends of a session in one process: a daemon's side that borrows, and a client's that lends."""

import asyncio
from contextlib import asynccontextmanager

from buildkit.rpc.client import Channel
from buildkit.rpc.server import Method, Server
from buildkit.rpc.transport import attach, serve
from buildkit.session.registry import Sessions
from buildkit.session.remote import host_session
from buildkit.session.serve import SESSION, lend


async def dial(path):
    """A channel to the unix socket at ``path``."""

    def channel(wire):
        made.append(Channel(wire.write, closed=wire.close))
        made[0].start()
        return made[0]

    made = []
    await asyncio.get_running_loop().create_unix_connection(attach(channel), str(path))
    return made[0]


@asynccontextmanager
async def listening(methods, path):
    """A server of ``methods`` on a unix socket."""
    listener = await asyncio.get_running_loop().create_unix_server(serve(Server(methods)), str(path))
    try:
        yield
    finally:
        listener.close()


@asynccontextmanager
async def borrowed(session, tmp_path, sessions=None):
    """What a daemon sees of a session that is lent through a socket; ``sessions`` are all of that daemon."""
    sessions = sessions or Sessions()
    methods = {SESSION: Method(streaming=lambda call: host_session(call, sessions))}
    async with listening(methods, tmp_path / "daemon.sock"):
        channel = await dial(tmp_path / "daemon.sock")
        async with lend(channel, session):
            yield await sessions.get(session.id)
        channel.connection.lost("over")
