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
VIEWED = 1024
"""Bytes from which a view costs less than a copy."""


class Cutter:
    """Keeps what is left of a frame until the rest comes."""

    def __init__(self, *, preface: bool, limit: int) -> None:
        """``preface``: the bytes begin with the one that clients send. ``limit``: bytes of the largest payload."""
        self.fault: ConnectionFault | None = None
        """What ends the connection once the frames before it are dealt with."""
        self._preface_left = frames.PREFACE if preface else b""
        self._limit = limit
        self._rest: list[bytes] = []
        self._missing = 0
        """Bytes that the frame in ``_rest`` lacks; while its header is not whole, of that."""

    def cut(self, content: Chunk) -> list[Frame]:
        """Add what was read; gives the frames that are complete now, which may be views of it."""
        found: list[Frame] = []
        at = 0
        while self._rest and self.fault is None:
            part = bytes(content[at : at + self._missing])
            self._rest.append(part)
            self._missing -= len(part)
            at += len(part)
            if self._missing:
                return found
            first, self._rest = b"".join(self._rest), []
            self._cut(first, 0, found)
        if at < len(content) and self.fault is None:
            self._cut(content, at, found)
        return found

    def _cut(self, content: Chunk, at: int, found: list[Frame]) -> None:
        size = len(content)
        if self._preface_left:
            part = bytes(content[at : at + len(self._preface_left)])
            if not self._preface_left.startswith(part):
                self.fault = ConnectionFault(
                    frames.PROTOCOL_ERROR, "the connection does not begin with the HTTP/2 preface"
                )
                return
            self._preface_left = self._preface_left[len(part) :]
            at += len(part)
        unpack = _HEADER.unpack_from
        whole = memoryview(content)
        missing = frames.HEADER_SIZE
        while size - at >= frames.HEADER_SIZE:
            high, low, kind, flags, id = unpack(content, at)
            length = high << 8 | low
            if length > self._limit:
                what = f"a frame of {length} bytes is over the limit of {self._limit}"
                self.fault = ConnectionFault(frames.FRAME_SIZE_ERROR, what)
                return
            start = at + frames.HEADER_SIZE
            end = start + length
            if end > size:
                missing = end - at
                break
            payload = whole[start:end] if length > VIEWED else content[start:end]
            found.append((kind, flags, id & 0x7FFFFFFF, payload))
            at = end
        if at < size:
            self._rest = [bytes(content[at:])]
            self._missing = missing - (size - at)
