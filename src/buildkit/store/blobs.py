"""Layer tars of refs: written when someone needs them, once for each compression and time policy."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from buildkit.core.aio import gather_all
from buildkit.core.digest import Digest
from buildkit.core.errors import Corrupt, InvalidInput, NotFound, Unsupported
from buildkit.core.values import dataclass
from buildkit.fs.mount import Mount
from buildkit.oci.spec import OCI_LAYER, Descriptor
from buildkit.store.content import BLOCK
from buildkit.store.lease import Lease
from buildkit.store.merge import Unit, units
from buildkit.store.parts import Parts
from buildkit.store.places import Places
from buildkit.store.records import AS_IMPORTED, LayerBlob, RecordKind
from buildkit.store.refs import Layer
from buildkit.store.times import TimePolicy
from buildkit.store.trees import Trees

if TYPE_CHECKING:
    from buildkit.fs.changes import Change

_SUFFIXES = {"uncompressed": "", "gzip": "+gzip", "zstd": "+zstd"}


@dataclass(frozen=True, slots=True)
class Compression:
    """``uncompressed``, ``gzip`` or ``zstd``; ``level`` None is the default of each.

    Without ``force`` a layer tar that exists is taken whatever its compression.
    """

    kind: str = "gzip"
    level: int | None = None
    force: bool = False

    def __post_init__(self) -> None:
        if self.kind == "estargz":
            raise Unsupported("compression estargz is not supported; use gzip, zstd or uncompressed")
        if self.kind not in _SUFFIXES:
            raise InvalidInput(f"unsupported layer compression type {self.kind!r}: expected gzip, zstd or uncompressed")


class Blobs:
    """Makes layer tars, each once, and remembers them."""

    def __init__(self, parts: Parts, trees: Trees, places: Places) -> None:
        self._parts = parts
        self._trees = trees
        self._places = places
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._workers = asyncio.Semaphore(os.cpu_count() or 1)

    async def layers(
        self, units: Sequence[Unit], compression: Compression, lease: Lease, times: TimePolicy
    ) -> list[Layer]:
        """One layer for each unit; see `buildkit.store.store.Store.layers`."""
        blobs = await gather_all([self._blob(unit, compression, lease, times) for unit in units])
        return [
            Layer(blob.descriptor, blob.diff_id, unit.owner.created, unit.owner.description)
            for unit, blob in zip(units, blobs, strict=True)
        ]

    def known(self, ids: Iterable[str]) -> dict[str, list[Descriptor]]:
        """By ref: a tar of each of its layers, the one made last; nothing where one has none.

        Refs that are made from each other share the work: each is looked at once.
        """
        found: dict[str, list[Descriptor]] = {"": []}
        wanted = list(ids)
        waiting = wanted[::-1]
        while waiting:
            id = waiting[-1]
            record = self._parts.records.find(id) if id not in found else None
            if record is None:
                found.setdefault(id, [])
            elif record.kind in (RecordKind.MERGE, RecordKind.DIFF):
                found[id] = self._known_of(id)
            elif not (own := self._latest(id)):
                found[id] = []
            elif record.parent not in found:
                waiting.append(record.parent)
                continue
            else:
                below = found[record.parent]
                found[id] = [*below, *own] if below or not record.parent else []
            waiting.pop()
        return {id: found[id] for id in wanted}

    def _known_of(self, id: str) -> list[Descriptor]:
        try:
            layers = [self._latest(unit.owner.id) for unit in units(self._parts.records, id)]
        except NotFound:
            return []
        return [layer for (layer,) in layers] if all(layers) else []

    def _latest(self, id: str) -> list[Descriptor]:
        """The tar of a ref's own changes that was made last, if there is one."""
        return [blob.descriptor for blob in self._parts.records.blobs(id) if self._is_there(blob)][-1:]

    def _is_there(self, blob: LayerBlob) -> bool:
        return blob.times == AS_IMPORTED or self._parts.content.has(blob.descriptor.digest)

    async def _blob(self, unit: Unit, compression: Compression, lease: Lease, times: TimePolicy) -> LayerBlob:
        found = self._find(unit, compression, lease, times)
        if found is not None:
            return found
        name = f"{unit.owner.id} {times.key}"
        lock = self._locks.get(name)
        if lock is None:
            lock = self._locks[name] = asyncio.Lock()
        async with lock:
            found = self._find(unit, compression, lease, times)
            if found is None:
                found = await self._make(unit, compression, lease, times)
                lease.hold_blob(found.descriptor.digest)
                self._parts.records.add_blob(unit.owner.id, found)
        return found

    def _find(self, unit: Unit, compression: Compression, lease: Lease, times: TimePolicy) -> LayerBlob | None:
        """A tar that will do: of the compression asked for, or any if that is not forced.

        Layers whose times are rewritten always get the compression asked for, as in BuildKit.
        """
        usable = self._usable(unit, lease, times)
        same = next((blob for blob in usable if blob.compression == compression.kind), None)
        if same is not None or compression.force:
            return same
        return next((blob for blob in usable if times.kind != "clamp" or blob.times == AS_IMPORTED), None)

    def _usable(self, unit: Unit, lease: Lease, times: TimePolicy) -> list[LayerBlob]:
        """Tars of the unit under this policy that are here, or were imported and may be fetched."""
        out: list[LayerBlob] = []
        for blob in self._parts.records.blobs(unit.owner.id):
            if blob.times not in (AS_IMPORTED, times.key):
                continue
            digest = blob.descriptor.digest
            lease.hold_blob(digest)
            if self._is_there(blob):
                out.append(blob)
            else:
                self._parts.records.forget_blob(unit.owner.id, digest)
        return out

    async def _make(self, unit: Unit, compression: Compression, lease: Lease, times: TimePolicy) -> LayerBlob:
        for blob in self._usable(unit, lease, times):
            await self._trees.fetch(blob.descriptor, lease)
            async with self._workers:
                return await asyncio.to_thread(self._recompress, blob, compression, lease)
        if unit.owner.id == unit.upper:
            await self._trees.ready(unit.upper, lease)
        lower = await self._trees.mounts(unit.lower, lease) if unit.lower else None
        upper = await self._trees.mounts(unit.upper, lease) if unit.upper else None
        async with self._workers:
            return await asyncio.to_thread(self._write, unit, lower, upper, compression, lease, times)

    def _write(
        self,
        unit: Unit,
        lower: Sequence[Mount] | None,
        upper: Sequence[Mount] | None,
        compression: Compression,
        lease: Lease,
        times: TimePolicy,
    ) -> LayerBlob:
        from buildkit.fs.layer import write_layer

        with ExitStack() as mounts:
            changes = self._changes(unit, lower, upper, mounts)
            with _Sink(self._parts, compression, lease) as sink:
                write_layer(changes, sink.write, mtime=None if times.kind == "real" else times.time_of)
                return sink.finish(times.key)

    def _changes(
        self, unit: Unit, lower: Sequence[Mount] | None, upper: Sequence[Mount] | None, mounts: ExitStack
    ) -> Iterator[Change]:
        """From the directory of changes where that is what the unit is, else by comparing both trees."""
        from buildkit.fs.changes import changes_between, changes_of_upper

        below = str(mounts.enter_context(self._places.mounted(lower))) if lower is not None else None
        own = None
        if unit.owner.id == unit.upper:
            own = self._parts.snapshotter.upper(self._parts.record(unit.upper).snapshot)
        if own is not None:
            return changes_of_upper(str(own), below)
        above = mounts.enter_context(self._places.mounted(upper or self._places.empty()))
        return changes_between(below, str(above))

    def _recompress(self, blob: LayerBlob, compression: Compression, lease: Lease) -> LayerBlob:
        """The same tar under another compression."""
        from buildkit.oci.compress import decompress

        with self._parts.content.open(blob.descriptor.digest) as source, _Sink(self._parts, compression, lease) as sink:
            stream = decompress(source)
            try:
                while block := stream.read(BLOCK):
                    sink.write(block)
                return sink.finish(blob.times, blob.diff_id)
            except Corrupt as error:
                raise error.prefixed(f"layer {blob.descriptor.digest}: ") from None


class _Sink:
    """Takes a tar, gives its blob: digests it, compresses it, digests that, and stores it under ``lease``."""

    def __init__(self, parts: Parts, compression: Compression, lease: Lease) -> None:
        from buildkit.oci.compress import compressor

        self._lease = lease
        self._kind = compression.kind
        self._tar = hashlib.sha256()
        self._compressor = None if self._kind == "uncompressed" else compressor(self._kind, compression.level)
        self._ingest = parts.content.ingest()

    def write(self, block: bytes) -> None:
        """Take the next bytes of the tar."""
        if self._compressor is None:
            self._ingest.write(block)
            return
        self._tar.update(block)
        self._ingest.write(self._compressor.compress(block))

    def finish(self, times: str, expected: Digest = "") -> LayerBlob:
        """Let the blob appear; raises `Corrupt` when the tar is not ``expected``."""
        if self._compressor is not None:
            self._ingest.write(self._compressor.flush())
        digest = self._ingest.digest
        diff_id = digest if self._compressor is None else f"sha256:{self._tar.hexdigest()}"
        if expected and diff_id != expected:
            raise Corrupt(f"layer tar has digest {diff_id}, expected {expected}")
        self._lease.hold_blob(digest)
        self._ingest.commit()
        descriptor = Descriptor(OCI_LAYER + _SUFFIXES[self._kind], digest, self._ingest.offset)
        return LayerBlob(self._kind, times, descriptor, diff_id, time.time_ns())

    def __enter__(self) -> _Sink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ingest.__exit__(kind, error, traceback)
