"""One SQLite file for keys, records and history: WAL, synchronous=NORMAL, one connection guarded by one lock.

WAL with NORMAL never corrupts; a power cut loses at most the last commits, which a cache may lose. What must
be on disk before what: blobs and snapshots first, the rows that name them after.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from buildkit.core.errors import Corrupt


class Database:
    """A connection that several layers share; each creates its own tables with `ensure`."""

    def __init__(self, path: Path | str) -> None:
        """Open or create. A file that is not a database is set aside as ``<path>.bak`` and a new one made."""
        self.path = str(path)
        self._lock = threading.RLock()
        self._depth = 0
        try:
            self._connection = self._open()
        except sqlite3.DatabaseError:
            if self.path == ":memory:":
                raise
            for suffix in ("", "-wal", "-shm"):
                old = Path(self.path + suffix)
                if old.exists():
                    old.rename(self.path + ".bak" + suffix)
            self._connection = self._open()

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute("PRAGMA foreign_keys=ON")
            connection.execute("PRAGMA busy_timeout=10000")
        except sqlite3.DatabaseError:
            connection.close()
            raise
        return connection

    def ensure(self, schema: str) -> None:
        """Run idempotent DDL (``CREATE TABLE IF NOT EXISTS …``)."""
        with self._lock:
            self._connection.executescript(schema)

    def execute(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows."""
        with self._lock:
            try:
                return self._connection.execute(sql, values).fetchall()
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.IntegrityError | sqlite3.ProgrammingError):
                    raise
                raise Corrupt(f"database {self.path}: {error}") from error

    def execute_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run one statement for each row, in one transaction."""
        with self.transaction():
            self._connection.executemany(sql, rows)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; nests. Short and synchronous: never await inside."""
        with self._lock:
            if self._depth == 0:
                self._connection.execute("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield
            except BaseException:
                self._depth -= 1
                if self._depth == 0:
                    self._connection.execute("ROLLBACK")
                raise
            self._depth -= 1
            if self._depth == 0:
                self._connection.execute("COMMIT")

    def close(self) -> None:
        """Checkpoint and close."""
        with self._lock:
            self._connection.close()

    def leave(self) -> None:
        """End with the process: no checkpoint, whose fsync costs tens of milliseconds; the log waits for the next one.

        The connection is kept open until the process is gone, so this is not for processes that go on.
        """
        import gc

        kept: list[object] = [self._connection]
        kept.append(kept)
        gc.freeze()
