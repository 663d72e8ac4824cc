"""Mutable trees that outlive a build: cache mounts, and whatever else is filed under a key.

Sharing, as BuildKit has it. *shared*: all who ask share one tree, unless it is taken by one of the other kinds.
*private*: a free tree, else a new one. *locked*: a free tree, waiting while all are taken. One holder (one
step) that asks twice for a key gets the same tree twice, whatever the sharing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from enum import StrEnum
from pathlib import Path

from buildkit.core.identity import new_id
from buildkit.core.values import dataclass, field
from buildkit.store.parts import Parts, drop
from buildkit.store.places import Places
from buildkit.store.records import Record, RecordKind
from buildkit.store.refs import Ref


class Sharing(StrEnum):
    """Who may use a mutable tree together."""

    SHARED = "shared"
    PRIVATE = "private"
    LOCKED = "locked"


@dataclass(eq=False, slots=True)
class Use:
    """A mutable tree that is mounted now."""

    record: str
    key: str
    holder: object
    sharing: Sharing
    path: Path = Path()
    users: int = 0
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    ready: asyncio.Lock = field(default_factory=asyncio.Lock)


class Caches:
    """The mutable trees of a store, and who uses them now."""

    def __init__(self, parts: Parts, places: Places) -> None:
        self._parts = parts
        self._places = places
        self._uses: list[Use] = []
        self._freed = asyncio.Condition()

    @asynccontextmanager
    async def taken(
        self,
        key: str,
        sharing: Sharing,
        *,
        holder: object = None,
        parent: Ref | None = None,
        snapshot: str = "",
        description: str = "",
        record_type: str = "exec.cachemount",
    ) -> AsyncIterator[Use]:
        """A tree filed under ``key``, for the scope; a new one begins as ``snapshot`` (of ``parent``).

        Records of one type are never used for another.
        """
        use = await self._take(key, sharing, holder, parent, description, record_type)
        try:
            async with use.ready:
                if use.path == Path():
                    await self._open(use, snapshot)
            yield use
        finally:
            await self._leave(use)

    async def _take(
        self, key: str, sharing: Sharing, holder: object, parent: Ref | None, description: str, record_type: str
    ) -> Use:
        while True:
            for use in self._uses:
                same_holder = holder is not None and use.holder == holder
                if use.key == key and (same_holder or use.sharing is sharing is Sharing.SHARED):
                    use.users += 1
                    return use
            taken = {use.record for use in self._uses}
            records = [record for record in self._parts.records.by_key(key) if record.record_type == record_type]
            free = next((record for record in records if record.id not in taken), None)
            if free is None and records and sharing is Sharing.LOCKED:
                async with self._freed:
                    await self._freed.wait()
                continue
            use = Use(free.id if free else self._new(key, parent, description, record_type), key, holder, sharing)
            use.users = 1
            self._parts.leases.refs[use.record] += 1
            self._uses.append(use)
            return use

    def _new(self, key: str, parent: Ref | None, description: str, record_type: str) -> str:
        id = new_id()
        parents = (parent.id,) if parent is not None else ()
        record = Record(id, RecordKind.MUTABLE, parents, id, description, record_type, key=key)
        return self._parts.records.add(record).id

    async def _open(self, use: Use, snapshot: str) -> None:
        snapshotter = self._parts.snapshotter
        if snapshotter.find(use.record) is None:
            await asyncio.to_thread(snapshotter.prepare, use.record, snapshot)
        mounts = snapshotter.mounts(use.record)
        use.path = await use.stack.enter_async_context(self._places.mounted_meanwhile(mounts))

    async def _leave(self, use: Use) -> None:
        use.users -= 1
        if use.users:
            return
        self._uses.remove(use)
        try:
            await use.stack.aclose()
        finally:
            self._parts.leases.refs[use.record] -= 1
            self._parts.records.touch(use.record)
            record = self._parts.records.find(use.record)
            if record is not None and not record.key:
                await drop(self._parts, record)
            async with self._freed:
                self._freed.notify_all()

    async def forget(self, key: str) -> None:
        """File nothing under ``key`` any more: free trees are removed now, others when they are left."""
        taken = {use.record for use in self._uses}
        for record in self._parts.records.by_key(key):
            self._parts.records.update(record.id, key="")
            if record.id not in taken:
                await drop(self._parts, record)
