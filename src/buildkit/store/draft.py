"""Drafts: trees being written. A draft that is not committed when its scope ends is gone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

from buildkit.core.errors import FailedPrecondition, NotFound
from buildkit.core.identity import new_id
from buildkit.fs.mount import Mount
from buildkit.store.lease import Lease
from buildkit.store.parts import Parts
from buildkit.store.places import Places
from buildkit.store.records import Record, RecordKind
from buildkit.store.refs import Ref


class Draft:
    """An active snapshot on top of a ref."""

    def __init__(self, parts: Parts, places: Places, lease: Lease, record: Record, key: str) -> None:
        self._parts = parts
        self._places = places
        self._lease = lease
        self._record = record
        self._key = key
        self._mount = AsyncExitStack()
        self._path = Path()
        self._users = 0
        self._turn = asyncio.Lock()
        self._committed: Ref | None = None

    @property
    def ref(self) -> Ref:
        """The ref that `commit` will make."""
        return Ref(self._record.id)

    def mounts(self) -> list[Mount]:
        """Read-write mounts, for a container. Not to be mounted twice at once, nor inside of `mounted`."""
        self._check_open()
        return self._parts.snapshotter.mounts(self._key)

    @asynccontextmanager
    async def mounted(self) -> AsyncIterator[Path]:
        """A path to write to; scopes that overlap share one mount."""
        self._check_open()
        async with self._turn:
            if not self._users:
                self._path = await self._mount.enter_async_context(self._places.mounted_meanwhile(self.mounts()))
            self._users += 1
        try:
            yield self._path
        finally:
            async with self._turn:
                self._users -= 1
                if not self._users:
                    await self._mount.aclose()

    async def commit(self, *, fleeting: bool = False) -> Ref:
        """Freeze the tree: a new ref, held by the draft's lease; gone with the last lease that holds it if fleeting."""
        self._check_open()
        if self._users:
            raise FailedPrecondition(f"draft {self._record.id}: still mounted, so it cannot be committed")
        self._committed = self.ref
        await asyncio.to_thread(self._parts.snapshotter.commit, self._record.snapshot, self._key)
        if fleeting:
            self._parts.fleeting.add(self._record.id)
            self._parts.records.lend(self._record)
        else:
            self._parts.records.add(self._record)
        self._lease.hold(self.ref)
        return self.ref

    def _check_open(self) -> None:
        if self._committed is not None:
            raise FailedPrecondition(f"draft {self._record.id}: already committed")


@asynccontextmanager
async def open_draft(
    parts: Parts,
    places: Places,
    lease: Lease,
    *,
    parent: Ref | None,
    snapshot: str,
    description: str,
    record_type: str,
) -> AsyncIterator[Draft]:
    """A draft on the snapshot of ``parent``; see `buildkit.store.store.Store.draft`."""
    id, key = new_id(), new_id()
    record = Record(
        id,
        RecordKind.LAYER,
        (parent.id,) if parent is not None else (),
        snapshot=id,
        description=description,
        record_type=record_type,
        created=time.time_ns(),
    )
    parts.busy.update((id, key))
    try:
        await asyncio.to_thread(parts.snapshotter.prepare, key, snapshot)
        draft = Draft(parts, places, lease, record, key)
        try:
            yield draft
        finally:
            with suppress(NotFound):
                await asyncio.to_thread(parts.snapshotter.remove, key)
    finally:
        parts.busy.difference_update((id, key))
