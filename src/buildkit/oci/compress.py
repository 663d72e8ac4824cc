"""Compressed streams of layers and archives. An encoder is what was asked for or an error, never another one.

gzip is ISA-L at levels 1 to 3 (default 2: five to ten times faster than zlib for a tenth more bytes) and zlib at
levels 4 to 9 and 0 (stored). zstd takes 1 to 22 (default 3). The same input gives the same bytes with the same version
of an encoder; headers carry no time and no name.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final, Protocol

from buildkit.core.errors import Corrupt, Exhausted, InvalidInput, Unsupported

KINDS: Final = ("uncompressed", "gzip", "zstd")
_READ = 1 << 17
_READ_ZSTD = 1 << 12
"""Few enough bytes that even the worst zstd input unpacks to about 128 MiB at once (where output cannot be limited)."""

_LEAST = 1 << 6

_MOST_WINDOW = 1 << 27
_MOST_XZ_MEMORY = 1 << 28
_MAGIC = (
    (b"\x1f\x8b\x08", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\0", "xz"),
)


class Compressor(Protocol):
    """Takes blocks and gives compressed bytes; large blocks are worked on without the interpreter's lock."""

    def compress(self, content: bytes, /) -> bytes:
        """What is ready, perhaps nothing."""
        ...

    def flush(self) -> bytes:
        """The rest; nothing may follow."""
        ...


class Readable(Protocol):
    """Something with ``read``; short reads are fine, empty means the end."""

    def read(self, size: int, /) -> bytes:
        """Up to ``size`` bytes."""
        ...


def compressor(kind: str, level: int | None = None) -> Compressor:
    """A new stream of one of `KINDS`; level None is its default. Raises `InvalidInput`, `Unsupported`."""
    if kind == "uncompressed":
        return _Plain()
    if kind == "gzip":
        _check_level(kind, level, 9)
        if level is None or 1 <= level <= 3:
            return _isal_compressor(2 if level is None else level)
        import zlib

        return zlib.compressobj(level, zlib.DEFLATED, 31)
    if kind == "zstd":
        _check_level(kind, level, 22)
        return _zstd_compressor(level or 3)
    if kind in ("estargz", "nydus"):
        raise Unsupported(f"compression {kind} is not supported; use gzip, zstd or uncompressed")
    raise InvalidInput(f"unsupported compression type {kind}")


def detect(head: bytes) -> str:
    """What a stream that begins so is: ``gzip``, ``zstd``, ``bzip2``, ``xz`` or ``uncompressed``."""
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    # a zstd stream may begin with a frame to skip
    if len(head) >= 4 and head[1:4] == b"\x2a\x4d\x18" and 0x50 <= head[0] <= 0x5F:
        return "zstd"
    return "uncompressed"


def decompress(stream: Readable, *, most_bytes: int | None = None) -> Readable:
    """The plain bytes of a stream, whose first bytes tell what it is; several members in a row are one stream.

    Damaged or truncated input raises `Corrupt` while reading, more than ``most_bytes`` of output `Exhausted`.
    """
    head = b""
    while len(head) < 6:
        more = stream.read(6 - len(head))
        if not more:
            break
        head += more
    return _Plainer(_Input(stream, head), detect(head), most_bytes)


class _Plain:
    def compress(self, content: bytes) -> bytes:
        return content

    def flush(self) -> bytes:
        return b""


class _Decoder(Protocol):
    """The shape that bz2, lzma, isal and compression.zstd share."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _Input:
    """A stream that takes back what a decoder did not use."""

    def __init__(self, stream: Readable, head: bytes) -> None:
        self._stream = stream
        self._back = head
        self._content = memoryview(b"")

    def take(self, size: int) -> bytes:
        """Up to ``size`` bytes; empty means the end."""
        if self._back:
            piece, self._back = self._back[:size], self._back[size:]
            return piece
        if not self._content:
            read = self._stream.read(max(size, _READ))
            if len(read) <= size:
                return read
            self._content = memoryview(read)
        piece, self._content = bytes(self._content[:size]), self._content[size:]
        return piece

    def put_back(self, content: bytes) -> None:
        """Have ``content`` come next."""
        self._back = content + self._back


class _Plainer:
    def __init__(self, given: _Input, kind: str, most_bytes: int | None) -> None:
        self._input = given
        self._kind = kind
        self._left = most_bytes
        self._new = None if kind == "uncompressed" else _decoder(kind)
        self._decoder = self._new() if self._new else None
        self._failures = _failures(kind)
        self._chunk = _READ_ZSTD if kind == "zstd" and sys.version_info < (3, 14) else _READ
        # decoders copy what they do not use: many small members take time by their size if they are given little
        self._step = self._chunk

    def read(self, size: int, /) -> bytes:
        if size <= 0:
            return b""
        piece = self._input.take(size) if self._new is None else self._decode(size, self._new)
        if self._left is not None:
            self._left -= len(piece)
            if self._left < 0:
                raise Exhausted(f"{self._kind} stream unpacks to more bytes than allowed")
        return piece

    def _decode(self, size: int, new: Callable[[], _Decoder]) -> bytes:
        while self._decoder is not None:
            decoder = self._decoder
            if decoder.eof:
                self._input.put_back(decoder.unused_data)
                self._step = _LEAST
                self._decoder = self._next_member(new)
                continue
            given = b""
            if decoder.needs_input:
                given = self._input.take(self._step)
                self._step = min(2 * self._step, self._chunk)
                if not given:
                    raise Corrupt(f"{self._kind} stream is truncated")
            try:
                piece = decoder.decompress(given, size)
            except self._failures as error:
                raise Corrupt(f"{self._kind} stream is damaged: {error}") from None
            if piece:
                return piece
        return b""

    def _next_member(self, new: Callable[[], _Decoder]) -> _Decoder | None:
        """Padding of zeroes may follow a member, and another member, but nothing else."""
        head = b""
        while len(head) < 6:
            more = self._input.take(_LEAST)
            if not more:
                break
            head = (head + more).lstrip(b"\0")
        if not head:
            return None
        if detect(head) != self._kind:
            raise Corrupt(f"{self._kind} stream is damaged: something else follows its end")
        self._input.put_back(head)
        return new()


class _ZstdDecoder:
    """zstandard's object in the shape of the others; it cannot limit its output, so it gets little at once."""

    def __init__(self) -> None:
        import zstandard

        self._object = zstandard.ZstdDecompressor(max_window_size=_MOST_WINDOW).decompressobj()
        self._ready = memoryview(b"")

    @property
    def eof(self) -> bool:
        return not self._ready and bool(self._object.eof)

    @property
    def needs_input(self) -> bool:
        return not self._ready and not self._object.eof

    @property
    def unused_data(self) -> bytes:
        return bytes(self._object.unused_data)

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        if data:
            self._ready = memoryview(self._object.decompress(data))
        piece, self._ready = self._ready[:max_length], self._ready[max_length:]
        return bytes(piece)


def _check_level(kind: str, level: int | None, most: int) -> None:
    if level is not None and not 0 <= level <= most:
        raise InvalidInput(f"compression level {level} is not one of {kind}: expected 0 to {most}")


def _isal_compressor(level: int) -> Compressor:
    from isal import isal_zlib

    made: Compressor = isal_zlib.compressobj(level, isal_zlib.DEFLATED, 31)
    return made


def _zstd_compressor(level: int) -> Compressor:
    if sys.version_info >= (3, 14):
        from compression import zstd

        options = {zstd.CompressionParameter.compression_level: level, zstd.CompressionParameter.checksum_flag: 1}
        return zstd.ZstdCompressor(options=options)
    import zstandard

    made: Compressor = zstandard.ZstdCompressor(level, write_checksum=True).compressobj()
    return made


def _decoder(kind: str) -> Callable[[], _Decoder]:
    if kind == "gzip":
        igzip_lib: Any = import_module("isal.igzip_lib")

        return lambda: igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
    if kind == "bzip2":
        import bz2

        return bz2.BZ2Decompressor
    if kind == "xz":
        import lzma

        return lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, _MOST_XZ_MEMORY)
    if sys.version_info >= (3, 14):
        from compression import zstd

        options = {zstd.DecompressionParameter.window_log_max: _MOST_WINDOW.bit_length() - 1}
        return lambda: zstd.ZstdDecompressor(options=options)
    return _ZstdDecoder


def _failures(kind: str) -> tuple[type[Exception], ...]:
    if kind == "gzip":
        isal_zlib: Any = import_module("isal.isal_zlib")
        return (isal_zlib.error, EOFError, OSError, ValueError)
    if kind == "xz":
        import lzma

        return (lzma.LZMAError,)
    if kind == "zstd":
        zstd: Any
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            import zstandard as zstd
        return (zstd.ZstdError, EOFError)
    return (OSError, ValueError, EOFError)
