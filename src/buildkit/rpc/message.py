"""gRPC's message framing on a stream: five bytes before each message (gRPC over HTTP/2, "Length-Prefixed-Message")."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from buildkit.core.errors import BuildkitError, Exhausted, Internal, Unsupported
from buildkit.rpc.cutter import VIEWED
from buildkit.rpc.stream import Chunk

MAX_MESSAGE = 16 << 20
"""Bytes of the largest message that we send or take: containerd's default, which BuildKit uses."""
_PREFIX = struct.Struct(">BI")
M = TypeVar("M")


def pack(message: bytes) -> bytes:
    """The prefix of an uncompressed message."""
    return _PREFIX.pack(0, len(message))


def whole(buffer: bytes, start: int, end: int) -> bytes:
    """A message as it is."""
    return buffer[start:end]


def viewed(buffer: Chunk, start: int, end: int) -> Chunk:
    """A view of a message if it is large, else a copy."""
    return memoryview(buffer)[start:end] if end - start > VIEWED else buffer[start:end]


class MessageReader(Generic[M]):
    """Cuts a stream of chunks into messages; ``body(buffer, start, end)`` is what is given of each."""

    def __init__(self, body: Callable[[bytes, int, int], M], *, limit: int = MAX_MESSAGE) -> None:
        self.compression = ""
        """The peer's ``grpc-encoding``: empty, identity or gzip."""
        self.body = body
        self._limit = limit
        self._rest: list[Chunk] = []
        self._size = 0
        self._need = 5

    def feed(self, chunks: Sequence[Chunk]) -> list[M]:
        """Add what arrived; gives the messages that are complete now."""
        self._rest += chunks
        self._size += sum(map(len, chunks))
        if self._size < self._need:
            self._rest = [bytes(chunk) for chunk in self._rest]
            return []
        buffer = bytes(self._rest[0]) if len(self._rest) == 1 else b"".join(self._rest)
        messages: list[M] = []
        at, last = 0, len(buffer)
        unpack, body = _PREFIX.unpack_from, self.body
        self._need = _PREFIX.size
        while last - at >= _PREFIX.size:
            compressed, size = unpack(buffer, at)
            if compressed > 1:
                raise Internal(f"grpc: received unexpected payload format {compressed}")
            if size > self._limit:
                raise Exhausted(f"grpc: received message larger than max ({size} vs. {self._limit})")
            start = at + _PREFIX.size
            end = start + size
            if end > last:
                self._need = end - at
                break
            if compressed:
                inflated = self._inflate(buffer[start:end])
                messages.append(body(inflated, 0, len(inflated)))
            else:
                messages.append(body(buffer, start, end))
            at = end
        self._rest = [buffer[at:]] if at < last else []
        self._size = last - at
        return messages

    def _inflate(self, message: bytes) -> bytes:
        if self.compression != "gzip":
            raise Unsupported(f"grpc: Decompressor is not installed for grpc-encoding {self.compression!r}")
        inflater = zlib.decompressobj(31)
        try:
            out = inflater.decompress(message, self._limit + 1)
        except zlib.error as error:
            raise Internal(f"grpc: failed to decompress the received message: {error}") from error
        if len(out) > self._limit:
            raise Exhausted(f"grpc: received message after decompression larger than max {self._limit}")
        return out

    def finish(self) -> BuildkitError | None:
        """The error of ending in the middle of a message, if so."""
        return Internal("grpc: the stream ended within a message") if self._size else None
