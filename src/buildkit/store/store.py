"""The store as the layers above see it: refs in, trees, layers and disk space out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from buildkit.core.db import Database
from buildkit.core.digest import Digest
from buildkit.core.errors import NotFound
from buildkit.core.identity import new_id
from buildkit.core.progress import Reporter
from buildkit.fs.contenthash import Selector
from buildkit.fs.mount import Mount
from buildkit.oci.spec import Descriptor
from buildkit.store import recovery
from buildkit.store.checksums import Checksums, digest_tree
from buildkit.store.content import ContentStore
from buildkit.store.draft import Draft, open_draft
from buildkit.store.images import import_layers
from buildkit.store.lease import Fetch, Lease
from buildkit.store.lent import add_view, end_lent
from buildkit.store.merge import units
from buildkit.store.parts import Parts
from buildkit.store.places import Places
from buildkit.store.records import Record, RecordKind, Records
from buildkit.store.refs import Layer, LayerSource, Ref
from buildkit.store.snapshot import Snapshotter
from buildkit.store.times import REAL, TimePolicy
from buildkit.store.trees import Trees
from buildkit.store.view import View, read_in_root

if TYPE_CHECKING:
    from buildkit.store.blobs import Blobs, Compression
    from buildkit.store.caches import Caches, Sharing
    from buildkit.store.gc import Collector, PrunePolicy, Usage
    from buildkit.store.kept import Digests, KeptTree
    from buildkit.store.listings import FileState

_FLUSHING = 5.0
"""Seconds between two times that uses are written down while builds come and go; `Store.close` always does."""


class Store:
    """Refs and what belongs to them, in one directory and one database. For one process, and one event loop, at a time.

    Everywhere None as a ref is the empty tree (scratch).
    """

    def __init__(self, root: Path, db: Database, snapshotter: Snapshotter, content: ContentStore) -> None:
        self.content = content
        self.root = root
        self._db = db
        self._parts = Parts(root, Records(db), content, snapshotter)
        self._places = Places(root)
        self._trees = Trees(self._parts, self._places)
        self._checksums = Checksums(db, self._parts, self._trees, self._places)

    # the parts that a fully cached build never asks for are imported when someone does

    @cached_property
    def _blobs(self) -> Blobs:
        from buildkit.store.blobs import Blobs

        return Blobs(self._parts, self._trees, self._places)

    @cached_property
    def _caches(self) -> Caches:
        from buildkit.store.caches import Caches

        return Caches(self._parts, self._places)

    @cached_property
    def _digests(self) -> Digests:
        from buildkit.store.kept import Digests

        return Digests(self._db)

    @cached_property
    def _collector(self) -> Collector:
        from buildkit.store.gc import Collector

        return Collector(self._parts)

    @classmethod
    def open(cls, root: Path, db: Database, *, snapshotter: str = "auto") -> Store:
        """Open or create below ``root``; what a killed process left behind is removed.

        ``snapshotter`` is ``overlayfs``, ``native`` or ``auto``: what the directory was made with, else the first
        that works. Raises `InvalidInput` for another name.
        """
        root.mkdir(parents=True, exist_ok=True)
        chosen = recovery.open_snapshotter(root, db, snapshotter)
        store = cls(root, db, chosen, ContentStore(root / "content"))
        recovery.recover(store._parts, store._places)
        return store

    @property
    def snapshotter_name(self) -> str:
        """``overlayfs`` or ``native``."""
        return self._parts.snapshotter.name

    async def close(self) -> None:
        """Write down what was used; the next `open` need not look for leftovers, unless removing still goes on."""
        self._parts.records.flush()
        if self._parts.snapshotter.settle(wait=False):
            self._places.close()
            recovery.mark_clean(self._parts)

    @asynccontextmanager
    async def lease(self, *, uses: bool = True) -> AsyncIterator[Lease]:
        """Holds what is made or loaded under it. Refs and blobs that neither a lease nor a record holds may go.

        ``uses``: what it held counts as used once, when it ends; False for a part of a build that has its own lease.
        """
        with ExitStack() as scope:
            lease = scope.enter_context(self._parts.leases.new())
            try:
                yield lease
            finally:
                if uses:
                    for id in lease.refs:
                        self._parts.records.touch(id)
                    self._parts.records.flush(after=_FLUSHING)
                scope.close()
                if self._parts.views or self._parts.fleeting:
                    await end_lent(self._parts, lease)

    def find_ref(self, id: str, lease: Lease | None = None) -> Ref | None:
        """The ref, now held by ``lease``; None when it is gone or its tree needs blobs that are not to be had.

        Not to be had: neither here nor on offer to ``lease`` (see `import_image`).
        """
        record = self._parts.records.find(id)
        if record is None or record.kind is RecordKind.MUTABLE:
            return None
        try:
            if self._trees.missing(id, lease):
                return None
        except NotFound:
            return None
        ref = Ref(id)
        if lease is not None:
            lease.hold(ref)
        return ref

    def description(self, ref: Ref) -> str:
        """What the ref was made for; raises `NotFound`."""
        return self._parts.record(ref.id).description

    def created(self, ref: Ref) -> int:
        """When it was made, in nanoseconds since the epoch; raises `NotFound`."""
        return self._parts.record(ref.id).created

    @asynccontextmanager
    async def draft(
        self, parent: Ref | None, lease: Lease, *, description: str = "", record_type: str = "regular"
    ) -> AsyncIterator[Draft]:
        """A tree to write, beginning as ``parent``. Not committed when the scope ends = gone."""
        lease.hold(parent)
        snapshot = await self._trees.ready(parent.id, lease) if parent is not None else ""
        async with open_draft(
            self._parts,
            self._places,
            lease,
            parent=parent,
            snapshot=snapshot,
            description=description,
            record_type=record_type,
        ) as draft:
            yield draft

    async def mounts(self, ref: Ref | None, lease: Lease) -> list[Mount]:
        """Read-only mounts of a ref, unpacked or merged if need be; good while ``lease`` lasts.

        Raises `NotFound` when a layer is not here and not on offer to ``lease``, and what its fetch raises.
        """
        if ref is None:
            return self._places.empty()
        lease.hold(ref)
        return await self._trees.mounts(ref.id, lease)

    @asynccontextmanager
    async def mounted(self, ref: Ref | None, lease: Lease) -> AsyncIterator[Path]:
        """A path to read the ref's tree at. Nothing guards it against writing."""
        async with self._places.mounted_meanwhile(await self.mounts(ref, lease)) as path:
            yield path

    def merge(
        self, refs: Sequence[Ref | None], lease: Lease, *, description: str = "", progress: Reporter | None = None
    ) -> Ref | None:
        """The refs laid over one another, the last on top; deletions count. Done when someone needs it.

        ``progress`` hears when that happens under this lease.
        """
        inputs: list[str] = []
        for ref in refs:
            if ref is not None:
                record = self._parts.record(ref.id)
                inputs += record.parents if record.kind is RecordKind.MERGE else [ref.id]
        if len(inputs) < 2:
            only = Ref(inputs[0]) if inputs else None
            lease.hold(only)
            return only
        return self._derive(RecordKind.MERGE, inputs, description or f"merge {';'.join(inputs)}", lease, progress)

    def diff(
        self,
        lower: Ref | None,
        upper: Ref | None,
        lease: Lease,
        *,
        description: str = "",
        progress: Reporter | None = None,
    ) -> Ref | None:
        """What changed from ``lower`` to ``upper``: the layers between them when upper continues lower.

        ``progress`` hears when the tree is made under this lease.
        """
        if lower is None or lower == upper:
            upper = None if lower == upper else upper
            lease.hold(upper)
            return upper
        ids = (lower.id, upper.id if upper is not None else "")
        for id in filter(None, ids):
            self._parts.record(id)
        return self._derive(RecordKind.DIFF, ids, description or f'diff "{ids[0]}" -> "{ids[1]}"', lease, progress)

    def _derive(
        self, kind: RecordKind, parents: Iterable[str], description: str, lease: Lease, progress: Reporter | None
    ) -> Ref:
        id = new_id()
        if progress is not None:
            lease.reporters[id] = progress
        self._parts.records.add(Record(id, kind, tuple(parents), snapshot=id, description=description))
        ref = Ref(id)
        lease.hold(ref)
        return ref

    def import_image(
        self,
        layers: Sequence[LayerSource],
        fetch: Fetch,
        lease: Lease,
        *,
        description: str = "",
        record_type: str = "regular",
        progress: Reporter | None = None,
    ) -> Ref | None:
        """A ref of an image's layers, lowest first, without their blobs: ``fetch`` brings those when needed.

        The offer to fetch is good for this lease alone, as are the credentials behind it. Layers known already
        (same blobs on the same layers) are not made again. Unpacking is reported to ``progress``.
        """
        return import_layers(self._parts, layers, fetch, lease, description, record_type, progress)

    async def fetch(self, descriptor: Descriptor, lease: Lease) -> None:
        """Have a layer's blob in `content`, held by ``lease``; raises `NotFound` or what the fetch raises."""
        await self._trees.fetch(descriptor, lease)

    async def layers(
        self, ref: Ref | None, compression: Compression, lease: Lease, *, times: TimePolicy = REAL
    ) -> list[Layer]:
        """The layers of a ref, lowest first; tars that do not exist are written and compressed now, in parallel.

        A tar that exists under another compression is taken as it is, unless ``compression.force``. Layers of an
        image are listed even when their blob is not here: `fetch` brings it.
        """
        if ref is None:
            return []
        lease.hold(ref)
        return await self._blobs.layers(units(self._parts.records, ref.id), compression, lease, times)

    def known_layers(self, names: Iterable[str]) -> dict[str, list[Descriptor]]:
        """By ref: its layers as far as tars of all of them are here or can be fetched; else nothing."""
        return self._blobs.known(names)

    def add_view(self, view: View, lease: Lease, *, description: str = "", record_type: str = "source.local") -> Ref:
        """A ref of a directory outside of the store, for as long as a lease holds it.

        `checksum` and `read_file` read it in place. Whatever needs a tree (`mounts`, `draft`, `layers`) copies it
        then, once; a file that is not what was hashed any more raises `buildkit.store.view.Changed`.
        """
        return add_view(self._parts, view, lease, description, record_type)

    def kept_tree(
        self, key: str, lease: Lease, *, description: str = "", record_type: str = "source.local"
    ) -> AbstractAsyncContextManager[KeptTree]:
        """A tree to bring up to date, which stays from build to build under ``key``; see `buildkit.store.kept`.

        Its ``lend`` gives a ref that is read where it lies, without a copy, for as long as ``lease`` holds it.
        """
        from buildkit.store.kept import keep

        return keep(
            self._parts, self._caches, self._digests, key, lease, description=description, record_type=record_type
        )

    def find_view(self, ref: Ref | None) -> View | None:
        """The directory behind a ref that was made by `add_view`; None for all others."""
        return self._parts.views.get(ref.id) if ref is not None else None

    async def checksum(self, ref: Ref | None, selectors: Sequence[Selector], lease: Lease) -> Digest:
        """The content digest of parts of a ref, as cache keys use it; no selectors mean all of it.

        Raises `NotFound` (``"/x": not found``).
        """
        if ref is None:
            mounts = await self.mounts(None, lease)
            return await asyncio.to_thread(digest_tree, Path(mounts[0].source), selectors)
        return await self._checksums.digest(ref, selectors, lease)

    def files_of(self, digest: Digest, selection: Sequence[Sequence[object]]) -> dict[str, FileState] | None:
        """What a `checksum` was made of, by path; None when it is not known.

        ``selection`` has the fields of each of its selectors.
        """
        from buildkit.store.listings import listing_name

        return self._checksums.listings.find(listing_name(digest, selection))

    async def digest_as(self, ref: Ref, path: str, state: FileState, lease: Lease) -> str:
        """The digest (hex) that a file would have with the mode and owner of ``state``; "" when it is not there."""
        from buildkit.store.listings import digest_as

        view = self.find_view(ref)
        if view is not None:
            return await asyncio.to_thread(digest_as, view.root, path, state)
        async with self.mounted(ref, lease) as root:
            return await asyncio.to_thread(digest_as, str(root), path, state)

    def eviction(self, id: str) -> tuple[str, int] | None:
        """The rule by which a ref was pruned, and when, in nanoseconds since the epoch; None when it was not."""
        return self._parts.records.eviction(id)

    async def read_file(self, ref: Ref | None, path: str, lease: Lease, *, limit: int) -> bytes:
        """The first ``limit`` bytes of a file, links followed inside the ref; raises `NotFound`."""
        view = self.find_view(ref)
        if view is not None:
            return await asyncio.to_thread(view.read, path, limit)
        async with self.mounted(ref, lease) as root:
            return await asyncio.to_thread(read_in_root, str(root), path, limit)

    def attach(self, ref: Ref, digests: Iterable[Digest]) -> None:
        """Keep blobs such as an image's manifest and config for as long as the ref."""
        self._parts.records.attach(ref.id, digests)

    def cache_mount(
        self,
        id: str,
        sharing: Sharing,
        parent: Ref | None,
        description: str,
        lease: Lease,
        *,
        holder: object = None,
        record_type: str = "exec.cachemount",
    ) -> AbstractAsyncContextManager[Path]:
        """The path of the mutable tree ``id``, which begins as ``parent``; see `buildkit.store.caches.Sharing`.

        ``holder`` is who asks, for instance one step: asking twice for the same id it gets the same tree.
        """
        return self._cache_mount(id, sharing, parent, description, lease, holder, record_type)

    @asynccontextmanager
    async def _cache_mount(
        self,
        id: str,
        sharing: Sharing,
        parent: Ref | None,
        description: str,
        lease: Lease,
        holder: object,
        record_type: str,
    ) -> AsyncIterator[Path]:
        lease.hold(parent)
        snapshot = await self._trees.ready(parent.id, lease) if parent is not None else ""
        key = f"{id}:{parent.id}" if parent is not None else id
        async with self._caches.taken(
            key,
            sharing,
            holder=holder,
            parent=parent,
            snapshot=snapshot,
            description=description,
            record_type=record_type,
        ) as use:
            yield use.path

    async def forget_cache_mount(self, id: str, parent: Ref | None = None) -> None:
        """Begin this cache mount anew the next time (``--no-cache``)."""
        await self._caches.forget(f"{id}:{parent.id}" if parent is not None else id)

    async def usage(self, filters: Sequence[str] = (), age_limit: float = 0) -> list[Usage]:
        """Records that pass any of the filters and were not used for ``age_limit`` seconds."""
        return await self._collector.usage(filters, age_limit)

    def prune(self, *policies: PrunePolicy) -> AsyncIterator[Usage]:
        """Remove what the policies let go, in turn, and give each record that went."""
        return self._collector.prune(policies)

    async def sweep(self) -> None:
        """Remove blobs and snapshots that neither records nor leases name."""
        await self._collector.sweep()
