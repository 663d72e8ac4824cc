"""HTTP/2 frames (RFC 9113, sections 4 and 6): numbers, limits and packing."""

from __future__ import annotations

import struct

from buildkit.core.values import dataclass

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADER_SIZE = 9
DEFAULT_WINDOW = 65_535
DEFAULT_FRAME_SIZE = 16_384
MAX_WINDOW = 2**31 - 1

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)

END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITY_FLAG = 0x20

SETTINGS_HEADER_TABLE_SIZE = 1
SETTINGS_ENABLE_PUSH = 2
SETTINGS_MAX_CONCURRENT_STREAMS = 3
SETTINGS_INITIAL_WINDOW_SIZE = 4
SETTINGS_MAX_FRAME_SIZE = 5
SETTINGS_MAX_HEADER_LIST_SIZE = 6

NO_ERROR = 0
PROTOCOL_ERROR = 1
INTERNAL_ERROR = 2
FLOW_CONTROL_ERROR = 3
STREAM_CLOSED = 5
FRAME_SIZE_ERROR = 6
REFUSED_STREAM = 7
CANCEL = 8
COMPRESSION_ERROR = 9
ENHANCE_YOUR_CALM = 11


class ConnectionFault(Exception):
    """The peer broke the protocol or a limit; the connection ends with GOAWAY ``code``."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


@dataclass(frozen=True, slots=True)
class Limits:
    """What we announce and what we bear. Sizes in bytes."""

    stream_window: int = 16 << 20
    connection_window: int = 64 << 20
    frame_size: int = 1 << 20
    header_list: int = 64 << 10
    header_block: int = 128 << 10
    """One compressed block with all its CONTINUATION frames."""
    concurrent_streams: int = 1_000
    idle_frames: int = 10_000
    """PING, SETTINGS, PRIORITY, empty DATA and RST_STREAM frames in a row that carry no request forward."""
    resets: int = 1_000
    """Streams that the peer may reset before it lets any other one finish."""


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One whole frame."""
    length = len(payload)
    return struct.pack(">BHBBI", length >> 16, length & 0xFFFF, kind, flags, stream) + payload


def data_header(length: int, flags: int, stream: int) -> bytes:
    """The nine bytes before a DATA payload that is written on its own."""
    return struct.pack(">BHBBI", length >> 16, length & 0xFFFF, DATA, flags, stream)


def settings(values: dict[int, int]) -> bytes:
    """A SETTINGS frame."""
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", key, value) for key, value in values.items()))


def window_update(stream: int, increment: int) -> bytes:
    """A WINDOW_UPDATE frame."""
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", increment))


def reset(stream: int, code: int) -> bytes:
    """An RST_STREAM frame."""
    return frame(RST_STREAM, 0, stream, struct.pack(">I", code))


def goaway(last_stream: int, code: int, reason: str = "") -> bytes:
    """A GOAWAY frame."""
    return frame(GOAWAY, 0, 0, struct.pack(">II", last_stream, code) + reason.encode()[:256])


def unpad(flags: int, payload: bytes) -> bytes:
    """Take padding off a DATA or HEADERS payload."""
    if not flags & PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise ConnectionFault(PROTOCOL_ERROR, "padding is longer than its frame")
    return payload[1 : len(payload) - payload[0]]


def opening(limits: Limits, *, client: bool) -> bytes:
    """What comes before everything else: the preface, our settings, the connection's window."""
    values = {
        SETTINGS_INITIAL_WINDOW_SIZE: limits.stream_window,
        SETTINGS_MAX_FRAME_SIZE: limits.frame_size,
        SETTINGS_MAX_HEADER_LIST_SIZE: limits.header_list,
    }
    if client:
        values[SETTINGS_ENABLE_PUSH] = 0
    else:
        values[SETTINGS_MAX_CONCURRENT_STREAMS] = limits.concurrent_streams
    growth = limits.connection_window - DEFAULT_WINDOW
    return (PREFACE if client else b"") + settings(values) + window_update(0, growth)
