"""Bodies that a server compressed for the way, though nobody asked it to."""

from __future__ import annotations

import zlib

from buildkit.core.errors import Corrupt, Exhausted
from buildkit.oci.transport import Sink

_GZIP_WINDOW = 31


def decoded(encoding: str, sink: Sink, *, most: int) -> Sink:
    """A sink that undoes ``Content-Encoding: gzip`` on the way to ``sink``; its offset counts the bytes sent.

    It raises `Exhausted` before it writes more than ``most`` bytes.
    """
    return _Gunzip(sink, most) if encoding.strip().lower() in ("gzip", "x-gzip") else sink


class _Gunzip:
    def __init__(self, sink: Sink, most: int) -> None:
        self._sink = sink
        self._most = most
        self._stream = zlib.decompressobj(_GZIP_WINDOW)
        self.offset = 0

    def write(self, content: bytes | bytearray | memoryview) -> int:
        self.offset += len(content)
        left = bytes(content)
        try:
            while left:
                piece = self._stream.decompress(left, 1 << 20)
                if self._sink.offset + len(piece) > self._most:
                    raise Exhausted(f"no space for a download of more than {self._most} bytes")
                self._sink.write(piece)
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
