"""Our two halves against grpcio's, on a unix socket."""

import asyncio

import grpc
import pytest

from buildkit.core.errors import NotFound
from buildkit.rpc.client import Channel
from buildkit.rpc.server import Method, Server
from buildkit.rpc.transport import attach, serve


async def echo(request, call):
    call.send_response_metadata({"x-seen": [call.metadata.get("x-word", [""])[0]]})
    return request[::-1]


async def missing(request, call):
    raise NotFound("no such thing: ü")


async def count(call):
    total = 0
    async for message in call:
        total += len(message)
        await call.send(message)
    await call.send(str(total).encode())


METHODS = {
    "/t.T/Echo": Method(unary=echo),
    "/t.T/Missing": Method(unary=missing),
    "/t.T/Count": Method(streaming=count),
}


@pytest.fixture
async def address(tmp_path):
    path = tmp_path / "s"
    listener = await asyncio.get_running_loop().create_unix_server(serve(Server(METHODS)), str(path))
    yield f"unix:{path}"
    listener.close()


async def ours(address):
    def channel(wire):
        made.append(Channel(wire.write, closed=wire.close))
        made[0].start()
        return made[0]

    made = []
    await asyncio.get_running_loop().create_unix_connection(attach(channel), address.removeprefix("unix:"))
    return made[0]


async def test_a_grpcio_client_gets_messages_metadata_and_errors(address):
    async with grpc.aio.insecure_channel(address) as channel:
        call = channel.unary_unary("/t.T/Echo")(b"abc", metadata=[("x-word", "hi")])
        assert await call == b"cba"
        assert ("x-seen", "hi") in tuple(await call.initial_metadata())
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await channel.unary_unary("/t.T/Missing")(b"")
        assert (failure.value.code(), failure.value.details()) == (grpc.StatusCode.NOT_FOUND, "no such thing: ü")
        with pytest.raises(grpc.aio.AioRpcError, match="unknown method Nope"):
            await channel.unary_unary("/t.T/Nope")(b"")


@pytest.mark.parametrize("size", [1, 70_000, 5_000_000])
async def test_a_stream_carries_large_messages_both_ways(address, size):
    async with grpc.aio.insecure_channel(address, options=[("grpc.max_receive_message_length", 16 << 20)]) as channel:
        call = channel.stream_stream("/t.T/Count")(iter([b"x" * size] * 6))
        answers = [message async for message in call]
    assert answers[-1] == str(6 * size).encode()
    assert [len(a) for a in answers[:-1]] == [size] * 6


async def test_our_client_talks_to_our_server(address):
    channel = await ours(address)
    assert await channel.unary("/t.T/Echo", b"abc") == b"cba"
    with pytest.raises(NotFound, match="no such thing: ü"):
        await channel.unary("/t.T/Missing", b"")


async def test_our_client_talks_to_a_grpcio_server(tmp_path):
    class Handler(grpc.GenericRpcHandler):
        def service(self, details):
            async def answer(request, context):
                if details.method.endswith("Missing"):
                    await context.abort(grpc.StatusCode.NOT_FOUND, "gone")
                return request * 2

            return grpc.unary_unary_rpc_method_handler(answer)

    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Handler(),))
    address = f"unix:{tmp_path}/g"
    server.add_insecure_port(address)
    await server.start()
    channel = await ours(address)
    assert await channel.unary("/t.T/Echo", b"x" * 300_000) == b"x" * 600_000
    with pytest.raises(NotFound, match="gone"):
        await channel.unary("/t.T/Missing", b"")
    await server.stop(None)


async def test_a_cancelled_client_cancels_the_handler(address):
    channel = await ours(address)
    call = channel.call("/t.T/Count")
    call.send_all([b"x"])
    assert await call.receive() == b"x"
    call.cancel()
    assert await channel.unary("/t.T/Echo", b"ab") == b"ba"
