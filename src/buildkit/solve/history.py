"""Records of builds: those that run, in memory, and those that have ended, in the database (rows A43 to A53).

A record's blobs (logs, errors, provenance, manifests) are in a content store of their own, where they stay as long
as the record; what a killed daemon left there without a record is removed when history is opened.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from logging import getLogger

import msgspec

from buildkit.core.db import Database
from buildkit.core.digest import Digest
from buildkit.core.errors import BuildkitError, InvalidInput, NotFound
from buildkit.core.values import dataclass, field, replace
from buildkit.solve.historyfilter import parse_filters
from buildkit.solve.record import BuildRecord
from buildkit.store.content import ContentStore

log = getLogger(__name__)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS build_record (
    ref TEXT PRIMARY KEY, completed_at INTEGER NOT NULL, pinned INTEGER NOT NULL, body BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS build_blob (
    ref TEXT NOT NULL REFERENCES build_record (ref) ON DELETE CASCADE, digest TEXT NOT NULL, PRIMARY KEY (ref, digest)
);
CREATE INDEX IF NOT EXISTS build_blob_digest ON build_blob (digest);
"""

COLLECT_SECONDS = 120.0
"""How often records that are too old and too many are removed."""

STARTED, COMPLETE, DELETED = "started", "complete", "deleted"


@dataclass(frozen=True, slots=True)
class Event:
    """Something happened to a record: it ``started``, is ``complete`` (or was changed), or was ``deleted``."""

    kind: str
    record: BuildRecord


@dataclass(frozen=True, slots=True)
class Limits:
    """What is older than ``max_age`` seconds and not among the newest ``max_entries`` goes, unless it is pinned."""

    max_age: float = 48 * 3600.0
    max_entries: int = 50


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a listener wants to hear; filters and limit are for stored records only."""

    ref: str = ""
    active_only: bool = False
    early_exit: bool = False
    filters: Sequence[str] = field(default_factory=tuple)
    limit: int = 0


class History:
    """The records of one engine; lives on one event loop."""

    def __init__(
        self,
        db: Database,
        content: ContentStore,
        limits: Limits = Limits(),
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._db = db
        self.content = content
        self._limits = limits
        self._clock = clock
        self._active: dict[str, BuildRecord] = {}
        self._listeners: list[asyncio.Queue[Event | None]] = []
        self._watched: Counter[str] = Counter()
        self._doomed: set[str] = set()
        db.ensure(_SCHEMA)
        self._clear_orphans()

    # -- writing --

    def start(self, record: BuildRecord) -> None:
        """A build begins."""
        self._active[record.ref] = record
        self._tell(Event(STARTED, record))

    def complete(self, record: BuildRecord) -> None:
        """A build has ended; its blobs are in `content` already."""
        self._active.pop(record.ref, None)
        self._write(record)
        self._tell(Event(COMPLETE, record))

    def abandon(self, ref: str) -> None:
        """A build has ended and shall not be remembered."""
        self._active.pop(ref, None)

    def pin(self, ref: str, pinned: bool) -> None:
        """Keep a record from being collected, or let it go again; raises `NotFound`."""
        record = self.get(ref)
        record = replace(record, pinned=pinned, generation=record.generation + 1)
        self._write(record)
        self._tell(Event(COMPLETE, record))

    def delete(self, ref: str) -> None:
        """Remove a record, once nobody listens to it any more; raises `NotFound`."""
        self.get(ref)
        if self._watched[ref]:
            self._doomed.add(ref)
        else:
            self._delete(ref)

    def collect(self) -> None:
        """Remove what is both too old and beyond the newest ones."""
        oldest = self._clock() - int(self._limits.max_age * 1e9)
        rows = self._db.execute(
            "SELECT ref, completed_at FROM build_record WHERE NOT pinned ORDER BY completed_at DESC LIMIT -1 OFFSET ?",
            (self._limits.max_entries,),
        )
        for ref, completed_at in rows:
            if completed_at < oldest and ref not in self._doomed:
                self.delete(ref)

    async def collect_regularly(self) -> None:
        """`collect` for as long as the daemon runs."""
        while True:
            try:
                self.collect()
            except (BuildkitError, OSError) as error:
                log.warning("history is not collected: %s", error)
            await asyncio.sleep(COLLECT_SECONDS)

    # -- reading --

    def get(self, ref: str) -> BuildRecord:
        """The record of a build that has ended; raises `NotFound`."""
        found = self.find(ref)
        if found is None:
            raise NotFound(f'lease "ref_{ref}": not found')
        return found

    def find(self, ref: str) -> BuildRecord | None:
        """The record of a build that has ended, if it is kept."""
        rows = self._db.execute("SELECT body FROM build_record WHERE ref = ?", (ref,))
        return _decode(rows[0][0]) if rows and ref not in self._doomed else None

    async def listen(self, wanted: Wanted) -> AsyncIterator[Event]:
        """Running builds, then stored records, then what happens; raises `InvalidInput` or `NotFound`.

        A record that someone listens to by its ref is not removed before the listener leaves.
        """
        if wanted.ref in self._doomed:
            raise NotFound(f"ref {wanted.ref} is deleted")
        events: asyncio.Queue[Event | None] = asyncio.Queue()
        with self._watching(wanted.ref), self._subscribed(events):
            for record in list(self._active.values()):
                if wanted.ref in ("", record.ref):
                    yield Event(STARTED, record)
            if not wanted.active_only:
                for record in self._stored(wanted):
                    yield Event(COMPLETE, record)
            while not wanted.early_exit and (event := await events.get()) is not None:
                if wanted.ref in ("", event.record.ref):
                    yield event

    def close(self) -> None:
        """Send all listeners away."""
        for events in self._listeners:
            events.put_nowait(None)

    def _stored(self, wanted: Wanted) -> list[BuildRecord]:
        if wanted.limit < 0:
            raise InvalidInput(f"invalid limit {wanted.limit}")
        passes = parse_filters(wanted.filters, self._clock())
        rows = self._db.execute("SELECT body FROM build_record WHERE ? IN ('', ref)", (wanted.ref,))
        found = [record for (body,) in rows if (record := _decode(body)).ref not in self._doomed and passes(record)]
        if wanted.limit:
            found = sorted(found, key=lambda record: record.created_at, reverse=True)[: wanted.limit]
        return found

    # -- inside --

    def _write(self, record: BuildRecord) -> None:
        body = msgspec.json.encode(record)
        digests = [(record.ref, digest) for digest in record.digests]
        with self._db.transaction():
            self._db.execute(
                "INSERT INTO build_record (ref, completed_at, pinned, body) VALUES (?1, ?2, ?3, ?4)"
                " ON CONFLICT (ref) DO UPDATE SET completed_at = ?2, pinned = ?3, body = ?4",
                (record.ref, record.completed_at or 0, record.pinned, body),
            )
            self._db.execute_many("INSERT OR IGNORE INTO build_blob (ref, digest) VALUES (?, ?)", digests)

    def _delete(self, ref: str) -> None:
        self._doomed.discard(ref)
        digests: list[Digest] = [d for (d,) in self._db.execute("SELECT digest FROM build_blob WHERE ref = ?", (ref,))]
        self._db.execute("DELETE FROM build_record WHERE ref = ?", (ref,))
        for digest in digests:
            if not self._db.execute("SELECT 1 FROM build_blob WHERE digest = ? LIMIT 1", (digest,)):
                self.content.delete(digest)
        self._tell(Event(DELETED, BuildRecord(ref=ref)))

    def _clear_orphans(self) -> None:
        """Records without their blobs, and blobs without a record: a killed daemon's."""
        kept: set[Digest] = set()
        for ref, digest in self._db.execute("SELECT ref, digest FROM build_blob"):
            if self.content.has(digest):
                kept.add(digest)
            else:
                self._db.execute("DELETE FROM build_record WHERE ref = ?", (ref,))
        for blob in list(self.content.walk()):
            if blob.digest not in kept:
                self.content.delete(blob.digest)

    def _tell(self, event: Event) -> None:
        for events in self._listeners:
            events.put_nowait(event)

    @contextmanager
    def _subscribed(self, events: asyncio.Queue[Event | None]) -> Iterator[None]:
        self._listeners.append(events)
        try:
            yield
        finally:
            self._listeners.remove(events)

    @contextmanager
    def _watching(self, ref: str) -> Iterator[None]:
        if not ref:
            yield
            return
        self._watched[ref] += 1
        try:
            yield
        finally:
            self._watched[ref] -= 1
            if not self._watched[ref]:
                del self._watched[ref]
                if ref in self._doomed:
                    self._delete(ref)


def _decode(body: bytes) -> BuildRecord:
    return msgspec.json.decode(body, type=BuildRecord)
