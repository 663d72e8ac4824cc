"""One SQLite file for keys, records and history: WAL, synchronous=NORMAL, one connection guarded by one lock.

WAL with NORMAL never corrupts; a power cut loses at most the last commits, which a cache may lose. What must
be on disk before what: blobs and snapshots first, the rows that name them after.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from buildkit.core.errors import Corrupt, Exhausted, FailedPrecondition

if TYPE_CHECKING or "buildkit.start" not in sys.modules:
    import sqlite3
else:
    import _datetime

    from buildkit.core.lean import lean_imports

    with lean_imports(given={"datetime": vars(_datetime)}):  # the same classes: the module adds nothing to them
        import sqlite3

_RESERVED = 1 << 20
_DAMAGED = (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)
_LOGGED = 256
"""Pages that the log grows to. A process that opens it reads them all, and a command opens it for each build."""
_CACHED = -512
"""Kilobytes (negative) of pages in memory; the system has them too, and what is asked often is in dicts."""


class Database:
    """A connection that several layers share; each creates its own tables with `ensure`."""

    def __init__(self, path: Path | str) -> None:
        """Open or create. A file that is not a database is set aside as ``<path>.bak`` and a new one made.

        Raises `FailedPrecondition` or `Exhausted` when it can not be opened now; nothing is set aside then.
        """
        self.path = str(path)
        self._lock = threading.RLock()
        self._depth = 0
        self._reserve = Path(self.path + ".reserve")
        self._making_room = 0
        try:
            self._connection = self._open()
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode & 0xFF not in _DAMAGED:
                kind = Exhausted if _is_full(error) else FailedPrecondition
                raise kind(f"database {self.path}: {error}") from error
            for suffix in ("", "-wal", "-shm"):
                old = Path(self.path + suffix)
                if old.exists():
                    old.rename(self.path + ".bak" + suffix)
            self._connection = self._open()
        self._keep_reserve()

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute("PRAGMA foreign_keys=ON")
            connection.execute("PRAGMA busy_timeout=10000")
            connection.execute(f"PRAGMA wal_autocheckpoint={_LOGGED}")
            connection.execute(f"PRAGMA cache_size={_CACHED}")
        except sqlite3.DatabaseError:
            connection.close()
            raise
        return connection

    def ensure(self, schema: str) -> None:
        """Run idempotent DDL (``CREATE TABLE IF NOT EXISTS …``)."""
        with self._lock, self._told():
            self._connection.executescript(schema)

    def execute(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows."""
        with self._lock, self._told():
            try:
                return self._connection.execute(sql, values).fetchall()
            except sqlite3.OperationalError as error:
                lost = sql == "COMMIT" and not self._connection.in_transaction
                if not _is_full(error) or lost or not self._making_room or not self._give_reserve():
                    raise
                return self._connection.execute(sql, values).fetchall()

    @contextmanager
    def making_room(self) -> Iterator[None]:
        """For a scope that removes things: on a full disk it may write into a reserve, which is filled up after it."""
        with self._lock:
            self._making_room += 1
        try:
            yield
        finally:
            with self._lock:
                self._making_room -= 1
                if not self._making_room:
                    self._keep_reserve()

    def _keep_reserve(self) -> None:
        """Have room on the disk for the rows that say what was removed to make room."""
        if self.path == ":memory:" or self._reserve.exists():
            return
        try:
            fd = os.open(self._reserve, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return
        try:
            os.posix_fallocate(fd, 0, _RESERVED)
        except OSError:
            self._give_reserve()
        finally:
            os.close(fd)

    def _give_reserve(self) -> bool:
        try:
            self._reserve.unlink()
        except OSError:
            return False
        return True

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Faults of the disk in our words; those of our statements are left as they are."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.IntegrityError | sqlite3.ProgrammingError):
                raise
            if _is_full(error):
                raise Exhausted(f"database {self.path}: no space left on device") from error
            raise Corrupt(f"database {self.path}: {error}") from error

    def execute_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run one statement for each row, in one transaction."""
        with self.transaction(), self._told():
            self._connection.executemany(sql, rows)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; nests. Short and synchronous: never await inside."""
        with self._lock:
            if self._depth == 0:
                self.execute("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield
            except BaseException:
                self._depth -= 1
                self._roll_back()
                raise
            self._depth -= 1
            if self._depth == 0:
                self._commit()

    def _commit(self) -> None:
        try:
            self.execute("COMMIT")
        except BaseException:
            self._roll_back()
            raise

    def _roll_back(self) -> None:
        if self._depth == 0 and self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

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


def _is_full(error: sqlite3.DatabaseError) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL
