"""Bounding a step's log: so much per second, so much altogether; the end of it comes along when the step fails."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable

_MAX_SIZE = "BUILDKIT_STEP_LOG_MAX_SIZE"
_MAX_SPEED = "BUILDKIT_STEP_LOG_MAX_SPEED"
_DEFAULT_SIZE = 2 << 20
_DEFAULT_SPEED = 200 << 10
_TAIL = 256 << 10
_UNLIMITED = -1


class Clip:
    """Passes output on until it is too much; counts each stream for itself."""

    def __init__(self, write: Callable[[int, bytes], None], now: Callable[[], float] = time.monotonic) -> None:
        self._streams = {stream: _Stream(stream, write, now) for stream in (1, 2)}

    def write(self, stream: int, content: bytes) -> None:
        """Output of the step."""
        self._streams[stream].write(content)

    def flush(self) -> None:
        """Write what was held back last, of each stream."""
        for stream in self._streams.values():
            stream.flush()


class _Stream:
    def __init__(self, stream: int, write: Callable[[int, bytes], None], now: Callable[[], float]) -> None:
        self._stream = stream
        self._write = write
        self._now = now
        self._begin = now()
        self._most = _setting(_MAX_SIZE, _DEFAULT_SIZE)
        self._speed = _setting(_MAX_SPEED, _DEFAULT_SPEED)
        self._size = 0
        self._clipping = False
        self._tail: bytearray | None = None

    def write(self, content: bytes) -> None:
        room, limit = self._room()
        self._size += len(content)
        kept = content[: max(0, room)] if room != _UNLIMITED else content
        clipped = len(kept) < len(content)
        if clipped and self._tail is None:
            self._tail = bytearray()
        if self._tail is not None:
            self._tail += content
            del self._tail[:-_TAIL]
        if clipped and not self._clipping:
            kept += f"\n[output clipped, log limit {limit} reached]\n".encode()
        self._clipping = clipped
        if kept:
            self._write(self._stream, kept)

    def flush(self) -> None:
        if self._tail:
            self._write(self._stream, bytes(self._tail))
        self._tail = None

    def _room(self) -> tuple[int, str]:
        """Bytes that may still be written now, and the limit that sets this as users read it."""
        most, speed = self._most, self._speed
        text = _in_units(most)
        if speed != _UNLIMITED:
            so_far = math.ceil(self._now() - self._begin) * speed
            if most == _UNLIMITED or so_far <= most:
                most, text = so_far, _in_units(speed) + "/s"
        return (_UNLIMITED if most == _UNLIMITED else max(0, most - self._size)), text


def _setting(name: str, default: int) -> int:
    try:
        return int(os.environ.get(name, ""))
    except ValueError:
        return default


def _in_units(size: int) -> str:
    for unit, shift in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if size >= 1 << shift:
            return f"{size / (1 << shift):.4g}{unit}"
    return f"{size}B"
