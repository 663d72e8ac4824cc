"""Whether all that a store says of itself is so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from buildkit.store.blobs import Compression
from buildkit.store.records import RecordKind
from buildkit.store.store import Store


async def verify_store(store: Store, look: Callable[[Path], None] = lambda tree: None) -> int:
    """Every record has its parents, its snapshot and its layers, every blob its digest; how many records there are.

    ``look`` is called with every tree.
    """
    records = {record.id: record for record in store._parts.records.all()}
    named = {record.snapshot for record in records.values()}
    assert {row.name for row in store._parts.snapshotter.walk()} <= named
    assert all(store.content.verify(blob.digest) for blob in store.content.walk())
    assert [p for p in (store.content.root / "ingest").iterdir() if not p.name.startswith("partial-")] == []
    async with store.lease() as lease:
        for record in records.values():
            assert all(not parent or parent in records for parent in record.parents)
            ref = store.find_ref(record.id, lease)
            if record.kind is RecordKind.MUTABLE or ref is None:
                continue
            async with store.mounted(ref, lease) as tree:
                look(tree)
            await store.layers(ref, Compression("uncompressed"), lease)
    await store.sweep()
    return len(records)
