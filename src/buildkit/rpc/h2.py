"""An HTTP/2 connection in either role, with no I/O of its own (RFC 9113).

Bytes come in through `Connection.receive` and leave through the ``write`` callable, once for each read: everything
in a read is parsed, the streams get their data in batches, and all answers leave in one write. A connection
belongs to one thread (one event loop); nothing here blocks.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from buildkit.rpc import frames
from buildkit.rpc.cutter import Cutter
from buildkit.rpc.fields import is_request, is_response
from buildkit.rpc.frames import ConnectionFault, Limits
from buildkit.rpc.hpack import Decoder, HeaderError, Headers
from buildkit.rpc.outbox import Outbox
from buildkit.rpc.stream import Chunk, Events, Stream

__all__ = ["Chunk", "Connection", "Events", "Stream"]


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
        self.outbox = Outbox(write, self._sent_all)
        self.streams: dict[int, Stream] = {}
        self.closing = False
        self.peer_goaway = False
        self._client = client
        self._accept = accept
        self._closed = closed
        self._closed_reason: str | None = None
        self._decoder = Decoder(max_list_size=self.limits.header_list)
        self._cutter = Cutter(preface=not client, limit=self.limits.frame_size)
        self._arrivals: dict[int, Stream] = {}
        self._block: tuple[int, int, bytearray] | None = None
        self._next_id = 1 if client else 2
        self._last_peer_id = 0
        self._peer_streams = 2**31
        self._receive_window = self.limits.connection_window
        self._consumed = 0
        self._idle_frames = self._resets = self._unread_answers = self._sent = 0
        self._pings: dict[bytes, Callable[[], None]] = {}
        self._got_settings = False
        self.outbox.put_off(frames.opening(self.limits, client=client))

    # -- the owner's side --

    def is_over(self) -> bool:
        """Whether the connection has ended."""
        return self._closed_reason is not None

    def start(self) -> None:
        """Send the preface and settings."""
        self.outbox.flush()

    def open(self, headers: Headers, events: Events, *, end: bool = False) -> Stream:
        """Open a stream with its request headers (client role); raises ConnectionError when that is not possible."""
        if self._closed_reason is not None or self.closing or self.peer_goaway:
            raise ConnectionError(self._closed_reason or "connection is closing")
        if len(self.streams) >= self._peer_streams:
            raise ConnectionError("the peer allows no more streams at once")
        if self._next_id > frames.MAX_WINDOW:
            raise ConnectionError("the connection has used up its streams")
        stream = Stream(self, self._next_id, self.outbox.initial_window, self.limits.stream_window)
        self._next_id += 2
        stream.events = events
        self.streams[stream.id] = stream
        self.outbox.send_headers(stream, headers, end=end)
        return stream

    def ping(self, token: bytes, answered: Callable[[], None]) -> None:
        """Send a PING with eight bytes; ``answered`` is called on its acknowledgement."""
        self._pings[token] = answered
        self.outbox.put(frames.frame(frames.PING, 0, 0, token))

    def drain(self) -> None:
        """Take no new streams (GOAWAY without error); those open go on."""
        if not self.closing:
            self.closing = True
            self.outbox.put(frames.goaway(self._last_peer_id, frames.NO_ERROR))

    def pause_writing(self) -> None:
        """The transport is full: queued data waits."""
        self.outbox.paused = True

    def resume_writing(self) -> None:
        """The transport takes bytes again."""
        self.outbox.paused = False
        self._unread_answers = 0
        self.outbox.pump()
        self.outbox.flush()

    # -- what streams ask for --

    @property
    def header_list(self) -> int:
        """Bytes of the largest header list that the peer takes; 0: it has not said."""
        return self.outbox.header_list

    def want(self, stream: Stream) -> None:
        """A stream has something to send."""
        self.outbox.want(stream)

    def send_headers(self, stream: Stream, headers: Headers, *, end: bool) -> None:
        """Write a stream's headers now."""
        self.outbox.send_headers(stream, headers, end=end)

    def credit(self, stream: Stream | None, size: int) -> None:
        """``size`` bytes of a stream (or of none any more) were consumed."""
        self._consumed += size
        if self._consumed >= self.limits.connection_window >> 2:
            self._receive_window += self._consumed
            consumed, self._consumed = self._consumed, 0
            self.outbox.put(frames.window_update(0, consumed))
        if stream is not None and not stream.remote_closed:
            stream.consumed += size
            if stream.consumed >= self.limits.stream_window >> 2:
                stream.receive_window += stream.consumed
                consumed, stream.consumed = stream.consumed, 0
                self.outbox.put(frames.window_update(stream.id, consumed))

    def reset_stream(self, stream: Stream, code: int) -> None:
        """Abandon a stream in both directions."""
        if self.streams.pop(stream.id, None) is not None:
            self._drop(stream, code, "the stream was reset")
            self.outbox.put(frames.reset(stream.id, code))

    def fail(self, code: int, reason: str) -> None:
        """End the connection: GOAWAY, every stream reset."""
        if self._closed_reason is None:
            self.outbox.corked = False
            self.outbox.put(frames.goaway(self._last_peer_id, code, reason))
            self.lost(reason)

    def lost(self, reason: str) -> None:
        """The bytes end here: tell every stream."""
        if self._closed_reason is not None:
            return
        self._closed_reason = reason
        self.outbox.shut()
        streams, self.streams = list(self.streams.values()), {}
        self._arrivals.clear()
        for stream in streams:
            stream.local_closed = stream.remote_closed = True
            self.outbox.forget(stream)
            if stream.events is not None:
                stream.events.reset(frames.CANCEL, reason)
        if self._closed is not None:
            self._closed(reason)

    # -- bytes in --

    def receive(self, content: Chunk) -> None:
        """Take what was read: parse all of it, tell the streams, answer in one write. Nothing of it is kept."""
        if self.is_over():
            return
        if self.outbox.sent != self._sent:
            self._sent = self.outbox.sent
            self._idle_frames = 0
        self.outbox.corked = True
        arrivals = self._arrivals
        try:
            for kind, flags, id, payload in self._cutter.cut(content):
                if kind == frames.DATA and self._block is None:
                    stream = arrivals.get(id)
                    if not flags and payload and stream is not None and not stream.arrived_end:
                        self._shrink_windows(stream, len(payload))
                        stream.arrived.append(payload)
                    else:
                        self._on_data(flags, id, payload)
                else:
                    self._on_frame(kind, flags, id, bytes(payload))
                if self.is_over():
                    return
            self._deliver()
            if self._cutter.fault is not None:
                raise self._cutter.fault
        except ConnectionFault as fault:
            self._deliver()
            self.fail(fault.code, str(fault))
        except HeaderError as error:
            self._deliver()
            self.fail(frames.COMPRESSION_ERROR, str(error))
        finally:
            self.outbox.corked = False
        self.outbox.pump()
        self.outbox.flush()

    def _on_frame(self, kind: int, flags: int, id: int, payload: bytes) -> None:
        if self._block is not None and kind != frames.CONTINUATION:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "a header block is interrupted by another frame")
        if not self._got_settings and kind != frames.SETTINGS:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "the first frame is not SETTINGS")
        match kind:
            case frames.HEADERS:
                self._on_headers(flags, id, payload)
            case frames.CONTINUATION:
                self._on_continuation(flags, id, payload)
            case frames.WINDOW_UPDATE:
                self._on_window_update(id, payload)
            case frames.SETTINGS:
                self._idle()
                self._on_settings(flags, id, payload)
            case frames.PING:
                self._idle()
                self._on_ping(flags, id, payload)
            case frames.RST_STREAM:
                self._on_reset(id, payload)
            case frames.GOAWAY:
                self._on_goaway(id, payload)
            case frames.PUSH_PROMISE:
                raise ConnectionFault(frames.PROTOCOL_ERROR, "push is not enabled")
            case frames.PRIORITY:
                self._idle()
                if not id:
                    raise ConnectionFault(frames.PROTOCOL_ERROR, "PRIORITY on stream 0")
                if len(payload) != 5:
                    raise ConnectionFault(frames.FRAME_SIZE_ERROR, "malformed PRIORITY")
            case _:
                self._idle()

    def _idle(self) -> None:
        self._idle_frames += 1
        if self._idle_frames > self.limits.idle_frames:
            raise ConnectionFault(frames.ENHANCE_YOUR_CALM, "too many frames that carry nothing")

    def _answer(self, content: bytes) -> None:
        """Write what the peer made us write; one that does not read may not make us collect it for ever."""
        if self.outbox.paused:
            self._unread_answers += 1
            if self._unread_answers > self.limits.idle_frames:
                raise ConnectionFault(frames.ENHANCE_YOUR_CALM, "too many frames ask for answers that are not read")
        self.outbox.put(content)

    def _on_data(self, flags: int, id: int, payload: Chunk) -> None:
        size = len(payload)
        stream = self.streams.get(id)
        if stream is None or stream.remote_closed or stream.arrived_end:
            self._shrink_windows(None, size)
            if id == 0 or id > self._highest_known(id):
                raise ConnectionFault(frames.PROTOCOL_ERROR, f"DATA for idle stream {id}")
            self._idle()
            self.credit(None, size)
            if stream is not None:
                self._refuse(stream, frames.STREAM_CLOSED)
            return
        self._shrink_windows(stream, size)
        if flags & frames.PADDED:
            payload = frames.unpad(flags, bytes(payload))
            self.credit(stream, size - len(payload))
        if payload:
            self._idle_frames = 0
            stream.arrived.append(payload)
        elif not flags & frames.END_STREAM:
            self._idle()
        if flags & frames.END_STREAM:
            stream.arrived_end = True
        self._arrivals[id] = stream

    def _shrink_windows(self, stream: Stream | None, size: int) -> None:
        self._receive_window -= size
        if self._receive_window < 0:
            raise ConnectionFault(frames.FLOW_CONTROL_ERROR, "the connection's window is exceeded")
        if stream is not None:
            stream.receive_window -= size
            if stream.receive_window < 0:
                raise ConnectionFault(frames.FLOW_CONTROL_ERROR, f"the window of stream {stream.id} is exceeded")

    def _deliver(self) -> None:
        arrivals, self._arrivals = self._arrivals, {}
        for stream in arrivals.values():
            self._deliver_to(stream)

    def _deliver_to(self, stream: Stream) -> None:
        chunks, stream.arrived = stream.arrived, []
        end = stream.arrived_end
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
            if len(payload) < 5:
                raise ConnectionFault(frames.FRAME_SIZE_ERROR, "malformed HEADERS")
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
        stream = self.streams.get(id)
        if stream is not None:
            self._on_more_headers(stream, headers, end)
        elif not self._client and id % 2 and id > self._last_peer_id:
            self._idle_frames = 0
            self._on_new_stream(id, headers, end)
        elif id > self._highest_known(id):
            raise ConnectionFault(frames.PROTOCOL_ERROR, f"HEADERS for idle stream {id}")
        else:
            self._idle()

    def _on_more_headers(self, stream: Stream, headers: Headers, end: bool) -> None:
        """A response's headers, or trailers."""
        if stream.id in self._arrivals:
            del self._arrivals[stream.id]
            self._deliver_to(stream)
        if stream.remote_closed:
            raise ConnectionFault(frames.STREAM_CLOSED, f"HEADERS on closed stream {stream.id}")
        if not is_response(headers) or (not self._client and not end):
            self._refuse(stream, frames.PROTOCOL_ERROR)
            return
        self._idle_frames = 0
        stream.remote_closed = end
        if stream.events is not None:
            stream.events.headers(headers, end)
        self._forget(stream)

    def _on_new_stream(self, id: int, headers: Headers, end: bool) -> None:
        self._last_peer_id = id
        if self.closing or self._accept is None or len(self.streams) >= self.limits.concurrent_streams:
            self._count_reset()
            self._answer(frames.reset(id, frames.REFUSED_STREAM))
            return
        if not is_request(headers):
            self._count_reset()
            self._answer(frames.reset(id, frames.PROTOCOL_ERROR))
            return
        stream = Stream(self, id, self.outbox.initial_window, self.limits.stream_window)
        stream.remote_closed = end
        self.streams[id] = stream
        self._accept(stream, headers, end)

    def _on_settings(self, flags: int, id: int, payload: bytes) -> None:
        if id:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "SETTINGS on a stream")
        if len(payload) % 6 or (flags & frames.ACK and payload):
            raise ConnectionFault(frames.FRAME_SIZE_ERROR, "malformed SETTINGS")
        if flags & frames.ACK:
            return
        self._got_settings = True
        for key, value in struct.iter_unpack(">HI", payload):
            if key == frames.SETTINGS_INITIAL_WINDOW_SIZE:
                if value > frames.MAX_WINDOW:
                    raise ConnectionFault(frames.FLOW_CONTROL_ERROR, "initial window is too large")
                self.outbox.resize(list(self.streams.values()), value)
            elif key == frames.SETTINGS_MAX_FRAME_SIZE:
                if not frames.DEFAULT_FRAME_SIZE <= value < 1 << 24:
                    raise ConnectionFault(frames.PROTOCOL_ERROR, "maximum frame size is out of range")
                self.outbox.frame_size = value
            elif key == frames.SETTINGS_MAX_CONCURRENT_STREAMS:
                self._peer_streams = value
            elif key == frames.SETTINGS_MAX_HEADER_LIST_SIZE:
                self.outbox.header_list = value
            elif key == frames.SETTINGS_ENABLE_PUSH and (value > 1 or (value and self._client)):
                raise ConnectionFault(frames.PROTOCOL_ERROR, "malformed SETTINGS_ENABLE_PUSH")
        self._answer(frames.frame(frames.SETTINGS, frames.ACK, 0))

    def _on_ping(self, flags: int, id: int, payload: bytes) -> None:
        if id:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "PING on a stream")
        if len(payload) != 8:
            raise ConnectionFault(frames.FRAME_SIZE_ERROR, "malformed PING")
        if not flags & frames.ACK:
            self._answer(frames.frame(frames.PING, frames.ACK, 0, payload))
        elif answered := self._pings.pop(payload, None):
            answered()

    def _on_reset(self, id: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionFault(frames.FRAME_SIZE_ERROR, "malformed RST_STREAM")
        if id == 0 or id > self._highest_known(id):
            raise ConnectionFault(frames.PROTOCOL_ERROR, f"RST_STREAM for idle stream {id}")
        stream = self.streams.pop(id, None)
        if stream is None:
            self._idle()
            return
        if not self._client:
            self._count_reset()
        if self._arrivals.pop(id, None) is not None:
            self._deliver_to(stream)
        self._drop(stream, int.from_bytes(payload, "big"), "the peer reset the stream")

    def _count_reset(self) -> None:
        """One more stream of the peer that came to nothing."""
        self._resets += 1
        if self._resets > self.limits.resets:
            raise ConnectionFault(frames.ENHANCE_YOUR_CALM, "too many streams are reset")

    def _refuse(self, stream: Stream, code: int) -> None:
        """A stream broke the protocol; the others go on."""
        self._count_reset()
        self.reset_stream(stream, code)

    def _on_goaway(self, id: int, payload: bytes) -> None:
        if id:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "GOAWAY on a stream")
        if len(payload) < 8:
            raise ConnectionFault(frames.FRAME_SIZE_ERROR, "malformed GOAWAY")
        self._idle()
        last, code = struct.unpack(">II", payload[:8])
        self.peer_goaway = True
        why = payload[8:264].decode("utf-8", "replace") or f"code {code}"
        for stream in [s for s in self.streams.values() if s.id > last & 0x7FFFFFFF and s.id % 2 == self._next_id % 2]:
            self.streams.pop(stream.id, None)
            self._drop(stream, frames.REFUSED_STREAM, f"the peer went away: {why}")

    def _on_window_update(self, id: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionFault(frames.FRAME_SIZE_ERROR, "malformed WINDOW_UPDATE")
        increment = int.from_bytes(payload, "big") & 0x7FFFFFFF
        if id == 0:
            if not increment:
                raise ConnectionFault(frames.PROTOCOL_ERROR, "a window grows by nothing")
            self.outbox.window += increment
            if self.outbox.window > frames.MAX_WINDOW:
                raise ConnectionFault(frames.FLOW_CONTROL_ERROR, "the connection's window overflows")
            return
        stream = self.streams.get(id)
        if stream is None:
            if id > self._highest_known(id):
                raise ConnectionFault(frames.PROTOCOL_ERROR, f"WINDOW_UPDATE for idle stream {id}")
        elif not increment:
            self._refuse(stream, frames.PROTOCOL_ERROR)
        elif stream.send_window + increment > frames.MAX_WINDOW:
            self._refuse(stream, frames.FLOW_CONTROL_ERROR)
        else:
            self.outbox.widen(stream, increment)

    def _highest_known(self, id: int) -> int:
        return self._next_id - 2 if id % 2 == self._next_id % 2 else self._last_peer_id

    # -- ends of streams --

    def _sent_all(self, stream: Stream) -> None:
        if stream.stop_receiving and not stream.remote_closed:
            self.reset_stream(stream, frames.NO_ERROR)
        else:
            self._forget(stream)

    def _drop(self, stream: Stream, code: int, reason: str) -> None:
        self._arrivals.pop(stream.id, None)
        self.credit(None, sum(map(len, stream.arrived)))
        stream.arrived = []
        stream.local_closed = stream.remote_closed = True
        self.outbox.forget(stream)
        if stream.events is not None:
            stream.events.reset(code, reason)

    def _forget(self, stream: Stream) -> None:
        if stream.local_closed and stream.remote_closed and self.streams.pop(stream.id, None) is not None:
            self._resets = 0
            self.outbox.forget(stream)
