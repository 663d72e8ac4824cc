"""Trees of refs on disk: unpacked, merged and mounted when someone needs them."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from buildkit.core.aio import gather_all
from buildkit.core.digest import Digest, hasher
from buildkit.core.errors import AlreadyExists, Corrupt, NotFound
from buildkit.core.identity import new_id
from buildkit.fs.mount import Mount, bind
from buildkit.oci.spec import Descriptor
from buildkit.store.lease import Lease
from buildkit.store.merge import units
from buildkit.store.parts import Parts
from buildkit.store.places import Places
from buildkit.store.records import AS_IMPORTED, Record, RecordKind
from buildkit.store.snapshot import Part

if TYPE_CHECKING:
    from buildkit.fs.tarread import Readable


class Trees:
    """Makes the snapshots of refs, each once, on behalf of the lease that asks first."""

    def __init__(self, parts: Parts, places: Places) -> None:
        self._parts = parts
        self._places = places
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def _lock(self, name: str) -> asyncio.Lock:
        lock = self._locks.get(name)
        if lock is None:
            lock = self._locks[name] = asyncio.Lock()
        return lock

    def missing(self, id: str, lease: Lease | None) -> list[Digest]:
        """Blobs without which the ref's tree cannot be made: not here, and not on offer to ``lease``."""
        out: list[Digest] = []
        seen: set[str] = set()
        waiting = [id]
        while waiting:
            id = waiting.pop()
            if id in seen or not id:
                continue
            seen.add(id)
            record = self._parts.record(id)
            if self._parts.snapshotter.find(record.snapshot) is not None:
                continue
            waiting += record.parents
            if record.diff_id:
                found = [blob.descriptor.digest for blob in self._parts.records.blobs(id) if blob.times == AS_IMPORTED]
                offers = lease.offers if lease is not None else {}
                if not any(digest in offers or self._parts.content.has(digest) for digest in found):
                    out += found[:1]
        return out

    async def ready(self, id: str, lease: Lease) -> str:
        """Make the ref's snapshot if it is not there yet, and return its name; ``""`` for the empty tree.

        Raises `NotFound` when a blob is missing that ``lease`` has no offer for, and what its fetch raises.
        """
        if not id:
            return ""
        record = self._parts.record(id)
        name = record.snapshot
        if self._parts.snapshotter.find(name) is None:
            if id in self._parts.views:
                async with self.turn(name):
                    if self._parts.snapshotter.find(name) is None:
                        await asyncio.to_thread(self._take_over, record)
            elif record.kind is RecordKind.LAYER:
                await self._unpack(record, lease)
            else:
                async with self._lock(name):
                    if self._parts.snapshotter.find(name) is None:
                        await self._compose(record, lease)
        return name

    async def _compose(self, record: Record, lease: Lease) -> None:
        parts: list[Part] = []
        for unit in units(self._parts.records, record.id):
            parts.append(Part(await self.ready(unit.lower, lease), await self.ready(unit.upper, lease)))
        self._parts.busy.add(record.snapshot)
        progress, started = lease.reporters.get(record.id), time.time_ns()
        status = "merging" if record.kind is RecordKind.MERGE else "diffing"
        if progress is not None:
            progress.status(status, name=status, started=started)
        try:
            await asyncio.to_thread(self._parts.snapshotter.compose, record.snapshot, parts)
        except AlreadyExists:
            pass
        finally:
            self._parts.busy.discard(record.snapshot)
            if progress is not None:
                progress.status(status, name=status, started=started, completed=time.time_ns())

    def turn(self, name: str) -> asyncio.Lock:
        """Held while the snapshot ``name`` is made."""
        return self._lock(name)

    def _take_over(self, record: Record) -> None:
        """Copy a view into a snapshot of its own; in a thread, to the end even if nobody waits."""
        key, parts = new_id(), self._parts
        view = parts.views[record.id]
        if view.still:
            view.settle(parts.snapshotter, parts.records, record)
            return
        parts.busy.update((key, record.snapshot))
        try:
            parts.snapshotter.prepare(key)
            try:
                with self._places.mounted(parts.snapshotter.mounts(key)) as path:
                    view.copy_to(str(path))
                parts.snapshotter.commit(record.snapshot, key)
            except AlreadyExists:
                parts.snapshotter.remove(key)
            except BaseException:
                parts.snapshotter.remove(key)
                raise
            if record.id in parts.views:
                parts.records.add(record)
        finally:
            parts.busy.difference_update((key, record.snapshot))

    async def _unpack(self, record: Record, lease: Lease) -> None:
        if not record.diff_id:
            raise NotFound(f"ref {record.id}: its snapshot {record.snapshot} is gone")
        chain = [record]
        while chain[-1].parent:
            below = self._parts.record(chain[-1].parent)
            if self._parts.snapshotter.find(below.snapshot) is not None:
                break
            chain.append(below)
        chain.reverse()
        arrived: dict[str, asyncio.Future[Descriptor]] = {}
        for layer in chain:
            arrived[layer.id] = asyncio.get_running_loop().create_future()

        async def bring(layer: Record) -> None:
            arrived[layer.id].set_result(await self._layer_blob(layer, lease))

        async def unpack_in_order() -> None:
            below = self._parts.record(chain[0].parent).snapshot if chain[0].parent else ""
            for layer in chain:
                await self._unpack_layer(layer, below, await arrived[layer.id], lease)
                below = layer.snapshot

        await gather_all([*(bring(layer) for layer in chain), unpack_in_order()])

    async def _layer_blob(self, record: Record, lease: Lease) -> Descriptor:
        """An imported layer's blob, fetched if need be."""
        found = [blob.descriptor for blob in self._parts.records.blobs(record.id) if blob.times == AS_IMPORTED]
        for descriptor in sorted(found, key=lambda one: not self._parts.content.has(one.digest)):
            if descriptor.digest in lease.offers or self._parts.content.has(descriptor.digest):
                await self.fetch(descriptor, lease)
                return descriptor
        raise NotFound(f"layer {found[0].digest if found else record.id}: not here, and nowhere to fetch it from")

    async def fetch(self, descriptor: Descriptor, lease: Lease) -> None:
        """Have a blob in the content store, held by ``lease``; raises `NotFound`, or what its fetch raises."""
        digest = descriptor.digest
        lease.hold_blob(digest)
        if self._parts.content.has(digest):
            return
        offer = lease.offers.get(digest)
        if offer is None:
            raise NotFound(f"layer {digest}: not here, and nowhere to fetch it from")
        async with self._lock(digest):
            if not self._parts.content.has(digest):
                await offer.fetch(descriptor)
                if not self._parts.content.has(digest):
                    raise NotFound(f"layer {digest}: was fetched and is not there")

    async def _unpack_layer(self, record: Record, below: str, descriptor: Descriptor, lease: Lease) -> None:
        async with self._lock(record.snapshot):
            if self._parts.snapshotter.find(record.snapshot) is None:
                await self._report_unpack(record, below, descriptor, lease)

    async def _report_unpack(self, record: Record, below: str, descriptor: Descriptor, lease: Lease) -> None:
        offer = lease.offers.get(descriptor.digest)
        progress = offer.progress if offer is not None else None
        status = f"extracting {descriptor.digest}"
        started = time.time_ns()
        if progress is not None:
            progress.status(status, started=started)
        await asyncio.to_thread(self._apply, record, below, descriptor)
        if progress is not None:
            progress.status(status, started=started, completed=time.time_ns())

    def _apply(self, record: Record, below: str, descriptor: Descriptor) -> None:
        """Unpack a layer into a snapshot named by its chain id; in a thread, to the end even if nobody waits."""
        key, parts = new_id(), self._parts
        parts.busy.update((key, record.snapshot))
        try:
            parts.snapshotter.prepare(key, below)
            try:
                self._extract(record, descriptor, key)
                parts.snapshotter.commit(record.snapshot, key)
            except AlreadyExists:
                parts.snapshotter.remove(key)
            except BaseException:
                parts.snapshotter.remove(key)
                raise
        finally:
            parts.busy.difference_update((key, record.snapshot))

    def _extract(self, record: Record, descriptor: Descriptor, key: str) -> None:
        from buildkit.fs.extract import apply_layer
        from buildkit.oci.compress import decompress

        snapshotter = self._parts.snapshotter
        with self._parts.content.open(descriptor.digest) as source:
            tar = _Hashing(decompress(source))
            with self._places.mounted(snapshotter.mounts(key)) as at:
                try:
                    apply_layer(tar, str(at))
                except Corrupt as error:
                    raise error.prefixed(f"layer {descriptor.digest}: ") from None
        if tar.digest != record.diff_id:
            raise Corrupt(
                f"layer {descriptor.digest}: its tar has digest {tar.digest}, the image says {record.diff_id}"
            )

    async def mounts(self, id: str, lease: Lease) -> list[Mount]:
        """Read-only mounts of a ref's tree."""
        view = self._parts.views.get(id)
        if view is not None and view.still and self._parts.snapshotter.find(self._parts.record(id).snapshot) is None:
            return [bind(view.root, readonly=True, recursive=False)]
        return self._parts.snapshotter.mounts(await self.ready(id, lease))


class _Hashing:
    """A stream that digests what is read from it."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self._hash = hasher()

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes."""
        block = self._stream.read(size)
        self._hash.update(block)
        return block

    @property
    def digest(self) -> Digest:
        """Of what was read so far."""
        return f"sha256:{self._hash.hexdigest()}"
