"""``rewrite-timestamp``: times in layer tars that are later than the epoch become the epoch.

Layers that the engine writes are clamped as they are written; this is for tars that came from elsewhere, whose headers
are written anew (`buildkit.exporter.respell`). The base image's own layers are left alone when they are known.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator, Sequence

from buildkit.core.aio import gather_all
from buildkit.core.errors import Corrupt, Unsupported
from buildkit.core.values import replace
from buildkit.exporter.epoch import format_rfc3339
from buildkit.exporter.exporter import Exporting
from buildkit.exporter.respell import Special, global_header, number, respelled
from buildkit.fs.tarread import Readable, parse_records
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
_SPECIAL = (b"x", b"g", b"L", b"K")
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
            if clamped.changed:
                break
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
        """The whole archive in pieces; raises `Corrupt` when it ends too early or makes no sense."""
        special = Special()
        while (block := self._take(_BLOCK, may_end=True)) and block != _EMPTY:
            try:
                kind, size = block[156:157], number(block[124:136])
                if kind in _SPECIAL:
                    text = self._special(size)
                    records = parse_records(text) if kind in (b"x", b"g") else None
                    if kind == b"g" and records is not None:
                        yield self._written(block + text + padding(size), global_header(block, records))
                        special = Special()
                    else:
                        special.add(block, text, records)
                    continue
                if kind == b"S" or any(key.startswith("GNU.sparse.") for key in special.records):
                    raise Unsupported("rewriting the times of an archive with sparse files is not supported")
                header = respelled(block, special, self._latest)
                size = int(special.records.get("size") or size)
            except ValueError as error:
                raise Corrupt(f"archive is damaged: {error}") from None
            yield self._written(special.raw + block, header)
            special = Special()
            yield from self._content(0 if kind in _WITHOUT_CONTENT else size)
        rest = len(block)
        while piece := self._some(_PIECE):
            rest += len(piece)
        self.changed |= rest != len(END)
        yield END

    def _written(self, old: bytes, new: bytes) -> bytes:
        self.changed |= old != new
        return new

    def _special(self, size: int) -> bytes:
        if not 0 <= size <= _RECORD_LIMIT:
            raise Corrupt(f"archive has an extended header of {size} bytes")
        text = self._take(size)
        self._take(-size % _BLOCK)
        return text

    def _content(self, size: int) -> Iterator[bytes]:
        if size < 0:
            raise Corrupt("archive has a member of negative size")
        left = size + -size % _BLOCK
        while left:
            piece = self._some(min(left, _PIECE))
            if not piece:
                raise Corrupt("archive is truncated in the middle of a file")
            left -= len(piece)
            yield piece

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
