"""Calls of ``BytesMessage{data}`` as files that threads read and write, and joined to streams."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from buildkit.core.aio import gather_all
from buildkit.core.errors import Unavailable
from buildkit.rpc.call import Call
from buildkit.rpc.client import ClientCall
from buildkit.rpc.tunnel import unwrap, wrap

T = TypeVar("T")
PIECE = 1 << 20
"""Bytes of the largest message that we send; BuildKit's clients take four times as much."""


class _InThread:
    """Awaits for a thread what belongs to the event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


class CallReader(io.RawIOBase):
    """What a call receives, as a file. Only threads may read; a call that fails raises its `BuildkitError`."""

    def __init__(self, call: ClientCall, content_of: Callable[[bytes], bytes] = unwrap) -> None:
        self._call = call
        self._content_of = content_of
        self._thread = _InThread()
        self._rest = memoryview(b"")
        self._ended = False

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: D102
        while not self._rest and not self._ended:
            messages = self._thread.wait(self._call.receive_all())
            self._ended = not messages
            self._rest = memoryview(b"".join(map(self._content_of, messages)))
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size

    def close(self) -> None:
        """Give up what was not read."""
        if not self.closed and not self._ended:
            self._thread._loop.call_soon_threadsafe(self._call.cancel)
        super().close()


class CallWriter(io.RawIOBase):
    """A file whose bytes a call sends. Threads wait while too much is under way; the event loop's own does not."""

    def __init__(self, call: ClientCall) -> None:
        self._call = call
        self._thread = _InThread()
        self._parts: list[bytes] = []
        self._size = 0

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, content: Any) -> int:  # noqa: D102
        view = memoryview(content).cast("B")
        for at in range(0, len(view), PIECE):
            part = bytes(view[at : at + PIECE])
            self._parts.append(part)
            self._size += len(part)
            if self._size >= PIECE:
                self.flush()
        return len(view)

    def flush(self) -> None:
        """Send what is collected."""
        messages = self._collected()
        if not messages:
            return
        if _current_loop() is self._thread._loop:
            self._call.send_all(messages)
        else:
            self._thread.wait(self._send(messages))

    async def flush_async(self) -> None:
        """The same for the event loop."""
        await self._send(self._collected())

    def _collected(self) -> list[bytes]:
        content, self._parts, self._size = b"".join(self._parts), [], 0
        return [wrap(content[at : at + PIECE]) for at in range(0, len(content), PIECE)]

    async def _send(self, messages: list[bytes]) -> None:
        self._call.send_all(messages)
        await self._call.drain()


def _current_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


async def join_streams(
    call: Call, end: Callable[[], None], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Copy both ways until both directions have ended; raises `Unavailable`, or the call's error.

    ``end`` says on the call that nothing more comes.
    """

    async def inward() -> None:
        while messages := await call.receive_all():
            writer.write(b"".join(map(unwrap, messages)))
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()

    async def outward() -> None:
        while content := await reader.read(1 << 16):
            await call.send(wrap(content))
        end()

    try:
        await gather_all((inward(), outward()))
    except OSError as error:
        raise Unavailable(f"the connection broke: {error.strerror or error}") from error
