"""Peers that break RFC 9113, or the patience of a server."""

import asyncio
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.kit.h2_frames import HELLO, REQUEST, Peer, head

from buildkit.core.errors import BuildkitError
from buildkit.rpc import frames
from buildkit.rpc.client import Channel
from buildkit.rpc.frames import Limits
from buildkit.rpc.message import MessageReader, pack, whole
from buildkit.rpc.server import Method, Server

END = frames.END_HEADERS | frames.END_STREAM


def frame(kind, flags=0, id=0, payload=b""):
    return frames.frame(kind, flags, id, payload)


def settings(key, value):
    return frame(frames.SETTINGS, 0, 0, struct.pack(">HI", key, value))


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", frames.PROTOCOL_ERROR),
        (frames.PREFACE + frame(frames.PING, payload=bytes(8)), frames.PROTOCOL_ERROR),
        (HELLO + frame(frames.PING, payload=bytes(7)), frames.FRAME_SIZE_ERROR),
        (HELLO + frame(frames.PING, 0, 1, bytes(8)), frames.PROTOCOL_ERROR),
        (HELLO + frame(frames.SETTINGS, 0, 1), frames.PROTOCOL_ERROR),
        (HELLO + frame(frames.SETTINGS, 0, 0, b"x"), frames.FRAME_SIZE_ERROR),
        (HELLO + frame(frames.SETTINGS, frames.ACK, 0, bytes(6)), frames.FRAME_SIZE_ERROR),
        (HELLO + settings(frames.SETTINGS_ENABLE_PUSH, 2), frames.PROTOCOL_ERROR),
        (HELLO + settings(frames.SETTINGS_INITIAL_WINDOW_SIZE, 2**31), frames.FLOW_CONTROL_ERROR),
        (HELLO + settings(frames.SETTINGS_MAX_FRAME_SIZE, 100), frames.PROTOCOL_ERROR),
        (HELLO + frame(frames.DATA, 0, 0, b"x"), frames.PROTOCOL_ERROR),
        (HELLO + frame(frames.DATA, 0, 1, b"x"), frames.PROTOCOL_ERROR),
        (HELLO + head(0), frames.PROTOCOL_ERROR),
        (HELLO + head(2), frames.PROTOCOL_ERROR),
        (HELLO + frame(frames.HEADERS, frames.PADDED | END, 1, b"\x09abc"), frames.PROTOCOL_ERROR),
        (HELLO + frame(frames.HEADERS, frames.PRIORITY_FLAG | END, 1, b"abc"), frames.FRAME_SIZE_ERROR),
        (HELLO + frame(frames.HEADERS, END, 1, b"\xff\xff\xff\xff\xff\xff"), frames.COMPRESSION_ERROR),
        (HELLO + head(1, flags=0) + frame(frames.PING, payload=bytes(8)), frames.PROTOCOL_ERROR),
        (HELLO + head(1, flags=0) + frame(frames.DATA, 0, 1, b"x"), frames.PROTOCOL_ERROR),
        (HELLO + head(1, flags=0) + frame(frames.CONTINUATION, 0, 3, b"x"), frames.PROTOCOL_ERROR),
        (HELLO + head(1, flags=0) + frame(frames.CONTINUATION, 0, 1), frames.ENHANCE_YOUR_CALM),
        (HELLO + frame(frames.CONTINUATION, END, 1), frames.PROTOCOL_ERROR),
        (HELLO + frame(frames.PUSH_PROMISE, END, 1, bytes(8)), frames.PROTOCOL_ERROR),
        (HELLO + frame(frames.PRIORITY, 0, 1, bytes(4)), frames.FRAME_SIZE_ERROR),
        (HELLO + frame(frames.PRIORITY, 0, 0, bytes(5)), frames.PROTOCOL_ERROR),
        (HELLO + frame(frames.RST_STREAM, 0, 1, bytes(4)), frames.PROTOCOL_ERROR),
        (HELLO + head(1) + frame(frames.RST_STREAM, 0, 1, bytes(3)), frames.FRAME_SIZE_ERROR),
        (HELLO + frame(frames.GOAWAY, 0, 1, bytes(8)), frames.PROTOCOL_ERROR),
        (HELLO + frame(frames.GOAWAY, 0, 0, bytes(7)), frames.FRAME_SIZE_ERROR),
        (HELLO + frames.window_update(0, 0), frames.PROTOCOL_ERROR),
        (HELLO + frames.window_update(0, 2**31 - 1), frames.FLOW_CONTROL_ERROR),
        (HELLO + frames.window_update(1, 1), frames.PROTOCOL_ERROR),
        (HELLO + frame(frames.WINDOW_UPDATE, 0, 0, b"x"), frames.FRAME_SIZE_ERROR),
        (HELLO + b"\xff\xff\xff\x00\x00\x00\x00\x00\x01", frames.FRAME_SIZE_ERROR),
        (HELLO + head(1) + head(1), None),
        (HELLO + head(1, flags=END) + head(1, flags=END), frames.STREAM_CLOSED),
        (HELLO + frame(0x42, 0xFF, 7, b"whatever it is"), None),
    ],
)
def test_a_peer_that_breaks_the_protocol_is_told_so(sent, code):
    whole, piecemeal = Peer(), Peer()
    assert whole.fault(sent) == code
    assert piecemeal.fault(*(sent[at : at + 1] for at in range(len(sent)))) == code
    assert bool(whole.closed) == (code is not None)


@pytest.mark.parametrize(
    "headers",
    [
        REQUEST[1:],
        (*REQUEST, (b":method", b"GET")),
        (*REQUEST, (b":status", b"200")),
        (REQUEST[3], *REQUEST[:3]),
        (*REQUEST, (b"Upper", b"x")),
        (*REQUEST, (b"connection", b"close")),
        (*REQUEST, (b"x", b"a\r\nb: c")),
    ],
)
def test_a_malformed_request_costs_its_stream_alone(headers):
    peer = Peer()
    answers = peer.take(HELLO + head(1, headers) + head(3))
    assert (frames.RST_STREAM, 0, 1, struct.pack(">I", frames.PROTOCOL_ERROR)) in answers
    assert list(peer.streams) == [3]


@pytest.mark.parametrize(
    "flood",
    [
        frame(frames.PING, payload=bytes(8)),
        frame(frames.SETTINGS),
        frame(frames.PRIORITY, 0, 1, bytes(5)),
        frame(frames.DATA, 0, 1),
        frame(0x42, 0, 0, b"x"),
        frame(frames.RST_STREAM, 0, 3, bytes(4)),
        frame(frames.GOAWAY, 0, 0, bytes(8)),
    ],
)
def test_frames_that_carry_nothing_run_out_of_patience(flood):
    peer = Peer(limits=Limits(idle_frames=50))
    start = HELLO + head(1) + head(3) + frame(frames.RST_STREAM, 0, 3, bytes(4))
    assert peer.fault(start + flood * 40) is None
    assert peer.fault(flood * 20) == frames.ENHANCE_YOUR_CALM


def test_streams_that_are_reset_again_and_again_run_out_of_patience():
    peer = Peer(limits=Limits(resets=20))
    opened = [head(id) + frame(frames.RST_STREAM, 0, id, bytes(4)) for id in range(1, 101, 2)]
    assert peer.fault(HELLO, *opened) == frames.ENHANCE_YOUR_CALM


def test_streams_that_we_must_reset_run_out_of_patience():
    peer = Peer(limits=Limits(resets=20))
    opened = [head(id) + frames.window_update(id, 0) for id in range(1, 101, 2)]
    assert peer.fault(HELLO, *opened) == frames.ENHANCE_YOUR_CALM


def test_answers_that_nobody_reads_run_out_of_patience():
    peer = Peer(limits=Limits(idle_frames=50))
    peer.take(HELLO + head(1))
    peer.connection.pause_writing()
    ping = frame(frames.PING, payload=bytes(8)) + frame(frames.DATA, 0, 1, b"x")
    assert peer.fault(ping * 60) == frames.ENHANCE_YOUR_CALM


def test_a_header_block_of_many_continuations_is_cut_off():
    peer = Peer()
    more = frame(frames.CONTINUATION, 0, 1, bytes(16_000))
    assert peer.fault(HELLO + head(1, flags=0), *([more] * 9)) == frames.ENHANCE_YOUR_CALM


def test_headers_that_unpack_to_too_much_end_the_connection():
    bomb = b"\x40\x01a\x7f\x81\x1f" + b"x" * 4096  # kept in the table, then named over and over
    peer = Peer(limits=Limits(header_list=16_000))
    assert peer.fault(HELLO + frame(frames.HEADERS, END, 1, bomb + b"\xbe" * 100)) == frames.COMPRESSION_ERROR


def test_more_than_the_window_ends_the_connection():
    peer = Peer(limits=Limits(stream_window=70_000, connection_window=100_000))
    data = frame(frames.DATA, 0, 1, bytes(60_000))
    assert peer.fault(HELLO + head(1) + data + data) == frames.FLOW_CONTROL_ERROR


def test_streams_over_the_limit_are_refused():
    peer = Peer(limits=Limits(concurrent_streams=2))
    answers = peer.take(HELLO + head(1) + head(3) + head(5))
    assert (frames.RST_STREAM, 0, 5, struct.pack(">I", frames.REFUSED_STREAM)) in answers


def test_a_peer_that_goes_away_takes_the_streams_that_it_never_saw():
    peer = Peer(client=True)
    listeners = []
    from tests.kit.h2_frames import Listener

    for _ in range(3):
        listeners.append(Listener())
        peer.connection.open(REQUEST, listeners[-1])
    peer.take(frames.settings({}) + frames.goaway(3, frames.NO_ERROR, "restarting"))
    assert [len(listener.resets) for listener in listeners] == [0, 0, 1]
    assert listeners[2].resets == [(frames.REFUSED_STREAM, "the peer went away: restarting")]
    with pytest.raises(ConnectionError):
        peer.connection.open(REQUEST, Listener())


KINDS = st.integers(0, 11)
FRAMES = st.builds(
    frames.frame, KINDS, st.integers(0, 255), st.integers(0, 9), st.binary(max_size=40) | st.just(bytes(4))
)


@given(st.lists(FRAMES | st.integers(1, 9).map(head) | st.just(frames.settings({})), max_size=30), st.booleans())
def test_no_sequence_of_frames_breaks_a_connection(sequence, client):
    peer = Peer(client=client)
    if client:
        from tests.kit.h2_frames import Listener

        for _ in range(3):
            peer.connection.open(REQUEST, Listener())
    peer.take((frames.settings({}) if client else HELLO), *sequence)
    assert len(peer.written) < 10_000


@given(st.binary(max_size=200))
def test_no_bytes_break_a_connection(content):
    Peer().take(HELLO + content)
    Peer(client=True).take(content)


async def _exchange():
    """What a client and a server say to each other in a few calls."""

    async def echo(request, call):
        return request * 3

    async def fail(request, call):
        raise BuildkitError("no: ü")

    said = {"client": bytearray(), "server": bytearray()}
    server = Server({"/a.B/Echo": Method(unary=echo), "/a.B/Fail": Method(unary=fail)})
    loop = asyncio.get_running_loop()

    def to_server(chunks):
        said["client"] += b"".join(chunks)
        loop.call_soon(far.receive, b"".join(chunks))

    def to_client(chunks):
        said["server"] += b"".join(chunks)
        loop.call_soon(channel.connection.receive, b"".join(chunks))

    channel = Channel(to_server, closed=lambda reason: None)
    far = server.connect(to_client, lambda reason: None)
    channel.start()
    await channel.unary("/a.B/Echo", b"hello" * 1000, {"x-word": ["one", "two"]})
    with pytest.raises(BuildkitError):
        await channel.unary("/a.B/Fail", b"")
    return bytes(said["client"]), bytes(said["server"])


MUTATIONS = st.lists(
    st.tuples(st.integers(0, 10**6), st.sampled_from(["flip", "drop", "double"]), st.integers(0, 255)), max_size=5
)


@given(MUTATIONS, st.integers(1, 3000))
def test_a_damaged_conversation_fails_calls_and_nothing_else(mutations, step):
    async def play():
        loop = asyncio.get_running_loop()
        trouble = []
        loop.set_exception_handler(lambda loop, context: trouble.append(context))
        client, server = await _exchange()
        request, response = _damage(client, mutations), _damage(server, mutations)

        async def echo(request, call):
            return request

        far = Server({"/a.B/Echo": Method(unary=echo)}).connect(lambda chunks: None, lambda reason: None)
        channel = Channel(lambda chunks: None, closed=lambda reason: None)
        channel.start()
        asked = [asyncio.create_task(channel.unary("/a.B/Echo", b"x")) for _ in range(2)]
        await asyncio.sleep(0)
        for at in range(0, max(len(request), len(response)), step):
            far.receive(request[at : at + step])
            channel.connection.receive(response[at : at + step])
            await asyncio.sleep(0)
        channel.connection.lost("over")
        far.lost("over")
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert all(isinstance(answer, bytes | BuildkitError) for answer in answers)
        assert not trouble

    asyncio.run(play())


def _damage(content, mutations):
    damaged = bytearray(content)
    for place, kind, value in mutations:
        at = place % len(damaged)
        if kind == "flip":
            damaged[at] ^= value
        elif kind == "drop":
            del damaged[at : at + value % 20]
        else:
            damaged[at:at] = damaged[at : at + value]
    return bytes(damaged)


@given(st.lists(st.binary(max_size=200), max_size=10), st.integers(1, 50))
def test_messages_come_out_as_they_went_in_however_they_are_cut(messages, step):
    content = b"".join(pack(message) + message for message in messages)
    reader = MessageReader(whole)
    found = [m for at in range(0, len(content), step) for m in reader.feed([content[at : at + step]])]
    assert found == messages
    assert reader.finish() is None


@given(st.lists(st.binary(max_size=60), max_size=8))
def test_no_bytes_break_a_message_reader(chunks):
    reader = MessageReader(whole, limit=1000)
    reader.compression = "gzip"
    try:
        reader.feed(chunks)
    except BuildkitError:
        pass


async def test_a_deadline_in_digits_that_are_not_ascii_is_refused():
    written = bytearray()
    server = Server({"/a.B/C": Method(unary=None)})
    near = server.connect(lambda chunks: written.extend(b"".join(chunks)), lambda reason: None)
    near.receive(HELLO + head(1, (*REQUEST, (b"grpc-timeout", b"\xb2S")), flags=END))
    assert b"malformed grpc-timeout" in written
    assert not near.is_over()
