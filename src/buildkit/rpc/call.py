"""A call: one gRPC stream as either side sees it, with batches for the fast and coroutines for the rest."""

from __future__ import annotations

import asyncio
import base64
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar, cast

from buildkit.core.errors import BuildkitError, Canceled, Internal, Unavailable
from buildkit.rpc import frames
from buildkit.rpc.hpack import Headers
from buildkit.rpc.message import MessageReader, pack, viewed, whole
from buildkit.rpc.stream import Chunk, Stream

M = TypeVar("M")
Metadata: TypeAlias = Mapping[str, Sequence[str]]

_HIGH_WATER = 4 << 20
_BULK, _PLENTY = 64 << 10, 1 << 20
"""Bytes of messages waiting from which a call is a bulk transfer, and for which such a one waits,"""
_PATIENCE = 0.005
"""but not longer than so many seconds."""
_RESERVED = frozenset({"te", "content-type", "user-agent", "host"})


def metadata_of(headers: Headers) -> dict[str, list[str]]:
    """User metadata of a header list; binary values (``-bin``) stay base64 text."""
    metadata: dict[str, list[str]] = {}
    for name, value in headers:
        text = name.decode("latin-1")
        if not text.startswith((":", "grpc-")) and text not in _RESERVED:
            metadata.setdefault(text, []).append(value.decode("latin-1"))
    return metadata


def headers_of(metadata: Metadata) -> Headers:
    """Header fields of user metadata."""
    return tuple((name.lower().encode(), value.encode()) for name, values in metadata.items() for value in values)


def decode_binary(value: bytes) -> bytes:
    """A ``-bin`` header value: base64, padded or not."""
    return base64.b64decode(value + b"=" * (-len(value) % 4))


class Call:
    """Messages in and out. Reading is either `receive` (coroutine) or `consume` (callback with batches)."""

    def __init__(self, metadata: Mapping[str, Sequence[str]]) -> None:
        self.metadata = metadata
        """What the caller sent with the request (server), or what we sent (client)."""
        self.response_metadata: dict[str, list[str]] = {}
        self._stream: Stream | None = None
        self._reader: MessageReader[Any] = MessageReader(whole)
        self._messages: deque[bytes] = deque()
        self._backlog = self._owed = self._enough = 0
        self._ended = False
        self._error: BuildkitError | None = None
        self._waiting: asyncio.Future[None] | None = None
        self._writers: list[asyncio.Future[None]] = []
        self._consumer: Callable[[list[Any]], None] | None = None
        self._on_end: Callable[[BuildkitError | None], None] | None = None
        self._cancel_task: Callable[[], None] | None = None
        self.on_drained: Callable[[], None] | None = None
        """Called when the send queue has become short."""

    @property
    def failure(self) -> BuildkitError | None:
        """The error that the call has ended with, if so."""
        return self._error

    # -- reading --

    async def receive(self) -> bytes | None:
        """The next message, or None when the peer has sent its last; raises the peer's error."""
        while not self._messages:
            if self._error is not None:
                raise self._error
            if self._ended:
                return None
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        message = self._messages.popleft()
        self._backlog -= len(message)
        self._pay()
        return message

    async def receive_all(self) -> list[bytes]:
        """Every message that is there, at least one; none when the peer has sent its last. Raises its error."""
        first = await self.receive()
        if first is None:
            return []
        if _BULK <= self._backlog < _PLENTY and self._error is None and not self._ended:
            await self._wait_for_more()
        messages = [first, *self._messages]
        self._messages.clear()
        self._backlog = 0
        self._pay()
        return messages

    async def receive_views(self) -> list[Chunk]:
        """`receive_all`, but large messages may be views of what was read, which they keep in memory."""
        self._reader.body = viewed
        return cast(list[Chunk], await self.receive_all())

    async def _wait_for_more(self) -> None:
        """Let a bulk transfer's messages come together: what is done with them costs by the call."""
        loop = asyncio.get_running_loop()
        self._waiting = loop.create_future()
        self._enough = _PLENTY
        timer = loop.call_later(_PATIENCE, self._wake)
        try:
            await self._waiting
        finally:
            timer.cancel()
            self._enough = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (message := await self.receive()) is not None:
            yield message

    def consume(
        self,
        take: Callable[[list[M]], None],
        end: Callable[[BuildkitError | None], None],
        body: Callable[[bytes, int, int], M] = whole,  # type: ignore[assignment]
    ) -> None:
        """From now on hand each read's messages to ``take`` at once, and the end (None or the error) to ``end``.

        The bytes count as consumed when ``take`` returns. ``body`` makes what ``take`` gets of each message out of
        the buffer that it lies in, from its start to its end.
        """
        self._consumer = take
        self._reader.body = body
        if self._messages:
            backlog, self._messages = self._messages, deque()
            self._backlog = 0
            try:
                self._hand_over([body(message, 0, len(message)) for message in backlog])
            except BuildkitError as error:
                self._refuse(error)
            self._pay()
        self._on_end = end
        if self._ended or self._error is not None:
            end(self._error)

    # -- writing --

    async def send(self, message: bytes) -> None:
        """Send one message; waits while too much is queued."""
        self.send_all([message])
        await self.drain()

    def send_all(self, messages: Sequence[bytes]) -> None:
        """Queue messages in one write, without waiting; see `drain`."""
        stream = self._stream
        if stream is None or stream.local_closed:
            raise self._error or Canceled("the call is over")
        chunks: list[Chunk] = []
        for message in messages:
            chunks += (pack(message), message)
        self._before_first_message()
        stream.send(chunks)

    @property
    def crowded(self) -> bool:
        """Whether too much is queued to send."""
        return self._stream is not None and self._stream.queued > _HIGH_WATER

    async def drain(self) -> None:
        """Wait until the send queue is short; raises the call's error."""
        while self.crowded:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._writers.append(future)
            await future
            if self._error is not None:
                raise self._error

    def _before_first_message(self) -> None:
        """The server sends its headers here."""

    # -- what the stream tells --

    def data(self, chunks: list[Chunk], end: bool) -> None:
        """Events.data."""
        self._owed += sum(map(len, chunks))
        if self._error is not None:
            self._pay()
            return
        try:
            messages = self._reader.feed(chunks)
        except BuildkitError as error:
            self._refuse(error)
            return
        if messages:
            if self._consumer is not None:
                self._hand_over(messages)
            else:
                self._messages.extend(messages)
                self._backlog += sum(map(len, messages))
                if self._backlog >= self._enough:
                    self._wake()
        self._pay()
        if end:
            self._finish(self._reader.finish())

    def _pay(self) -> None:
        """Give the peer credit for what arrived, unless the reader is too far behind."""
        behind = self._backlog >= _HIGH_WATER and self._error is None and not self._ended
        if self._owed and not behind and self._stream is not None:
            owed, self._owed = self._owed, 0
            self._stream.acknowledge(owed)

    def _hand_over(self, messages: list[Any]) -> None:
        if self._consumer is None:
            return
        try:
            self._consumer(messages)
        except BuildkitError as error:
            self._refuse(error)
        except Exception as error:
            self._refuse(Internal(f"{type(error).__name__}: {error}"))

    def _refuse(self, error: BuildkitError) -> None:
        """What came cannot be taken."""
        self._ended = False
        self.fail(error)
        if self._stream is not None:
            self._stream.reset(frames.CANCEL)

    def _finish(self, error: BuildkitError | None) -> None:
        if self._ended or self._error is not None:
            return
        if error is not None:
            self._error = error
        else:
            self._ended = True
        self._pay()
        if self._on_end is not None:
            self._on_end(error)
        self._wake()

    def fail(self, error: BuildkitError) -> None:
        """End reading and writing with an error."""
        self._finish(error)
        self.drained()

    def reset(self, code: int, reason: str) -> None:
        """Events.reset."""
        if code == frames.REFUSED_STREAM:
            error: BuildkitError = Unavailable(reason)
        elif code in (frames.CANCEL, frames.NO_ERROR):
            error = Canceled("context canceled") if "peer reset" in reason else Unavailable(reason)
        else:
            error = Internal(f"stream terminated by RST_STREAM with error code: {code}")
        self.fail(error)
        if self._cancel_task is not None:
            self._cancel_task()

    def drained(self) -> None:
        """Events.drained."""
        writers, self._writers = self._writers, []
        for future in writers:
            if not future.done():
                future.set_result(None)
        if self.on_drained is not None:
            self.on_drained()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)
        self._waiting = None
