"""Far ends of a network that say nothing are asked whether they are there."""

import asyncio

import pytest

from buildkit.rpc import frames, transport
from buildkit.rpc.server import Server
from buildkit.rpc.transport import serve

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frames.frame(frames.SETTINGS, 0, 0, b"")


@pytest.fixture
async def far_end(monkeypatch):
    """A raw connection over TCP to a server that is quick to ask."""
    monkeypatch.setattr(transport, "_SILENCE", 0.01)
    monkeypatch.setattr(transport, "_PATIENCE", 0.05)
    listening = await asyncio.get_running_loop().create_server(serve(Server({})), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*listening.sockets[0].getsockname())
    writer.write(PREFACE)
    yield reader, writer
    writer.close()
    listening.close()


async def next_ping(reader):
    while True:
        head = await reader.readexactly(9)
        payload = await reader.readexactly(int.from_bytes(head[:3]))
        if head[3] == frames.PING:
            return payload


async def test_a_far_end_that_answers_is_asked_again_and_one_that_does_not_is_left(far_end):
    reader, writer = far_end
    for _ in range(3):
        writer.write(frames.frame(frames.PING, frames.ACK, 0, await next_ping(reader)))
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        while True:
            await next_ping(reader)


async def test_a_far_end_that_speaks_is_not_left(far_end):
    reader, writer = far_end
    await next_ping(reader)
    for number in range(20):
        writer.write(frames.frame(frames.PING, 0, 0, number.to_bytes(8)))
        while await next_ping(reader) != number.to_bytes(8):
            pass


async def test_sockets_of_this_machine_are_not_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(transport, "_SILENCE", 0.0)
    made = []

    def wire():
        made.append(serve(Server({}))())
        return made[0]

    listening = await asyncio.get_running_loop().create_unix_server(wire, tmp_path / "s")
    _, writer = await asyncio.open_unix_connection(tmp_path / "s")
    writer.write(PREFACE)
    while not made or made[0].connection is None:
        await asyncio.sleep(0)
    assert made[0]._keeping is None
    writer.close()
    listening.close()
