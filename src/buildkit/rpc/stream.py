"""One stream of an HTTP/2 connection: its windows, what waits to be sent, and whom to tell what comes."""

from __future__ import annotations

from collections import deque
from typing import Protocol, TypeAlias

from buildkit.rpc import frames
from buildkit.rpc.hpack import Headers

Chunk: TypeAlias = bytes | memoryview


class Events(Protocol):
    """What a stream tells its owner. `data` comes at most once a read, with all chunks of that read."""

    def headers(self, headers: Headers, end: bool) -> None:
        """Headers, or trailers when ``end``."""

    def data(self, chunks: list[Chunk], end: bool) -> None:
        """Payload, to be copied if it is kept. Give credit back with `Stream.acknowledge` as it is consumed."""

    def reset(self, code: int, reason: str) -> None:
        """The stream is gone before its end; nothing follows."""

    def drained(self) -> None:
        """The send queue fell below the low mark."""


class Carrier(Protocol):
    """The connection as its streams see it."""

    @property
    def header_list(self) -> int:
        """Bytes of the largest header list that the peer takes; 0: it has not said."""

    def want(self, stream: Stream) -> None:
        """The stream has something to send."""

    def send_headers(self, stream: Stream, headers: Headers, *, end: bool) -> None:
        """Write headers now."""

    def credit(self, stream: Stream | None, size: int) -> None:
        """Bytes were consumed."""

    def reset_stream(self, stream: Stream, code: int) -> None:
        """Abandon the stream."""


class Stream:
    """One stream. Its owner uses the methods, ``events`` and ``queued``; the rest belongs to the connection."""

    __slots__ = (
        "arrived",
        "arrived_end",
        "connection",
        "consumed",
        "end_queued",
        "events",
        "id",
        "local_closed",
        "queue",
        "queued",
        "receive_window",
        "remote_closed",
        "send_window",
        "stop_receiving",
        "trailers",
    )

    def __init__(self, connection: Carrier, id: int, send_window: int, receive_window: int) -> None:
        self.id = id
        self.events: Events | None = None
        self.queued = 0
        """Bytes that wait to be sent."""
        self.local_closed = self.remote_closed = False
        self.connection = connection
        self.send_window = send_window
        self.receive_window = receive_window
        self.consumed = 0
        self.queue: deque[memoryview] = deque()
        self.end_queued = self.stop_receiving = False
        self.trailers: Headers | None = None
        self.arrived: list[Chunk] = []
        self.arrived_end = False

    def send_headers(self, headers: Headers, *, end: bool = False) -> None:
        """Send headers, or trailers with ``end`` (they wait for queued data)."""
        if self.local_closed or self.end_queued:
            return
        if end:
            self.trailers = headers
            self.end_queued = True
            self.connection.want(self)
        else:
            self.connection.send_headers(self, headers, end=False)

    def send(self, chunks: list[Chunk], *, end: bool = False) -> None:
        """Queue data; it leaves as the windows allow. Watch ``queued`` and `Events.drained`."""
        if self.local_closed or self.end_queued:
            return
        for chunk in chunks:
            if chunk:
                self.queue.append(memoryview(chunk))
                self.queued += len(chunk)
        self.end_queued = end
        self.connection.want(self)

    def finish(self, trailers: Headers) -> None:
        """Send trailers after what is queued, and tell the peer to stop sending if it has not (RFC 9113, 8.1)."""
        self.stop_receiving = True
        self.send_headers(trailers, end=True)

    def acknowledge(self, size: int) -> None:
        """``size`` bytes were consumed: let the peer send that much more."""
        self.connection.credit(self, size)

    def reset(self, code: int = frames.CANCEL) -> None:
        """Abandon the stream in both directions."""
        self.connection.reset_stream(self, code)
