"""An HTTP/2 connection in either role, with no I/O of its own (RFC 9113).

Bytes come in through `Connection.receive` and leave through the ``write`` callable, once for each read: everything
in a read is parsed, the streams get their data in batches, and all answers leave in one write. A connection
belongs to one thread (one event loop); nothing here blocks.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable
from typing import Protocol, TypeAlias

from buildkit.rpc import frames
from buildkit.rpc.frames import ConnectionFault, Limits
from buildkit.rpc.hpack import Decoder, HeaderError, Headers, encode

Chunk: TypeAlias = bytes | memoryview


class Events(Protocol):
    """What a stream tells its owner. `data` comes at most once a read, with all chunks of that read."""

    def headers(self, headers: Headers, end: bool) -> None:
        """Headers, or trailers when ``end``."""

    def data(self, chunks: list[bytes], end: bool) -> None:
        """Payload. Give credit back with `Stream.acknowledge` as it is consumed."""

    def reset(self, code: int, reason: str) -> None:
        """The stream is gone before its end; nothing follows."""

    def drained(self) -> None:
        """The send queue fell below the low mark."""


class Stream:
    """One stream's sending half, its windows, and whom to tell."""

    __slots__ = (
        "_arrived",
        "_arrived_end",
        "_connection",
        "_consumed",
        "_end_queued",
        "_queue",
        "_receive_window",
        "_send_window",
        "events",
        "id",
        "local_closed",
        "queued",
        "remote_closed",
    )

    def __init__(self, connection: Connection, id: int, send_window: int, receive_window: int) -> None:
        self.id = id
        self.events: Events | None = None
        self.queued = 0
        self.local_closed = self.remote_closed = False
        self._connection = connection
        self._send_window = send_window
        self._receive_window = receive_window
        self._consumed = 0
        self._queue: deque[memoryview] = deque()
        self._end_queued = False
        self._arrived: list[bytes] = []
        self._arrived_end = False

    def send_headers(self, headers: Headers, *, end: bool = False) -> None:
        """Send headers, or trailers with ``end`` (they wait for queued data)."""
        if self.local_closed:
            return
        if end and (self._queue or self._end_queued):
            self._connection._trailers[self.id] = headers
            self._end_queued = True
        else:
            self._connection._send_headers(self, headers, end)

    def send(self, chunks: list[Chunk], *, end: bool = False) -> None:
        """Queue data; it leaves as the windows allow. Watch ``queued`` (bytes) and `Events.drained`."""
        if self.local_closed or self._end_queued:
            return
        for chunk in chunks:
            if chunk:
                self._queue.append(memoryview(chunk))
                self.queued += len(chunk)
        self._end_queued = end
        self._connection._want_write(self)

    def acknowledge(self, size: int) -> None:
        """``size`` bytes were consumed: let the peer send that much more."""
        self._connection._credit(self, size)

    def reset(self, code: int = frames.CANCEL) -> None:
        """Abandon the stream in both directions."""
        self._connection._reset_stream(self, code)


class Connection:
    """The state machine of one connection."""

    def __init__(
        self,
        *,
        client: bool,
        write: Callable[[list[Chunk]], None],
        accept: Callable[[Stream, Headers, bool], None] | None = None,
        closed: Callable[[str], None] | None = None,
        limits: Limits | None = None,
    ) -> None:
        """``accept`` gets each stream that the peer opens and sets its ``events``; ``closed`` gets the end's reason."""
        self.limits = limits or Limits()
        self.streams: dict[int, Stream] = {}
        self.closing = False
        self.peer_goaway = False
        self.write_paused = False
        self._client = client
        self._write = write
        self._accept = accept
        self._closed = closed
        self._closed_reason: str | None = None
        self._decoder = Decoder(max_list_size=self.limits.header_list)
        self._rest = b""
        self._preface_left = b"" if client else frames.PREFACE
        self._out: list[Chunk] = []
        self._ready: dict[int, Stream] = {}
        self._arrivals: dict[int, Stream] = {}
        self._trailers: dict[int, Headers] = {}
        self._block: tuple[int, int, bytearray] | None = None
        self._next_id = 1 if client else 2
        self._last_peer_id = 0
        self._send_window = self._peer_initial_window = frames.DEFAULT_WINDOW
        self._peer_frame_size = frames.DEFAULT_FRAME_SIZE
        self._peer_streams = 2**31
        self._receive_window = self.limits.connection_window
        self._consumed = 0
        self._idle_frames = self._resets = 0
        self._pings: dict[bytes, Callable[[], None]] = {}
        self._got_settings = False
        self._in_receive = False
        opening = frames.PREFACE if client else b""
        values = {
            frames.SETTINGS_INITIAL_WINDOW_SIZE: self.limits.stream_window,
            frames.SETTINGS_MAX_FRAME_SIZE: self.limits.frame_size,
            frames.SETTINGS_MAX_HEADER_LIST_SIZE: self.limits.header_list,
        }
        if client:
            values[frames.SETTINGS_ENABLE_PUSH] = 0
        else:
            values[frames.SETTINGS_MAX_CONCURRENT_STREAMS] = self.limits.concurrent_streams
        growth = self.limits.connection_window - frames.DEFAULT_WINDOW
        self._out.append(opening + frames.settings(values) + frames.window_update(0, growth))

    # -- the owner's side --

    def start(self) -> None:
        """Send the preface and settings."""
        self.flush()

    def open(self, headers: Headers, events: Events, *, end: bool = False) -> Stream:
        """Open a stream with its request headers (client role); raises ConnectionError when that is not possible."""
        if self._closed_reason is not None or self.closing or self.peer_goaway:
            raise ConnectionError(self._closed_reason or "connection is closing")
        if len(self.streams) >= self._peer_streams:
            raise ConnectionError("the peer allows no more streams at once")
        stream = Stream(self, self._next_id, self._peer_initial_window, self.limits.stream_window)
        self._next_id += 2
        stream.events = events
        self.streams[stream.id] = stream
        self._send_headers(stream, headers, end)
        return stream

    def ping(self, token: bytes, answered: Callable[[], None]) -> None:
        """Send a PING with eight bytes; ``answered`` is called on its acknowledgement."""
        self._pings[token] = answered
        self._emit(frames.frame(frames.PING, 0, 0, token))

    def drain(self) -> None:
        """Take no new streams (GOAWAY without error); those open go on."""
        if not self.closing:
            self.closing = True
            self._emit(frames.goaway(self._last_peer_id, frames.NO_ERROR))

    def resume_writing(self) -> None:
        """The transport takes bytes again."""
        self.write_paused = False
        self._pump()
        self.flush()

    def fail(self, code: int, reason: str) -> None:
        """End the connection: GOAWAY, every stream reset."""
        if self._closed_reason is None:
            self._out.append(frames.goaway(self._last_peer_id, code, reason))
            self._flush_now()
            self.lost(reason)

    def lost(self, reason: str) -> None:
        """The bytes end here: tell every stream."""
        if self._closed_reason is not None:
            return
        self._closed_reason = reason
        streams, self.streams = list(self.streams.values()), {}
        self._ready.clear()
        for stream in streams:
            stream.local_closed = stream.remote_closed = True
            if stream.events is not None:
                stream.events.reset(frames.CANCEL, reason)
        if self._closed is not None:
            self._closed(reason)

    # -- bytes in --

    def receive(self, content: bytes) -> None:
        """Take what was read: parse all of it, tell the streams, answer in one write."""
        if self._closed_reason is not None:
            return
        self._in_receive = True
        try:
            self._parse(self._rest + content if self._rest else content)
            self._deliver()
        except ConnectionFault as fault:
            self._deliver()
            self.fail(fault.code, str(fault))
        except HeaderError as error:
            self._deliver()
            self.fail(frames.COMPRESSION_ERROR, str(error))
        finally:
            self._in_receive = False
        if self._closed_reason is None:
            self._pump()
            self._flush_now()

    def _parse(self, buffer: bytes) -> None:
        at, size = 0, len(buffer)
        if self._preface_left:
            part = buffer[: len(self._preface_left)]
            if not self._preface_left.startswith(part):
                raise ConnectionFault(frames.PROTOCOL_ERROR, "the connection does not begin with the HTTP/2 preface")
            self._preface_left = self._preface_left[len(part) :]
            at = len(part)
        limit = self.limits.frame_size
        while size - at >= 9:
            length = buffer[at] << 16 | buffer[at + 1] << 8 | buffer[at + 2]
            if length > limit:
                raise ConnectionFault(
                    frames.FRAME_SIZE_ERROR, f"a frame of {length} bytes is over the limit of {limit}"
                )
            end = at + 9 + length
            if end > size:
                break
            kind, flags = buffer[at + 3], buffer[at + 4]
            stream = int.from_bytes(buffer[at + 5 : at + 9], "big") & 0x7FFFFFFF
            payload = buffer[at + 9 : end]
            at = end
            if kind == frames.DATA and self._block is None:
                self._on_data(flags, stream, payload)
            else:
                self._on_frame(kind, flags, stream, payload)
        self._rest = buffer[at:] if at < size else b""

    def _on_frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if self._block is not None and kind != frames.CONTINUATION:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "a header block is interrupted by another frame")
        if not self._got_settings and kind != frames.SETTINGS:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "the first frame is not SETTINGS")
        if kind == frames.HEADERS:
            self._on_headers(flags, stream, payload)
        elif kind == frames.CONTINUATION:
            self._on_continuation(flags, stream, payload)
        elif kind == frames.WINDOW_UPDATE:
            self._on_window_update(stream, payload)
        elif kind == frames.SETTINGS:
            self._idle()
            self._on_settings(flags, stream, payload)
        elif kind == frames.PING:
            self._idle()
            self._on_ping(flags, stream, payload)
        elif kind == frames.RST_STREAM:
            self._on_reset(stream, payload)
        elif kind == frames.GOAWAY:
            self._on_goaway(payload)
        elif kind == frames.PUSH_PROMISE:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "push is not enabled")
        else:
            self._idle()

    def _idle(self) -> None:
        self._idle_frames += 1
        if self._idle_frames > self.limits.idle_frames:
            raise ConnectionFault(frames.ENHANCE_YOUR_CALM, "too many frames that carry nothing")

    def _on_data(self, flags: int, id: int, payload: bytes) -> None:
        size = len(payload)
        self._receive_window -= size
        if self._receive_window < 0:
            raise ConnectionFault(frames.FLOW_CONTROL_ERROR, "the connection's window is exceeded")
        stream = self.streams.get(id)
        if stream is None or stream.remote_closed:
            if id == 0 or id > self._highest_known(id):
                raise ConnectionFault(frames.PROTOCOL_ERROR, f"DATA for idle stream {id}")
            self._credit(None, size)
            return
        stream._receive_window -= size
        if stream._receive_window < 0:
            raise ConnectionFault(frames.FLOW_CONTROL_ERROR, f"the window of stream {id} is exceeded")
        if flags & frames.PADDED:
            payload = frames.unpad(flags, payload)
            self._credit(stream, size - len(payload))
        if payload:
            self._idle_frames = 0
            stream._arrived.append(payload)
        elif not flags & frames.END_STREAM:
            self._idle()
        if flags & frames.END_STREAM:
            stream._arrived_end = True
        self._arrivals[id] = stream

    def _deliver(self) -> None:
        arrivals, self._arrivals = self._arrivals, {}
        for stream in arrivals.values():
            self._deliver_to(stream)

    def _deliver_to(self, stream: Stream) -> None:
        chunks, stream._arrived = stream._arrived, []
        end, stream._arrived_end = stream._arrived_end, False
        if stream.remote_closed or (not chunks and not end):
            return
        if end:
            stream.remote_closed = True
        if stream.events is not None:
            stream.events.data(chunks, end)
        self._forget(stream)

    def _on_headers(self, flags: int, id: int, payload: bytes) -> None:
        if id == 0:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "HEADERS on stream 0")
        payload = frames.unpad(flags, payload)
        if flags & frames.PRIORITY_FLAG:
            payload = payload[5:]
        if flags & frames.END_HEADERS:
            self._on_block(id, flags, payload)
        else:
            self._block = (id, flags, bytearray(payload))

    def _on_continuation(self, flags: int, id: int, payload: bytes) -> None:
        if self._block is None or self._block[0] != id:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "CONTINUATION without a header block")
        block = self._block[2]
        block += payload
        if len(block) > self.limits.header_block or (not payload and not flags & frames.END_HEADERS):
            raise ConnectionFault(frames.ENHANCE_YOUR_CALM, "a header block is too long")
        if flags & frames.END_HEADERS:
            flags = self._block[1]
            self._block = None
            self._on_block(id, flags, bytes(block))

    def _on_block(self, id: int, flags: int, block: bytes) -> None:
        if len(block) > self.limits.header_block:
            raise ConnectionFault(frames.ENHANCE_YOUR_CALM, "a header block is too long")
        headers = self._decoder.decode(block)
        end = bool(flags & frames.END_STREAM)
        self._idle_frames = 0
        stream = self.streams.get(id)
        if stream is not None:
            if id in self._arrivals:
                del self._arrivals[id]
                self._deliver_to(stream)
            if stream.remote_closed:
                raise ConnectionFault(frames.STREAM_CLOSED, f"HEADERS on closed stream {id}")
            stream.remote_closed = end
            if stream.events is not None:
                stream.events.headers(headers, end)
            self._forget(stream)
        elif not self._client and id % 2 and id > self._last_peer_id:
            self._on_new_stream(id, headers, end)
        elif id > self._highest_known(id):
            raise ConnectionFault(frames.PROTOCOL_ERROR, f"HEADERS for idle stream {id}")

    def _on_new_stream(self, id: int, headers: Headers, end: bool) -> None:
        self._last_peer_id = id
        if self.closing or self._accept is None or len(self.streams) >= self.limits.concurrent_streams:
            self._emit(frames.reset(id, frames.REFUSED_STREAM))
            return
        stream = Stream(self, id, self._peer_initial_window, self.limits.stream_window)
        stream.remote_closed = end
        self.streams[id] = stream
        self._accept(stream, headers, end)

    def _on_settings(self, flags: int, id: int, payload: bytes) -> None:
        if id or len(payload) % 6 or (flags & frames.ACK and payload):
            raise ConnectionFault(frames.FRAME_SIZE_ERROR, "malformed SETTINGS")
        self._got_settings = True
        if flags & frames.ACK:
            return
        for key, value in struct.iter_unpack(">HI", payload):
            if key == frames.SETTINGS_INITIAL_WINDOW_SIZE:
                if value > frames.MAX_WINDOW:
                    raise ConnectionFault(frames.FLOW_CONTROL_ERROR, "initial window is too large")
                for stream in self.streams.values():
                    stream._send_window += value - self._peer_initial_window
                    if stream._send_window > frames.MAX_WINDOW:
                        raise ConnectionFault(frames.FLOW_CONTROL_ERROR, "a stream's window overflows")
                    if stream._queue or stream._end_queued:
                        self._ready[stream.id] = stream
                self._peer_initial_window = value
            elif key == frames.SETTINGS_MAX_FRAME_SIZE:
                if not frames.DEFAULT_FRAME_SIZE <= value < 1 << 24:
                    raise ConnectionFault(frames.PROTOCOL_ERROR, "maximum frame size is out of range")
                self._peer_frame_size = value
            elif key == frames.SETTINGS_MAX_CONCURRENT_STREAMS:
                self._peer_streams = value
        self._emit(frames.frame(frames.SETTINGS, frames.ACK, 0))

    def _on_ping(self, flags: int, id: int, payload: bytes) -> None:
        if id or len(payload) != 8:
            raise ConnectionFault(frames.FRAME_SIZE_ERROR, "malformed PING")
        if not flags & frames.ACK:
            self._emit(frames.frame(frames.PING, frames.ACK, 0, payload))
        elif answered := self._pings.pop(payload, None):
            answered()

    def _on_reset(self, id: int, payload: bytes) -> None:
        if len(payload) != 4 or id == 0 or id > self._highest_known(id):
            raise ConnectionFault(frames.PROTOCOL_ERROR, "malformed RST_STREAM")
        stream = self.streams.pop(id, None)
        if stream is None:
            self._idle()
            return
        self._resets += 1
        if self._resets > self.limits.resets:
            raise ConnectionFault(frames.ENHANCE_YOUR_CALM, "too many streams are reset")
        self._arrivals.pop(id, None)
        self._drop(stream, int.from_bytes(payload, "big"), "the peer reset the stream")

    def _on_goaway(self, payload: bytes) -> None:
        if len(payload) < 8:
            raise ConnectionFault(frames.FRAME_SIZE_ERROR, "malformed GOAWAY")
        last, code = struct.unpack(">II", payload[:8])
        self.peer_goaway = True
        reason = f"the peer went away: {payload[8:].decode('utf-8', 'replace') or f'code {code}'}"
        for stream in [s for s in self.streams.values() if s.id > last and s.id % 2 == self._next_id % 2]:
            self.streams.pop(stream.id, None)
            self._drop(stream, frames.REFUSED_STREAM, reason)

    def _on_window_update(self, id: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionFault(frames.FRAME_SIZE_ERROR, "malformed WINDOW_UPDATE")
        increment = int.from_bytes(payload, "big") & 0x7FFFFFFF
        if id == 0:
            self._send_window += increment
            if not increment or self._send_window > frames.MAX_WINDOW:
                raise ConnectionFault(frames.FLOW_CONTROL_ERROR, "the connection's window overflows")
            return
        stream = self.streams.get(id)
        if stream is None:
            if id > self._highest_known(id):
                raise ConnectionFault(frames.PROTOCOL_ERROR, f"WINDOW_UPDATE for idle stream {id}")
            return
        stream._send_window += increment
        if not increment or stream._send_window > frames.MAX_WINDOW:
            self._reset_stream(stream, frames.FLOW_CONTROL_ERROR)
        elif stream._queue or stream._end_queued:
            self._ready[id] = stream

    def _highest_known(self, id: int) -> int:
        return self._next_id - 2 if id % 2 == self._next_id % 2 else self._last_peer_id

    # -- bytes out --

    def _emit(self, content: bytes) -> None:
        self._out.append(content)
        if not self._in_receive:
            self._flush_now()

    def flush(self) -> None:
        """Write what is queued, unless a read is being handled (then it leaves at its end)."""
        if not self._in_receive:
            self._flush_now()

    def _flush_now(self) -> None:
        if self._out and self._closed_reason is None:
            out, self._out = self._out, []
            self._write(out)

    def _send_headers(self, stream: Stream, headers: Headers, end: bool) -> None:
        block = encode(headers)
        flags = frames.END_STREAM if end else 0
        limit = self._peer_frame_size
        if len(block) <= limit:
            self._out.append(frames.frame(frames.HEADERS, flags | frames.END_HEADERS, stream.id, block))
        else:
            self._out.append(frames.frame(frames.HEADERS, flags, stream.id, block[:limit]))
            for at in range(limit, len(block), limit):
                last = frames.END_HEADERS if at + limit >= len(block) else 0
                self._out.append(frames.frame(frames.CONTINUATION, last, stream.id, block[at : at + limit]))
        if end:
            stream.local_closed = True
            self._forget(stream)
        self.flush()

    def _want_write(self, stream: Stream) -> None:
        self._ready[stream.id] = stream
        if not self._in_receive:
            self._pump()
            self._flush_now()

    def _pump(self) -> None:
        while self._ready and not self.write_paused:
            progressed = False
            for stream in list(self._ready.values()):
                progressed |= self._pump_one(stream)
            if not progressed:
                return

    def _pump_one(self, stream: Stream) -> bool:
        """Send up to one window's share of a stream; True if anything left."""
        sent = 0
        quantum = 256 << 10
        while stream._queue and sent < quantum:
            room = min(self._send_window, stream._send_window, self._peer_frame_size)
            if room <= 0:
                break
            parts, size = self._take(stream, room)
            last = stream._end_queued and not stream._queue and stream.id not in self._trailers
            self._out.append(frames.data_header(size, frames.END_STREAM if last else 0, stream.id))
            self._out += parts
            self._send_window -= size
            stream._send_window -= size
            stream.queued -= size
            sent += size
            if last:
                stream.local_closed = True
        if not stream._queue:
            self._ready.pop(stream.id, None)
            if stream._end_queued and not stream.local_closed:
                trailers = self._trailers.pop(stream.id, None)
                if trailers is None:
                    self._out.append(frames.data_header(0, frames.END_STREAM, stream.id))
                    stream.local_closed = True
                else:
                    block = encode(trailers)
                    flags = frames.END_STREAM | frames.END_HEADERS
                    self._out.append(frames.frame(frames.HEADERS, flags, stream.id, block))
                    stream.local_closed = True
            if stream.local_closed:
                self._forget(stream)
        elif not sent:
            self._ready.pop(stream.id, None) if stream._send_window <= 0 else None
        if sent and stream.events is not None and stream.queued < quantum:
            stream.events.drained()
        return sent > 0

    @staticmethod
    def _take(stream: Stream, room: int) -> tuple[list[Chunk], int]:
        parts: list[Chunk] = []
        size = 0
        while stream._queue and size < room:
            view = stream._queue[0]
            if len(view) <= room - size:
                stream._queue.popleft()
                parts.append(view)
                size += len(view)
            else:
                parts.append(view[: room - size])
                stream._queue[0] = view[room - size :]
                size = room
        return parts, size

    def _credit(self, stream: Stream | None, size: int) -> None:
        self._consumed += size
        if self._consumed >= self.limits.connection_window >> 2:
            self._receive_window += self._consumed
            self._out.append(frames.window_update(0, self._consumed))
            self._consumed = 0
        if stream is not None and not stream.remote_closed:
            stream._consumed += size
            if stream._consumed >= self.limits.stream_window >> 2:
                stream._receive_window += stream._consumed
                self._out.append(frames.window_update(stream.id, stream._consumed))
                stream._consumed = 0
        self.flush()

    def _reset_stream(self, stream: Stream, code: int) -> None:
        if self.streams.pop(stream.id, None) is not None:
            self._arrivals.pop(stream.id, None)
            self._drop(stream, code, "the stream was reset")
            self._emit(frames.reset(stream.id, code))

    def _drop(self, stream: Stream, code: int, reason: str) -> None:
        self._credit(None, sum(map(len, stream._arrived)))
        stream._arrived = []
        stream._queue.clear()
        stream.queued = 0
        stream.local_closed = stream.remote_closed = True
        self._ready.pop(stream.id, None)
        self._trailers.pop(stream.id, None)
        if stream.events is not None:
            stream.events.reset(code, reason)

    def _forget(self, stream: Stream) -> None:
        if stream.local_closed and stream.remote_closed and self.streams.pop(stream.id, None) is not None:
            self._resets = 0
            self._ready.pop(stream.id, None)
