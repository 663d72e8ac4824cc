import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildkit.core.errors import BuildkitError, InvalidInput
from buildkit.rpc.client import Channel
from buildkit.rpc.server import Method, Server
from buildkit.rpc.transport import attach, serve
from buildkit.rpc.tunnel import Tunnel, unwrap, wrap


@given(st.binary(max_size=300))
def test_wrapping_a_payload_can_be_undone(payload):
    assert unwrap(wrap(payload)) == payload


@given(st.binary(max_size=20))
def test_a_malformed_message_is_refused(message):
    try:
        assert wrap(unwrap(message)) == message or not message
    except InvalidInput:
        pass


async def double(request, call):
    return request * 2


@pytest.mark.row("A42")
async def test_the_daemon_calls_the_client_through_the_tunnel(tmp_path):
    answers = asyncio.get_running_loop().create_future()

    async def session(call):
        over = asyncio.get_running_loop().create_future()
        channels = []

        def connect(write, closed):
            channels.append(Channel(write, closed=closed))
            return channels[0].connection

        Tunnel(call, connect, lambda error: over.done() or over.set_result(None))
        channels[0].start()
        answers.set_result([await channels[0].unary("/inner/Double", b"x" * size) for size in (1, 700_000)])
        await over

    listener = await asyncio.get_running_loop().create_unix_server(
        serve(Server({"/outer/Session": Method(streaming=session)})), str(tmp_path / "s")
    )
    outer = []

    def channel(wire):
        outer.append(Channel(wire.write, closed=wire.close))
        outer[0].start()
        return outer[0]

    await asyncio.get_running_loop().create_unix_connection(attach(channel), str(tmp_path / "s"))
    call = outer[0].call("/outer/Session")
    Tunnel(call, Server({"/inner/Double": Method(unary=double)}).connect, lambda error: None)
    assert [len(answer) for answer in await answers] == [2, 1_400_000]
    call.end()
    with pytest.raises(BuildkitError):
        await outer[0].unary("/outer/Nothing", b"")
    listener.close()
