"""gRPC's message framing on a stream: five bytes before each message (gRPC over HTTP/2, "Length-Prefixed-Message")."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

from buildkit.core.errors import BuildkitError, Exhausted, Internal, Unsupported
from buildkit.rpc.stream import Chunk

MAX_MESSAGE = 16 << 20
"""Bytes of the largest message that we send or take: containerd's default, which BuildKit uses."""


def pack(message: bytes) -> bytes:
    """The prefix of an uncompressed message."""
    return struct.pack(">BI", 0, len(message))


class MessageReader:
    """Cuts a stream of chunks into messages."""

    def __init__(self, *, limit: int = MAX_MESSAGE) -> None:
        self.compression = ""
        """The peer's ``grpc-encoding``: empty, identity or gzip."""
        self._limit = limit
        self._rest: list[Chunk] = []
        self._size = 0
        self._need = 5

    def feed(self, chunks: Sequence[Chunk]) -> list[bytes]:
        """Add what arrived; gives the messages that are complete now."""
        self._rest += chunks
        self._size += sum(map(len, chunks))
        if self._size < self._need:
            return []
        buffer = bytes(self._rest[0]) if len(self._rest) == 1 else b"".join(self._rest)
        messages: list[bytes] = []
        at, end = 0, len(buffer)
        while end - at >= 5:
            compressed = buffer[at]
            if compressed > 1:
                raise Internal(f"grpc: received unexpected payload format {compressed}")
            size = int.from_bytes(buffer[at + 1 : at + 5], "big")
            if size > self._limit:
                raise Exhausted(f"grpc: received message larger than max ({size} vs. {self._limit})")
            if end - at - 5 < size:
                self._need = size + 5
                break
            message = buffer[at + 5 : at + 5 + size]
            messages.append(self._inflate(message) if compressed else message)
            at += 5 + size
        else:
            self._need = 5
        self._rest = [buffer[at:]] if at < end else []
        self._size = end - at
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
