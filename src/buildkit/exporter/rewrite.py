"""``rewrite-timestamp``: times in layer tars that are later than the epoch become the epoch.

Layers that the engine writes are clamped as they are written; this is for tars that came from elsewhere. They end,
and their ustar headers spell numbers, as Go's archive/tar writes them, so that such layers are BuildKit's; every other
byte stays. The base image's own layers are left alone.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Iterator, Sequence

from buildkit.core.aio import gather_all
from buildkit.core.errors import Corrupt
from buildkit.core.values import replace
from buildkit.exporter.epoch import format_rfc3339
from buildkit.exporter.exporter import Exporting
from buildkit.fs.tarread import Readable
from buildkit.fs.tarwrite import END, padding
from buildkit.oci.compress import compressor, decompress
from buildkit.oci.spec import OCI_LAYER, Descriptor, parse_config
from buildkit.store.blobs import Compression
from buildkit.store.refs import Layer

_REWRITTEN = "buildkit/rewritten-timestamp"
"""Annotation of a rewritten layer: the epoch in seconds."""
_BLOCK = 512
_PIECE = 1 << 20
_EMPTY = bytes(_BLOCK)
_MTIME, _SIZE, _CHECKSUM = slice(136, 148), slice(124, 136), slice(148, 156)
_USTAR = b"ustar\x0000"
_NUMBERS = tuple(
    (slice(at, end), 8 ** (end - at - 1) - 1)
    for at, end in ((100, 108), (108, 116), (116, 124), (124, 136), (136, 148), (329, 337), (337, 345))
)
"""Mode, owner, group, size, time and device of a ustar header, and the most that each can say."""
_SPELLED = re.compile(rb"(?s).{100}(?:[0-7]{7}\0){3}(?:[0-7]{11}\0){2}.{181}(?:[0-7]{7}\0){2}")
"""A header with all of these as Go spells them."""
_GNU_TIMES = (slice(345, 357), slice(357, 369))
_RECORD_TIMES = (b"mtime", b"atime", b"ctime")
_WITHOUT_CONTENT = (b"1", b"2", b"3", b"4", b"5", b"6")
_RECORD_LIMIT = 1 << 20
_SUFFIXES = {"uncompressed": "", "gzip": "+gzip", "zstd": "+zstd"}


async def rewrite_layers(
    layers: Sequence[Layer], latest: int, base_config: bytes, compression: Compression, exporting: Exporting
) -> list[Layer]:
    """The layers with no time later than ``latest`` (seconds since 1970), apart from those of the base image."""
    date, _, clock = format_rfc3339(latest * 1_000_000_000).removesuffix("Z").partition("T")
    base = parse_config(base_config).diff_ids if base_config else ()
    kept = 0
    while kept < min(len(layers), len(base)) and layers[kept].diff_id == base[kept]:
        kept += 1

    async def rewrite(layer: Layer) -> Layer:
        await exporting.store.fetch(layer.descriptor, exporting.lease)
        layer = await asyncio.to_thread(_rewrite, layer, latest, compression, exporting)
        annotations = {**layer.descriptor.annotations, _REWRITTEN: str(latest)}
        return replace(layer, descriptor=replace(layer.descriptor, annotations=annotations))

    with exporting.stage(f"rewriting layers with source-date-epoch {latest} ({date} {clock} +0000 UTC)"):
        return [*layers[:kept], *await gather_all([rewrite(layer) for layer in layers[kept:]])]


def _rewrite(layer: Layer, latest: int, compression: Compression, exporting: Exporting) -> Layer:
    content = exporting.store.content
    with content.open(layer.descriptor.digest) as source:
        clamped = ClampedTar(decompress(source), latest)
        for _ in clamped.read():
            pass
    if not clamped.changed:
        return layer
    tar, packed = hashlib.sha256(), compression.kind != "uncompressed"
    stream = compressor(compression.kind, compression.level) if packed else None
    with content.open(layer.descriptor.digest) as source, content.ingest() as ingest:
        for piece in ClampedTar(decompress(source), latest).read():
            tar.update(piece)
            ingest.write(piece if stream is None else stream.compress(piece))
        if stream is not None:
            ingest.write(stream.flush())
        exporting.lease.hold_blob(ingest.digest)
        digest = ingest.commit()
        descriptor = Descriptor(OCI_LAYER + _SUFFIXES[compression.kind], digest, ingest.offset)
    return replace(layer, descriptor=descriptor, diff_id=f"sha256:{tar.hexdigest()}")


class ClampedTar:
    """A tar read through, with later times made ``latest``; ``changed`` tells whether any byte is another."""

    def __init__(self, stream: Readable, latest: int) -> None:
        self._stream = stream
        self._latest = latest
        self._buffer = b""
        self.changed = False

    def read(self) -> Iterator[bytes]:
        """The whole archive in pieces; raises `Corrupt` when it ends too early."""
        size_of_next: int | None = None
        while block := self._take(_BLOCK, may_end=True):
            if block == _EMPTY:
                break
            kind, size = block[156:157], _number(block[_SIZE])
            if kind in (b"x", b"g"):
                if size > _RECORD_LIMIT:
                    raise Corrupt(f"archive has an extended header of {size} bytes")
                records = self._take(size)
                self._take(-size % _BLOCK)
                stated, records = self._clamp_records(records)
                size_of_next = stated if kind == b"x" else size_of_next
                yield self._header(block, len(records)) + records + padding(len(records))
                continue
            yield self._header(block, None)
            if kind == b"S" and block[482]:
                yield from self._sparse_map()
            size, size_of_next = size if size_of_next is None else size_of_next, None
            yield from self._content(0 if kind in _WITHOUT_CONTENT else size)
        rest = len(block)
        while piece := self._some(_PIECE):
            rest += len(piece)
        self.changed |= rest != len(END)
        yield END

    def _content(self, size: int) -> Iterator[bytes]:
        left = size + -size % _BLOCK
        while left:
            piece = self._some(min(left, _PIECE))
            if not piece:
                raise Corrupt("archive is truncated in the middle of a file")
            left -= len(piece)
            yield piece

    def _sparse_map(self) -> Iterator[bytes]:
        more = True
        while more:
            block = self._take(_BLOCK)
            more = bool(block[504])
            yield block

    def _header(self, block: bytes, size: int | None) -> bytes:
        changed = bytearray(block)
        if size is None and block[257:265] == _USTAR and not _SPELLED.match(block):
            for field, most in _NUMBERS:
                number = _number(block[field])
                if not block[field][0] & 0x80 and number <= most:
                    changed[field] = b"%0*o\0" % (field.stop - field.start - 1, number)
        fields = [_MTIME, *(_GNU_TIMES if block[257:263] == b"ustar " else ())]
        for field in fields:
            if block[field].strip(b"\0 ") and _number(block[field]) > self._latest:
                changed[field] = b"%011o\0" % max(self._latest, 0)
        if size is not None:
            changed[_SIZE] = b"%011o\0" % size
        if changed != block:
            changed[_CHECKSUM] = b" " * 8
            changed[_CHECKSUM] = b"%06o\0 " % sum(changed)
            self.changed |= changed != block
        return bytes(changed)

    def _clamp_records(self, text: bytes) -> tuple[int | None, bytes]:
        """The size that the records state, and the records with later times clamped."""
        out, at, size = b"", 0, None
        while at < len(text):
            length = re.match(rb"(\d{1,9}) ", text[at : at + 10])
            end = at + int(length[1]) if length else 0
            if length is None or end <= at + length.end() or end > len(text) or text[end - 1 : end] != b"\n":
                raise Corrupt("archive has a damaged extended header")
            key, _, value = text[at + length.end() : end - 1].partition(b"=")
            if key == b"size" and value.isdigit():
                size = int(value)
            if key in _RECORD_TIMES and self._is_later(value):
                self.changed = True
                out += _record(key, b"%d" % self._latest)
            else:
                out += text[at:end]
            at = end
        return size, out

    def _is_later(self, value: bytes) -> bool:
        whole, _, fraction = value.partition(b".")
        try:
            seconds = int(whole)
        except ValueError:
            raise Corrupt(f"archive has a damaged time {value!r}") from None
        return seconds > self._latest or (seconds == self._latest and bool(fraction.strip(b"0")))

    def _some(self, size: int) -> bytes:
        if not self._buffer:
            self._buffer = bytes(self._stream.read(_PIECE))
        piece, self._buffer = self._buffer[:size], self._buffer[size:]
        return piece

    def _take(self, size: int, *, may_end: bool = False) -> bytes:
        taken = b""
        while len(taken) < size:
            piece = self._some(size - len(taken))
            if not piece:
                if may_end and not taken:
                    return b""
                raise Corrupt("archive is truncated in the middle of a header")
            taken += piece
        return taken


def _record(key: bytes, value: bytes) -> bytes:
    rest = b" %b=%b\n" % (key, value)
    length = len(rest)
    while len(b"%d" % length) + len(rest) != length:
        length = len(b"%d" % length) + len(rest)
    return b"%d%b" % (length, rest)


def _number(field: bytes) -> int:
    """Octal digits, or a binary number when the first bit is set."""
    if field[0] & 0x80:
        number = int.from_bytes(field, "big") & ((1 << (8 * len(field) - 1)) - 1)
        return number - (1 << (8 * len(field) - 1)) if field[0] & 0x40 else number
    digits = field.strip(b"\0 ")
    if digits.strip(b"01234567"):
        raise Corrupt(f"archive is damaged: {digits!r} is not an octal number")
    return int(digits or b"0", 8)
