"""What takes how much space, and getting it back: prune by policy, then sweep what no record and no lease names."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from pathlib import Path

from buildkit.core.digest import Digest
from buildkit.core.errors import Exhausted, FailedPrecondition, InvalidInput, NotFound
from buildkit.core.values import dataclass
from buildkit.store.filters import Fields, parse_filters
from buildkit.store.parts import Parts, drop
from buildkit.store.records import Record, RecordKind

BATCH = 10
"""Records removed between two looks at the whole, without a limit on size."""
_NEVER_UNLESS_ALL = frozenset(("internal", "frontend"))


@dataclass(frozen=True, slots=True)
class Usage:
    """A record as ``du`` shows it: sizes in bytes, times in nanoseconds since the epoch."""

    id: str
    mutable: bool
    in_use: bool
    size: int
    parents: tuple[str, ...]
    created: int
    last_used: int | None
    usage_count: int
    description: str
    record_type: str
    shared: bool = False

    @property
    def fields(self) -> dict[str, str]:
        """What filters see."""
        flags = {
            "inuse": self.in_use,
            "mutable": self.mutable,
            "immutable": not self.mutable,
            "shared": self.shared,
            "private": not self.shared,
        }
        words = {
            "id": self.id,
            "parents": ";".join(self.parents),
            "description": self.description,
            "type": self.record_type,
        }
        return {name: text for name, text in words.items() if text} | {
            name: "" for name, is_so in flags.items() if is_so
        }


@dataclass(frozen=True, slots=True)
class PrunePolicy:
    """What to remove. Bytes and seconds; 0 means no such limit, and without any limit all that matches goes."""

    filters: tuple[str, ...] = ()
    all: bool = False
    """Also internal records and frontends."""
    keep_duration: float = 0
    reserved_space: int = 0
    max_used_space: int = 0
    min_free_space: int = 0
    rule: str = "prune"
    """What those whose results are gone are told to blame."""

    def __str__(self) -> str:
        limits = [
            self.all and "internal records too",
            self.keep_duration and f"unused for {self.keep_duration:g} seconds",
            self.max_used_space and f"beyond {self.max_used_space} bytes",
            self.reserved_space and f"reserving {self.reserved_space} bytes",
            self.min_free_space and f"keeping {self.min_free_space} bytes free",
            self.filters and f"matching {' or '.join(self.filters)}",
        ]
        return f"{self.rule}: " + (", ".join(text for text in limits if text) or "everything unused")


def keep_bytes(policy: PrunePolicy, total: int, free: int) -> int:
    """How many bytes may stay; 0 for no limit, and then everything that matches goes."""
    if not (policy.max_used_space or policy.reserved_space or policy.min_free_space):
        return 0
    keep = policy.max_used_space
    excess = policy.min_free_space - free
    if excess > 0:
        keep = min(keep, total - excess) if keep else total - excess
    elif policy.min_free_space and not keep:
        keep = total
    return max(keep, policy.reserved_space)


class Collector:
    """Accounts for records and removes them."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._pruning = asyncio.Lock()

    async def usage(self, filters: Sequence[str] = (), age_limit: float = 0) -> list[Usage]:
        """Every record that passes a filter and was not used within ``age_limit`` seconds, oldest first."""
        passes = _passing("diskusage", filters)
        with suppress(Exhausted):
            self._parts.records.flush()
        records = self._parts.records.all()
        sizes = await asyncio.to_thread(self._sizes, records)
        used = self._in_use(records)
        newest = time.time_ns() - int(age_limit * 1e9)
        out = [_usage(record, record.id in used, sizes.get(record.id, 0)) for record in records]
        return [
            one
            for one in out
            if passes(one.fields) and not (age_limit and one.last_used is not None and one.last_used > newest)
        ]

    def _in_use(self, records: list[Record]) -> set[str]:
        """Records that a lease holds, and what those are made from."""
        parents = {record.id: record.parents for record in records}
        waiting = [record.id for record in records if self._parts.leases.holds(record.id)]
        found: set[str] = set()
        while waiting:
            id = waiting.pop()
            if id and id not in found:
                found.add(id)
                waiting += parents.get(id, ())
        return found

    def _sizes(self, records: list[Record]) -> dict[str, int]:
        """Bytes of each record: its own snapshot and its blobs that are here."""
        sizes: Counter[str] = Counter()
        counted: set[str] = set()
        for record in records:
            if record.snapshot not in counted:
                counted.add(record.snapshot)
                try:
                    sizes[record.id] += self._parts.snapshotter.usage(record.snapshot).size
                except (NotFound, OSError):
                    continue
        here: dict[Digest, int] = {blob.digest: blob.size for blob in self._parts.content.walk()}
        wanted = {record.id for record in records}
        for id, digest, _ in self._parts.records.blobs_by_ref():
            if id in wanted:
                sizes[id] += here.get(digest, 0)
        return {id: sizes[id] for id in wanted}

    async def prune(self, policies: Sequence[PrunePolicy]) -> AsyncIterator[Usage]:
        """Apply policies in turn, give each record as it goes, then sweep."""
        async with self._pruning:
            with self._parts.records.making_room():
                sizes: dict[str, int] = {}
                for policy in policies:
                    async for removed in self._prune(policy, sizes):
                        yield removed
                await self.sweep()

    async def _prune(self, policy: PrunePolicy, sizes: dict[str, int]) -> AsyncIterator[Usage]:
        """``sizes`` are those that are known, and get the others: some are told only by looking at every file."""
        passes = _passing("prune", policy.filters)
        self._parts.records.flush()
        records = self._parts.records.all()
        sizes |= await asyncio.to_thread(self._sizes, [record for record in records if record.id not in sizes])
        total = sum(sizes.get(record.id, 0) for record in records)
        free = _free(self._parts.root) if policy.min_free_space else 0
        keep = keep_bytes(policy, total, free)
        while not (keep and total < keep):
            victims = self._candidates(policy, passes)
            if not victims:
                return
            if keep:
                # one at a time, except that a long list is not sorted anew for each
                victims = by_worth(victims)[: max(1, len(victims) // 100)]
            else:
                victims = victims[:BATCH]
            for record in victims:
                if (keep and total < keep) or not self._is_free(record):
                    continue
                await drop(self._parts, record)
                self._parts.records.evict((record.id,), str(policy))
                total -= sizes.get(record.id, 0)
                yield _usage(record, False, sizes.get(record.id, 0))

    def _is_free(self, record: Record) -> bool:
        return self._parts.records.find(record.id) is not None and not self._parts.leases.holds(record.id)

    def _candidates(self, policy: PrunePolicy, passes: Callable[[dict[str, str]], bool]) -> list[Record]:
        """Records that nothing needs and the policy lets go."""
        records = self._parts.records.all()
        needed = {parent for record in records for parent in record.parents}
        newest = time.time_ns() - int(policy.keep_duration * 1e9)
        return [
            record
            for record in records
            if record.id not in needed
            and not self._parts.leases.holds(record.id)
            and (policy.all or record.record_type not in _NEVER_UNLESS_ALL)
            and not (policy.keep_duration and record.last_used is not None and record.last_used > newest)
            and passes(_usage(record, False, 0).fields)
        ]

    async def sweep(self) -> None:
        """Remove snapshots without a record, then blobs that neither a record nor a lease names."""
        named = {record.snapshot for record in self._parts.records.all()} | self._parts.busy
        snapshots = [one.name for one in self._parts.snapshotter.walk() if one.name not in named]
        for name in reversed(snapshots):
            if name not in self._parts.busy and not self._is_named(name):
                try:
                    await asyncio.to_thread(self._parts.snapshotter.remove, name)
                except (NotFound, FailedPrecondition):
                    continue
        await asyncio.to_thread(self._sweep_blobs)
        await asyncio.to_thread(self._parts.snapshotter.settle, wait=True)

    def _is_named(self, snapshot: str) -> bool:
        records = self._parts.records
        return records.find(snapshot) is not None or bool(records.by_chain(snapshot))

    def _sweep_blobs(self) -> None:
        kept = self._parts.records.blob_digests()
        leases = self._parts.leases
        for blob in self._parts.content.walk():
            if blob.digest not in kept:
                with leases.lock:
                    if not leases.holds_blob(blob.digest) and not self._parts.records.needs_blob(blob.digest):
                        self._parts.content.delete(blob.digest)


def _free(path: Path) -> int:
    found = os.statvfs(path)
    return found.f_bfree * found.f_frsize


def by_worth(records: list[Record]) -> list[Record]:
    """Sorted so that what was used longest ago and most seldom comes first, both counted as ranks between 0 and 1."""
    by_time = sorted(records, key=lambda record: record.last_used or 0)
    by_count = sorted(by_time, key=lambda record: record.usage_count)
    times = _ranks([(record.id, record.last_used or 0) for record in by_time])
    counts = _ranks([(record.id, record.usage_count) for record in by_count])
    return sorted(by_count, key=lambda record: times[record.id] + counts[record.id])


def _ranks(sorted_values: list[tuple[str, int]]) -> dict[str, float]:
    rank, last = 1, 0
    ranks: dict[str, int] = {}
    for id, value in sorted_values:
        if value > last:
            rank, last = rank + 1, value
        ranks[id] = rank
    return {id: one / rank for id, one in ranks.items()}


def _usage(record: Record, in_use: bool, size: int) -> Usage:
    mutable = record.kind is RecordKind.MUTABLE
    return Usage(
        record.id,
        mutable,
        in_use,
        0 if mutable and in_use else size,
        tuple(parent for parent in record.parents if parent),
        record.created,
        record.last_used,
        record.usage_count,
        record.description,
        record.record_type,
    )


def _passing(purpose: str, filters: Sequence[str]) -> Callable[[Fields], bool]:
    try:
        return parse_filters(filters)
    except InvalidInput as error:
        raise error.prefixed(f"failed to parse {purpose} filters [{' '.join(filters)}]: ") from None
