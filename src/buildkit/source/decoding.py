"""Bodies that a server compressed for the way, though nobody asked it to."""

from __future__ import annotations

import zlib

from buildkit.core.errors import Corrupt
from buildkit.oci.transport import Sink

_GZIP_WINDOW = 31


def decoded(encoding: str, sink: Sink) -> Sink:
    """A sink that undoes ``Content-Encoding: gzip`` on the way to ``sink``; its offset counts the bytes sent."""
    return _Gunzip(sink) if encoding.strip().lower() in ("gzip", "x-gzip") else sink


class _Gunzip:
    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._stream = zlib.decompressobj(_GZIP_WINDOW)
        self.offset = 0

    def write(self, content: bytes | bytearray | memoryview) -> int:
        self.offset += len(content)
        left = bytes(content)
        try:
            while left:
                self._sink.write(self._stream.decompress(left, 1 << 20))
                left = self._stream.unconsumed_tail
                if not left and self._stream.eof and self._stream.unused_data:
                    left, self._stream = self._stream.unused_data, zlib.decompressobj(_GZIP_WINDOW)
        except zlib.error as error:
            raise Corrupt(f"broken gzip encoding: {error}") from error
        return len(content)

    def restart(self) -> None:
        self._sink.restart()
        self._stream = zlib.decompressobj(_GZIP_WINDOW)
        self.offset = 0
