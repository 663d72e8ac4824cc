"""Rows of refs: what each is made from, what it is for, where its tree and its blobs are, how it was used."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from enum import StrEnum
from typing import Any

from buildkit.core.db import Database
from buildkit.core.digest import Digest
from buildkit.core.values import dataclass, replace
from buildkit.oci.spec import SOURCE_PREFIX, Descriptor

_SCHEMA = """
CREATE TABLE IF NOT EXISTS refs (
    id TEXT PRIMARY KEY, kind TEXT NOT NULL, parents TEXT NOT NULL, snapshot TEXT NOT NULL,
    description TEXT NOT NULL, record_type TEXT NOT NULL, created INTEGER NOT NULL,
    last_used INTEGER, usage_count INTEGER NOT NULL, diff_id TEXT NOT NULL, chain_id TEXT NOT NULL,
    key TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS refs_by_chain ON refs (chain_id) WHERE chain_id != '';
CREATE INDEX IF NOT EXISTS refs_by_key ON refs (key) WHERE key != '';
CREATE TABLE IF NOT EXISTS ref_blobs (
    ref TEXT NOT NULL REFERENCES refs (id) ON DELETE CASCADE, compression TEXT NOT NULL, times TEXT NOT NULL,
    digest TEXT NOT NULL, size INTEGER NOT NULL, media_type TEXT NOT NULL, annotations TEXT NOT NULL,
    urls TEXT NOT NULL, diff_id TEXT NOT NULL, created INTEGER NOT NULL,
    PRIMARY KEY (ref, compression, times, digest)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS ref_attachments (
    ref TEXT NOT NULL REFERENCES refs (id) ON DELETE CASCADE, digest TEXT NOT NULL, PRIMARY KEY (ref, digest)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS ref_evictions (ref TEXT PRIMARY KEY, rule TEXT NOT NULL, at INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS ref_blobs_by_digest ON ref_blobs (digest);
CREATE INDEX IF NOT EXISTS ref_attachments_by_digest ON ref_attachments (digest);
"""
_COLUMNS = (
    "id, kind, parents, snapshot, description, record_type, created, last_used, usage_count, diff_id, chain_id, key"
)
_BLOB_COLUMNS = "compression, times, digest, size, media_type, annotations, urls, diff_id, created"

_WONDER_NS = 90 * 24 * 3600 * 10**9
AS_IMPORTED = ""
"""The `LayerBlob.times` of a blob that came with an image: it is what it is, under every policy."""


class RecordKind(StrEnum):
    """How a ref's tree comes about."""

    LAYER = "layer"
    """A snapshot of its own on top of at most one parent."""
    MERGE = "merge"
    """Its parents laid over one another, first parent lowest."""
    DIFF = "diff"
    """What changed from the first parent to the second; an empty parent id stands for the empty tree."""
    MUTABLE = "mutable"
    """A tree that stays writable, such as a cache mount's; at most one parent, its first content."""


@dataclass(frozen=True, slots=True)
class Record:
    """One ref's row. Times are nanoseconds since the epoch, sizes bytes; None where not known or never.

    ``snapshot`` is the name of the snapshot that holds the tree once it is needed: for an imported layer its
    chain id, else the ref's id. ``diff_id`` and ``chain_id`` are set for imported layers.
    """

    id: str
    kind: RecordKind
    parents: tuple[str, ...] = ()
    snapshot: str = ""
    description: str = ""
    record_type: str = "regular"
    created: int = 0
    last_used: int | None = None
    usage_count: int = 0
    diff_id: Digest = ""
    chain_id: Digest = ""
    key: str = ""

    @property
    def parent(self) -> str:
        """The id of a layer's only parent, or ``""``."""
        return self.parents[0] if self.parents else ""


@dataclass(frozen=True, slots=True)
class LayerBlob:
    """A layer tar that a ref is known to have, under one compression and one time policy."""

    compression: str
    times: str
    descriptor: Descriptor
    diff_id: Digest
    created: int


_MOST = 256
"""Rows kept in memory: what one build uses."""


class Records:
    """The rows, with those used last kept in memory: loading a known ref costs one look-up."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._known: dict[str, Record] = {}
        self._lent: dict[str, Record] = {}
        self._touched: set[str] = set()
        self._flushed = time.monotonic()
        self._lock = threading.RLock()
        db.ensure(_SCHEMA)

    def evict(self, ids: Iterable[str], rule: str) -> None:
        """Remember by which rule rows were removed, for as long as someone may wonder."""
        now = time.time_ns()
        self._db.execute_many("INSERT OR REPLACE INTO ref_evictions VALUES (?, ?, ?)", [(id, rule, now) for id in ids])
        self._db.execute("DELETE FROM ref_evictions WHERE at < ?", (now - _WONDER_NS,))

    def eviction(self, id: str) -> tuple[str, int] | None:
        """The rule by which a row was removed, and when, in nanoseconds since the epoch."""
        rows = self._db.execute("SELECT rule, at FROM ref_evictions WHERE ref = ?", (id,))
        return (str(rows[0][0]), int(rows[0][1])) if rows else None

    def find(self, id: str) -> Record | None:
        """The row, or None."""
        record = self._lent.get(id) or self._known.get(id)
        if record is None:
            for record in self._select("id = ?", id):
                self._keep(record)
                return record
        return record

    def all(self) -> list[Record]:
        """Every row, oldest first."""
        return list(self._select("1 ORDER BY created, id"))

    def by_chain(self, chain_id: Digest) -> list[Record]:
        """Imported layers with this chain id, oldest first."""
        return list(self._select("chain_id = ? AND chain_id != '' ORDER BY created", chain_id))

    def by_key(self, key: str) -> list[Record]:
        """Mutable records filed under ``key``, oldest first."""
        return list(self._select("key = ? AND key != '' ORDER BY created", key))

    def add(self, record: Record, blobs: Iterable[LayerBlob] = ()) -> Record:
        """Insert or replace a row, with the blobs that its tree is known by."""
        if not record.created:
            record = replace(record, created=time.time_ns())
        with self._db.transaction():
            self._store(record)
            for blob in blobs:
                self.add_blob(record.id, blob)
        return record

    def lend(self, record: Record) -> None:
        """Know a row without writing it down: it ends with this process, or with `remove`."""
        self._lent[record.id] = record

    def is_parent(self, id: str) -> bool:
        """Whether another row is made from this one."""
        pattern = f"%{json.dumps(id)}%"
        return bool(self._db.execute("SELECT 1 FROM refs WHERE parents LIKE ? LIMIT 1", (pattern,)))

    def update(self, id: str, **fields: Any) -> None:
        """Change fields of a row, if it is still there."""
        record = self.find(id)
        if record is not None:
            self._store(replace(record, **fields))

    def remove(self, id: str) -> None:
        """Delete a row and what hangs on it."""
        self._db.execute("DELETE FROM refs WHERE id = ?", (id,))
        with self._lock:
            self._known.pop(id, None)
            self._lent.pop(id, None)
            self._touched.discard(id)

    def touch(self, id: str) -> None:
        """It was used now; written down by `flush`."""
        record = self.find(id)
        if record is not None:
            used = replace(record, last_used=time.time_ns(), usage_count=record.usage_count + 1)
            if id in self._lent:
                self._lent[id] = used
            else:
                self._touched.add(id)
                self._keep(used)

    def flush(self, *, after: float = 0) -> None:
        """Write down uses, unless that was done less than ``after`` seconds ago."""
        now = time.monotonic()
        if now - self._flushed < after:
            return
        self._flushed = now
        touched, self._touched = self._touched, set()
        rows = [(r.last_used, r.usage_count, r.id) for r in map(self._known.get, touched) if r is not None]
        if rows:
            self._db.execute_many("UPDATE refs SET last_used = ?, usage_count = ? WHERE id = ?", rows)

    def making_room(self) -> AbstractContextManager[None]:
        """See `buildkit.core.db.Database.making_room`."""
        return self._db.making_room()

    def blobs(self, id: str) -> list[LayerBlob]:
        """The layer tars known for this ref, oldest first."""
        rows = self._db.execute(f"SELECT {_BLOB_COLUMNS} FROM ref_blobs WHERE ref = ? ORDER BY created", (id,))
        return [
            LayerBlob(
                compression,
                times,
                Descriptor(media_type, digest, size, json.loads(annotations), urls=tuple(json.loads(urls))),
                diff_id,
                created,
            )
            for compression, times, digest, size, media_type, annotations, urls, diff_id, created in rows
        ]

    def add_blob(self, id: str, blob: LayerBlob) -> None:
        """Remember a layer tar; ignored when the ref is gone."""
        if self.find(id) is None:
            return
        descriptor = blob.descriptor
        self._db.execute(
            f"INSERT OR IGNORE INTO ref_blobs (ref, {_BLOB_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                id,
                blob.compression,
                blob.times,
                descriptor.digest,
                descriptor.size,
                descriptor.media_type,
                json.dumps(dict(descriptor.annotations)),
                json.dumps(descriptor.urls),
                blob.diff_id,
                blob.created,
            ),
        )

    def add_sources(self, id: str, descriptor: Descriptor) -> None:
        """Remember further repositories that have a ref's blob."""
        known = next(b.descriptor.annotations for b in self.blobs(id) if b.descriptor.digest == descriptor.digest)
        merged = dict(known)
        for key, value in descriptor.annotations.items():
            if key.startswith(SOURCE_PREFIX):
                merged[key] = ",".join(dict.fromkeys(filter(None, (*known.get(key, "").split(","), value))))
        if merged != known:
            self._db.execute(
                "UPDATE ref_blobs SET annotations = ? WHERE ref = ? AND digest = ?",
                (json.dumps(merged), id, descriptor.digest),
            )

    def forget_blob(self, id: str, digest: Digest) -> None:
        """A layer tar is lost."""
        self._db.execute("DELETE FROM ref_blobs WHERE ref = ? AND digest = ?", (id, digest))

    def attach(self, id: str, digests: Iterable[Digest]) -> None:
        """Keep further blobs (manifests, configs) for as long as the ref is there."""
        if self.find(id) is not None:
            rows = [(id, digest) for digest in digests]
            self._db.execute_many("INSERT OR IGNORE INTO ref_attachments VALUES (?, ?)", rows)

    def blob_digests(self) -> set[Digest]:
        """Every blob that some row needs."""
        rows = self._db.execute("SELECT digest FROM ref_blobs UNION SELECT digest FROM ref_attachments")
        return {digest for (digest,) in rows}

    def needs_blob(self, digest: Digest) -> bool:
        """Whether some row needs this blob."""
        for table in ("ref_blobs", "ref_attachments"):
            if self._db.execute(f"SELECT 1 FROM {table} WHERE digest = ? LIMIT 1", (digest,)):
                return True
        return False

    def blobs_by_ref(self) -> list[tuple[str, Digest, int]]:
        """Of every layer tar: the ref's id, the digest, the size in bytes."""
        return [
            (ref, digest, size) for ref, digest, size in self._db.execute("SELECT ref, digest, size FROM ref_blobs")
        ]

    def _select(self, where: str, *values: object) -> Iterator[Record]:
        for row in self._db.execute(f"SELECT {_COLUMNS} FROM refs WHERE {where}", values):
            id, kind, parents, *rest = row
            yield self._known.get(id) or Record(id, RecordKind(kind), tuple(json.loads(parents)), *rest)

    def _keep(self, record: Record) -> None:
        with self._lock:
            self._known.pop(record.id, None)
            self._known[record.id] = record
            if len(self._known) > _MOST:
                oldest = next(iter(self._known))
                if oldest in self._touched:
                    self.flush()
                self._known.pop(oldest)

    def _store(self, record: Record) -> None:
        values = (
            record.id,
            record.kind.value,
            json.dumps(record.parents),
            record.snapshot,
            record.description,
            record.record_type,
            record.created,
            record.last_used,
            record.usage_count,
            record.diff_id,
            record.chain_id,
            record.key,
        )
        self._db.execute(
            f"INSERT INTO refs ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (id) DO UPDATE SET "
            "kind = excluded.kind, parents = excluded.parents, snapshot = excluded.snapshot, "
            "description = excluded.description, record_type = excluded.record_type, created = excluded.created, "
            "last_used = excluded.last_used, usage_count = excluded.usage_count, "
            "diff_id = excluded.diff_id, chain_id = excluded.chain_id, key = excluded.key",
            values,
        )
        self._lent.pop(record.id, None)
        self._keep(record)
