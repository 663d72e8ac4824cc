"""Compressed streams of layers: gzip, zstd or neither."""

from __future__ import annotations

import zlib
from typing import IO, Protocol

from buildkit.fs.tarread import Readable


class Compressor(Protocol):
    """Takes blocks, gives compressed bytes, the rest on `flush`."""

    def compress(self, content: bytes, /) -> bytes:
        """What is ready."""

    def flush(self) -> bytes:
        """The rest."""


def compressor(kind: str, level: int | None) -> Compressor:
    """A new ``gzip`` or ``zstd`` stream; level None is 6 or 3."""
    if kind == "gzip":
        return zlib.compressobj(6 if level is None else level, zlib.DEFLATED, 31)
    import zstandard

    stream: Compressor = zstandard.ZstdCompressor(3 if level is None else level).compressobj()
    return stream


def decompress(stream: IO[bytes]) -> Readable:
    """The plain bytes of a seekable stream, whose first bytes tell what it is."""
    head = stream.read(4)
    stream.seek(0)
    if head[:2] == b"\x1f\x8b":
        import gzip

        return gzip.GzipFile(fileobj=stream)
    if head == b"\x28\xb5\x2f\xfd":
        import zstandard

        reader: Readable = zstandard.ZstdDecompressor().stream_reader(stream)
        return reader
    return stream
