"""Bytes into messages: however they come, and without keeping what they came in."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildkit.core.errors import BuildkitError, InvalidInput
from buildkit.rpc.client import Channel
from buildkit.rpc.server import Method, Server
from buildkit.rpc.tunnel import payload_of, wrap

SIZES = st.lists(st.sampled_from([0, 1, 5, 900, 1100, 16_384, 40_000]), min_size=1, max_size=6)


class Feeder:
    """Feeds a connection out of one buffer, which is overwritten after each read."""

    def __init__(self, step):
        self.connection = None
        self.step = step
        self.buffer = bytearray(step)

    def __call__(self, chunks):
        asyncio.get_running_loop().call_soon(self.feed, b"".join(chunks))

    def feed(self, content):
        for at in range(0, len(content), self.step):
            part = content[at : at + self.step]
            self.buffer[: len(part)] = part
            self.connection.receive(memoryview(self.buffer)[: len(part)])
            self.buffer[:] = b"\xff" * self.step


def linked(server, step):
    """A client's channel, whose bytes reach ``server`` some at a time."""
    to_server, to_client = Feeder(step), Feeder(step)
    channel = Channel(to_server, closed=lambda reason: None)
    to_client.connection = channel.connection
    to_server.connection = server.connect(to_client, lambda reason: None)
    channel.start()
    return channel


def numbered(sizes):
    return [bytes([number]) * size for number, size in enumerate(sizes)]


async def collect(read, sizes, step):
    """What ``read(call)`` makes of messages of some sizes."""
    got = asyncio.get_running_loop().create_future()

    async def take(call):
        got.set_result(await read(call))

    channel = linked(Server({"/s/Take": Method(streaming=take)}), step)
    call = channel.call("/s/Take")
    call.send_all(numbered(sizes))
    call.end()
    return await got


async def all_of(call):
    return [message async for message in call]


async def views_of(call):
    found = []
    while messages := await call.receive_views():
        found += messages
    return [bytes(message) for message in found]


@given(SIZES, st.sampled_from([1000, 4096, 17_000, 300_000]))
def test_messages_are_what_was_sent_however_the_bytes_come(sizes, step):
    for read in (all_of, views_of):
        assert asyncio.run(collect(read, sizes, step)) == numbered(sizes)


@given(SIZES, st.sampled_from([1000, 17_000, 300_000]), st.booleans())
def test_a_consumer_gets_what_its_body_makes_of_each_message(sizes, step, late):
    async def read(call):
        found, over = [], asyncio.get_running_loop().create_future()
        if late:
            await asyncio.sleep(0)
        call.consume(found.extend, over.set_result, lambda buffer, start, end: (end - start, bytes(buffer[start:end])))
        assert await over is None
        return found

    assert asyncio.run(collect(read, sizes, step)) == [(len(message), message) for message in numbered(sizes)]


async def test_what_came_before_a_consumer_that_can_not_read_it_ends_the_call():
    async def read(call):
        await asyncio.sleep(0)
        over = asyncio.get_running_loop().create_future()
        call.consume(lambda found: None, over.set_result, payload_of)
        return await over

    assert isinstance(await collect(read, [900], 1000), InvalidInput)


@given(st.binary(max_size=3000), st.integers(0, 9))
def test_the_payload_of_a_wrapped_message_is_found_where_it_lies(payload, before):
    message = wrap(payload)
    buffer = b"x" * before + message + b"y"
    assert bytes(payload_of(buffer, before, before + len(message))) == payload


@pytest.mark.parametrize("last", [b"", b"z" * (2 << 20)], ids=["the end", "plenty"])
async def test_messages_of_bulk_transfers_come_together(monkeypatch, last):
    monkeypatch.setattr("buildkit.rpc.call._PATIENCE", 3600)
    reads = []
    reading = asyncio.Event()

    async def take(call):
        reading.set()
        while messages := await call.receive_all():
            reads.append(len(messages))

    async def echo(request, call):
        return request

    channel = linked(Server({"/s/Take": Method(streaming=take), "/s/Echo": Method(unary=echo)}), 1 << 20)
    call = channel.call("/s/Take")
    await reading.wait()
    call.send_all([b"a", b"b" * 70_000])
    await channel.unary("/s/Echo", b"")
    assert not reads
    call.send_all([b"c", *([last] if last else [])])
    call.end()
    while await call.receive() is not None:
        pass
    assert reads[0] == 3 + bool(last)


async def test_a_long_message_is_told_whole_to_those_who_read_details():
    async def fail(content, call):
        raise BuildkitError("x" * 20_000)

    server = Server({"/a.B/Fail": Method(unary=fail)})
    channel = linked(server, 1 << 20)
    with pytest.raises(BuildkitError, match=r"^x{20000}$"):
        await channel.unary("/a.B/Fail", b"")
