"""Cuts the bytes that come in into HTTP/2 frames."""

from __future__ import annotations

import struct
from typing import TypeAlias

from buildkit.rpc import frames
from buildkit.rpc.frames import ConnectionFault
from buildkit.rpc.stream import Chunk

Frame: TypeAlias = tuple[int, int, int, Chunk]
"""Kind, flags, stream and payload; large payloads of DATA frames are views of what was read."""

_HEADER = struct.Struct(">HBBBI")
_VIEWED = 1024
"""Bytes from which a payload is a view instead of a copy."""


class Cutter:
    """Keeps what is left of a frame until the rest comes."""

    def __init__(self, *, preface: bool, limit: int) -> None:
        """``preface``: the bytes begin with the one that clients send. ``limit``: bytes of the largest payload."""
        self.fault: ConnectionFault | None = None
        """What ends the connection once the frames before it are dealt with."""
        self._preface_left = frames.PREFACE if preface else b""
        self._limit = limit
        self._rest: list[bytes] = []
        self._size = 0
        self._needed = 0

    def cut(self, content: bytes) -> list[Frame]:
        """Add what was read; gives the frames that are complete now."""
        if self._rest:
            self._rest.append(content)
            self._size += len(content)
            if self._size < self._needed:
                return []
            content = b"".join(self._rest)
        at, size = 0, len(content)
        if self._preface_left:
            part = content[: len(self._preface_left)]
            if not self._preface_left.startswith(part):
                self.fault = ConnectionFault(
                    frames.PROTOCOL_ERROR, "the connection does not begin with the HTTP/2 preface"
                )
                return []
            self._preface_left = self._preface_left[len(part) :]
            at = len(part)
        found: list[Frame] = []
        unpack = _HEADER.unpack_from
        whole = memoryview(content)
        self._needed = frames.HEADER_SIZE
        while size - at >= frames.HEADER_SIZE:
            high, low, kind, flags, id = unpack(content, at)
            length = high << 8 | low
            if length > self._limit:
                what = f"a frame of {length} bytes is over the limit of {self._limit}"
                self.fault = ConnectionFault(frames.FRAME_SIZE_ERROR, what)
                return found
            end = at + frames.HEADER_SIZE + length
            if end > size:
                self._needed = end - at
                break
            start, at = at + frames.HEADER_SIZE, end
            payload = whole[start:end] if length > _VIEWED and kind == frames.DATA else content[start:end]
            found.append((kind, flags, id & 0x7FFFFFFF, payload))
        self._rest = [content[at:]] if at < size else []
        self._size = size - at
        return found
