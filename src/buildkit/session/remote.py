"""Sessions of clients at the other end of a wire: the daemon's side."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from buildkit.core.errors import BuildkitError, InvalidInput
from buildkit.rpc.call import Call
from buildkit.rpc.client import Channel
from buildkit.rpc.h2 import Connection
from buildkit.rpc.stream import Chunk
from buildkit.rpc.tunnel import Tunnel
from buildkit.session import headers
from buildkit.session.health import Rhythm, watch
from buildkit.session.registry import Sessions
from buildkit.session.session import Session

if TYPE_CHECKING:
    from buildkit.session.authority import SharedTokens


def remote_session(channel: Channel, metadata: Mapping[str, Sequence[str]], tokens: SharedTokens) -> Session:
    """A session whose parts call a client; those that it does not advertise in ``metadata`` are None.

    ``tokens`` are those that the sessions of one user share. Raises `InvalidInput` for a client without an id.
    """
    from buildkit.session.remotefiles import RemoteLocals, RemoteOutputs
    from buildkit.session.remotekeys import RemoteAgents, RemoteChooser, RemoteKeys, RemoteSecrets, RemoteVerifier
    from buildkit.session.remotestores import RemoteStores, RemoteUploads

    id = headers.first(metadata, headers.ID)
    if not id:
        raise InvalidInput("the session has no id")
    offered = {method.lower() for method in metadata.get(headers.METHOD, ())}

    def offers(*methods: str) -> bool:
        return all(method.lower() in offered for method in methods)

    takes_files, takes_images = offers(headers.FILE_SEND), offers(headers.CONTENT_WRITE)
    return Session(
        id=id,
        shared_key=headers.first(metadata, headers.SHARED_KEY),
        locals=RemoteLocals(channel) if offers(headers.FILE_SYNC) else None,
        auth=RemoteKeys(channel, tokens, tokens=offers(headers.FETCH_TOKEN, headers.GET_AUTHORITY))
        if offers(headers.CREDENTIALS)
        else None,
        secrets=RemoteSecrets(channel) if offers(headers.GET_SECRET) else None,
        ssh=RemoteAgents(channel) if offers(headers.CHECK_AGENT, headers.FORWARD_AGENT) else None,
        stores=RemoteStores(channel) if offers(headers.CONTENT_INFO, headers.CONTENT_READ) else None,
        outputs=RemoteOutputs(channel, files=takes_files, images=takes_images) if takes_files or takes_images else None,
        uploads=RemoteUploads(channel) if offers(headers.PULL) else None,
        verifier=RemoteVerifier(channel) if offers(headers.CHECK_POLICY) else None,
        chooser=RemoteChooser(channel) if offers(headers.FIND_EXPORTERS) else None,
    )


async def host_session(call: Call, sessions: Sessions) -> None:
    """Serve ``Control/Session``: attach what a client lends for as long as its call lasts.

    Ends when the client hangs up; raises when it does not answer any more, or its id is taken.
    """
    over: asyncio.Future[BuildkitError | None] = asyncio.get_running_loop().create_future()

    def ended(error: BuildkitError | None) -> None:
        if not over.done():
            over.set_result(error)

    channel: Channel | None = None

    def connect(write: Callable[[list[Chunk]], None], closed: Callable[[str], None]) -> Connection:
        nonlocal channel
        channel = Channel(write, closed=closed)
        return channel.connection

    tunnel = Tunnel(call, connect, ended)
    assert channel is not None  # noqa: S101
    session = remote_session(channel, call.metadata, sessions.tokens)
    async with sessions.attach(session):
        channel.start()
        watching = asyncio.create_task(watch(channel, Rhythm.of(call.metadata)))
        try:
            await asyncio.wait((over, watching), return_when=asyncio.FIRST_COMPLETED)
            if watching.done():
                raise watching.result()
        finally:
            watching.cancel()
            tunnel.close("session closed")
