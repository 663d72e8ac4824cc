"""The sending half of an HTTP/2 connection: flow control, fair turns for the streams, and one write for many frames."""

from __future__ import annotations

from collections.abc import Callable

from buildkit.rpc import frames
from buildkit.rpc.hpack import Headers, encode
from buildkit.rpc.stream import Chunk, Stream

_TURN = 256 << 10
"""Bytes that a stream may send before the next one has its turn; with less than this queued it is drained."""


class Outbox:
    """What is to be written, and what the peer lets us send."""

    def __init__(self, write: Callable[[list[Chunk]], None], closed: Callable[[Stream], None]) -> None:
        """``closed`` is told of each stream whose sending side has ended."""
        self.corked = False
        """While a read is handled, nothing is written: it leaves in one write at the end."""
        self.paused = False
        """The transport is full."""
        self.window = self.initial_window = frames.DEFAULT_WINDOW
        self.frame_size = frames.DEFAULT_FRAME_SIZE
        self.header_list = 0
        """Bytes of the largest header list that the peer takes; 0: it has not said."""
        self.sent = 0
        """Bytes of payload that have left."""
        self._write = write
        self._closed = closed
        self._out: list[Chunk] = []
        self._ready: dict[int, Stream] = {}
        self._shut = False

    def put(self, content: bytes) -> None:
        """Write a frame."""
        self._out.append(content)
        self.flush()

    def put_off(self, content: bytes) -> None:
        """Write a frame with what comes next."""
        self._out.append(content)

    def flush(self) -> None:
        """Write what is there, unless corked."""
        if self._out and not self.corked and not self._shut:
            out, self._out = self._out, []
            self._write(out)

    def shut(self) -> None:
        """Nothing is written any more."""
        self._shut = True
        self._out.clear()
        self._ready.clear()

    def send_headers(self, stream: Stream, headers: Headers, *, end: bool) -> None:
        """Write headers now."""
        self._put_headers(stream, headers, end=end)
        if end:
            stream.local_closed = True
            self._closed(stream)
        self.flush()

    def _put_headers(self, stream: Stream, headers: Headers, *, end: bool) -> None:
        block = encode(headers)
        limit = self.frame_size
        flags = frames.END_STREAM if end else 0
        if len(block) <= limit:
            self._out.append(frames.frame(frames.HEADERS, flags | frames.END_HEADERS, stream.id, block))
            return
        self._out.append(frames.frame(frames.HEADERS, flags, stream.id, block[:limit]))
        for at in range(limit, len(block), limit):
            last = frames.END_HEADERS if at + limit >= len(block) else 0
            self._out.append(frames.frame(frames.CONTINUATION, last, stream.id, block[at : at + limit]))

    def want(self, stream: Stream) -> None:
        """A stream has something to send."""
        self._ready[stream.id] = stream
        if not self.corked:
            self.pump()
            self.flush()

    def forget(self, stream: Stream) -> None:
        """A stream is gone."""
        self._ready.pop(stream.id, None)
        stream.queue.clear()
        stream.queued = 0
        stream.trailers = None

    def resize(self, streams: list[Stream], initial: int) -> None:
        """The peer changed the initial window; raises `frames.ConnectionFault`."""
        for stream in streams:
            self.widen(stream, initial - self.initial_window)
            if stream.send_window > frames.MAX_WINDOW:
                raise frames.ConnectionFault(frames.FLOW_CONTROL_ERROR, "a stream's window overflows")
        self.initial_window = initial

    def widen(self, stream: Stream, increment: int) -> None:
        """The peer lets a stream send more, or less."""
        stream.send_window += increment
        if stream.queue or stream.end_queued:
            self._ready[stream.id] = stream

    def pump(self) -> None:
        """Take from the queues what the windows allow."""
        while self._ready and not self.paused and not self._shut:
            progressed = False
            for stream in list(self._ready.values()):
                progressed |= self._take_turn(stream)
            if not progressed:
                return

    def _take_turn(self, stream: Stream) -> bool:
        """Send up to one turn's share of a stream; True if anything left."""
        sent = 0
        while stream.queue and sent < _TURN:
            room = min(self.window, stream.send_window, self.frame_size)
            if room <= 0:
                break
            size = self._put_data(stream, room)
            sent += size
        if not stream.queue:
            self._ready.pop(stream.id, None)
            if stream.end_queued and not stream.local_closed:
                self._put_end(stream)
            if stream.local_closed:
                self._closed(stream)
        elif stream.send_window <= 0:
            self._ready.pop(stream.id, None)
        if sent and stream.events is not None and stream.queued < _TURN:
            stream.events.drained()
        return sent > 0

    def _put_data(self, stream: Stream, room: int) -> int:
        parts: list[Chunk] = []
        size = 0
        while stream.queue and size < room:
            view = stream.queue[0]
            if len(view) <= room - size:
                stream.queue.popleft()
                parts.append(view)
                size += len(view)
            else:
                parts.append(view[: room - size])
                stream.queue[0] = view[room - size :]
                size = room
        last = stream.end_queued and not stream.queue and stream.trailers is None
        self._out.append(frames.data_header(size, frames.END_STREAM if last else 0, stream.id))
        self._out += parts
        self.sent += size
        self.window -= size
        stream.send_window -= size
        stream.queued -= size
        stream.local_closed = last
        return size

    def _put_end(self, stream: Stream) -> None:
        stream.local_closed = True
        trailers, stream.trailers = stream.trailers, None
        if trailers is None:
            self._out.append(frames.data_header(0, frames.END_STREAM, stream.id))
        else:
            self._put_headers(stream, trailers, end=True)
