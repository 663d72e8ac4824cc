"""The graph of keys in SQLite, with what was asked for mirrored in dicts.

One process owns the file, so the mirror is never stale: it holds, for each key that was ever asked for, all of
its rows. ``random:`` keys can never match again in another process and are kept in the mirror only.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager, nullcontext

from buildkit.core.db import Database
from buildkit.solver.digests import RANDOM_PREFIX
from buildkit.solver.keys import Backlink, KeyId, Link, MemoryKeys, Record, Written

_SCHEMA = """
CREATE TABLE IF NOT EXISTS key_link (
    parent TEXT NOT NULL, input INTEGER NOT NULL, digest TEXT NOT NULL, selector TEXT NOT NULL, key TEXT NOT NULL,
    PRIMARY KEY (parent, input, digest, selector, key)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS key_backlink ON key_link (key);
CREATE TABLE IF NOT EXISTS key_record (
    key TEXT NOT NULL, name TEXT NOT NULL, created_at INTEGER NOT NULL, PRIMARY KEY (key, name)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS key_record_name ON key_record (name);
"""

_PATIENCE = 64
"""Single queries before the whole table is tried: at 5 us each, and 0.7 us a row when many are read."""

_MIRRORED = 1_000_000
"""Keys in the mirror after which it starts anew."""
_RESTING = 500
"""Keys that stay in the mirror while nobody builds: some hundred kilobytes, read again in milliseconds."""


class DatabaseKeys:
    """A `KeyWriter` in the shared database."""

    def __init__(self, db: Database) -> None:
        self._db = db
        db.ensure(_SCHEMA)
        self._reset()

    def _reset(self) -> None:
        self._mirror = MemoryKeys()
        self._linked: set[KeyId] = set()
        """Keys whose links the mirror has."""
        self._recorded: set[KeyId] = set()
        """Keys whose records the mirror has."""
        self._all_linked = False
        self._patience = _PATIENCE

    def _load_links(self, key: KeyId) -> None:
        if len(self._linked) >= self._patience:
            self._load_all_links()
            if self._all_linked:
                return
        self._linked.add(key)
        rows = self._db.execute("SELECT input, digest, selector, key FROM key_link WHERE parent = ?", (key,))
        if rows:
            self._mirror.write([(key, Link(row[0], row[1], row[2]), row[3]) for row in rows])

    def _load_all_links(self) -> None:
        """After many single queries, try to read the whole table, for about as much time as they took."""
        self._patience *= 8
        if self._patience > _MIRRORED:
            self._reset()
        limit = self._patience * 4
        rows = self._db.execute("SELECT parent, input, digest, selector, key FROM key_link LIMIT ?", (limit,))
        if len(rows) < limit:
            self._mirror.write([(row[0], Link(row[1], row[2], row[3]), row[4]) for row in rows])
            self._all_linked = True

    def _load_records(self, key: KeyId) -> None:
        self._recorded.add(key)
        rows = self._db.execute("SELECT name, created_at FROM key_record WHERE key = ?", (key,))
        if rows:
            self._mirror.write(records=[Record(key, *row) for row in rows])

    def knows(self, key: KeyId) -> bool:
        """See `KeyStore`."""
        return bool(self.records(key)) or self._leads_on(key)

    def _leads_on(self, key: KeyId) -> bool:
        if not (self._all_linked or key in self._linked):
            self._load_links(key)
        return self._mirror.knows(key)

    def match(self, parents: Iterable[KeyId], link: Link) -> AbstractSet[KeyId]:
        """See `KeyStore`."""
        if not self._all_linked:
            parents = tuple(parents)
            for parent in parents:
                if parent not in self._linked:
                    self._load_links(parent)
        return self._mirror.match(parents, link)

    def records(self, key: KeyId) -> Collection[Record]:
        """See `KeyStore`."""
        if key not in self._recorded:
            self._load_records(key)
        return self._mirror.records(key)

    def backlinks(self, key: KeyId) -> Collection[Backlink]:
        """See `KeyStore`."""
        rows = self._db.execute("SELECT parent, input, digest, selector FROM key_link WHERE key = ?", (key,))
        return {(row[0], Link(row[1], row[2], row[3])) for row in rows} | {*self._mirror.backlinks(key)}

    def keys_of(self, name: str) -> Collection[KeyId]:
        """See `KeyStore`."""
        rows = self._db.execute("SELECT key FROM key_record WHERE name = ?", (name,))
        return {row[0] for row in rows} | {*self._mirror.keys_of(name)}

    def write(self, links: Iterable[Written] = (), records: Iterable[Record] = ()) -> None:
        """See `KeyWriter`."""
        new = [one for one in links if one[2] not in self.match((one[0],), one[1])]
        records = list(records)
        if not new and not records:
            return
        lasting = [(parent, *link, key) for parent, link, key in new if not parent.startswith(RANDOM_PREFIX)]
        recorded = [record for record in records if not record.key.startswith(RANDOM_PREFIX)]
        with self.transaction() if lasting or recorded else nullcontext():
            if lasting:
                self._db.execute_many("INSERT OR IGNORE INTO key_link VALUES (?, ?, ?, ?, ?)", lasting)
            if recorded:
                self._db.execute_many("INSERT OR REPLACE INTO key_record VALUES (?, ?, ?)", recorded)
            for record in records:
                if record.key not in self._recorded:
                    self._load_records(record.key)
            self._mirror.write(new, records)

    def forget(self, name: str) -> None:
        """See `KeyWriter`."""
        with self.transaction():
            todo = list(self.keys_of(name))
            self._db.execute("DELETE FROM key_record WHERE name = ?", (name,))
            while todo:
                key = todo.pop()
                if self._leads_somewhere(key):
                    continue
                todo += {parent for parent, _ in self.backlinks(key)}
                self._db.execute("DELETE FROM key_link WHERE key = ?", (key,))
        self._reset()  # it may know less than what a cascade needs

    def _leads_somewhere(self, key: KeyId) -> bool:
        return bool(
            self._db.execute(
                "SELECT 1 FROM key_record WHERE key = ?1 UNION SELECT 1 FROM key_link WHERE parent = ?1", (key,)
            )
        )

    def names(self) -> Collection[str]:
        """See `KeyWriter`."""
        rows = self._db.execute("SELECT DISTINCT name FROM key_record")
        return {name for (name,) in rows} | {*self._mirror.names()}

    def collect(self, exists: Callable[[str], bool], names: Collection[str] | None = None) -> int:
        """See `KeyWriter`."""
        gone = [name for name in (self.names() if names is None else names) if not exists(name)]
        if not gone:
            return 0
        with self.transaction():
            for name in gone:
                self.forget(name)
        return len(gone)

    def rest(self) -> None:
        """See `KeyWriter`."""
        if len(self._mirror) + len(self._linked) + len(self._recorded) > _RESTING:
            self._reset()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """See `KeyWriter`."""
        try:
            with self._db.transaction():
                yield
        except BaseException:
            self._reset()  # what was rolled back must not be remembered
            raise
