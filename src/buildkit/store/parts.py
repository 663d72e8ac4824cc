"""What the modules of the store share."""

from __future__ import annotations

import asyncio
from pathlib import Path

from buildkit.core.errors import FailedPrecondition, NotFound
from buildkit.core.values import dataclass, field
from buildkit.store.content import ContentStore
from buildkit.store.lease import Leases
from buildkit.store.records import Record, Records
from buildkit.store.snapshot import Snapshotter
from buildkit.store.view import View


@dataclass(frozen=True, slots=True)
class Parts:
    """The stores below the refs, and what of them is in use right now."""

    root: Path
    records: Records
    content: ContentStore
    snapshotter: Snapshotter
    leases: Leases = field(default_factory=Leases)
    busy: set[str] = field(default_factory=set[str])
    """Snapshots without a record that someone works on."""
    views: dict[str, View] = field(default_factory=dict[str, View])
    """Directories outside of the store, by the id of their refs."""
    fleeting: set[str] = field(default_factory=set[str])
    """Refs of trees that are gone with the last lease that holds them."""

    def record(self, id: str) -> Record:
        """The row of a ref; raises `NotFound`."""
        found = self.records.find(id)
        if found is None:
            raise NotFound(f"ref {id}: not found")
        return found


async def drop(parts: Parts, record: Record) -> None:
    """Remove a record that nothing needs: its row first, then its snapshot unless another record has the same."""
    with parts.records.making_room():
        await _drop(parts, record)


async def _drop(parts: Parts, record: Record) -> None:
    parts.records.remove(record.id)
    shared = record.chain_id and parts.records.by_chain(record.chain_id)
    if not shared and record.snapshot not in parts.busy and parts.snapshotter.find(record.snapshot) is not None:
        try:
            await asyncio.to_thread(parts.snapshotter.remove, record.snapshot)
        except (NotFound, FailedPrecondition):
            return
