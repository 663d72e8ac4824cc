"""Numbered directories with rows: the ground that both snapshotters stand on.

A directory is there before its row, and goes after it, so that after a kill every row has its directory and a
directory with no row is rubbish. Numbers keep the paths in mount options short.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from buildkit.core.db import Database
from buildkit.core.errors import AlreadyExists, Exhausted, FailedPrecondition, NotFound
from buildkit.core.values import dataclass, replace
from buildkit.store.eraser import Eraser
from buildkit.store.snapshot import Kind, Snapshot, Space

_SCHEMA = """
CREATE TABLE IF NOT EXISTS snapshots (
    shelf TEXT NOT NULL, name TEXT NOT NULL, kind TEXT NOT NULL, parent TEXT NOT NULL, created INTEGER NOT NULL,
    number INTEGER NOT NULL, size INTEGER, inodes INTEGER, stack TEXT NOT NULL DEFAULT '[]',
    PRIMARY KEY (shelf, name)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS snapshots_by_parent ON snapshots (shelf, parent);
"""
_COLUMNS = "name, kind, parent, created, number, size, inodes, stack"
_RUBBISH = "rm-"


@dataclass(frozen=True, slots=True)
class Row:
    """A snapshot and its directory. ``stack`` lists what makes up a composed one, lowest first: ``name:directory``."""

    name: str
    kind: Kind
    parent: str
    created: int
    number: int
    space: Space | None = None
    stack: tuple[str, ...] = ()

    @property
    def snapshot(self) -> Snapshot:
        """What callers of a snapshotter see."""
        return Snapshot(self.name, self.kind, self.parent, self.created)


_MOST = 256
"""Rows kept in memory."""


class Shelf:
    """The rows of one snapshotter and the directories below its root."""

    def __init__(self, root: Path, db: Database, name: str) -> None:
        self.root = root
        self._db = db
        self._name = name
        self._lock = threading.RLock()
        self._rows: dict[str, Row] = {}
        self._last: int | None = None
        self._eraser = Eraser()
        db.ensure(_SCHEMA)

    def directory(self, row: Row) -> Path:
        """The row's directory."""
        return self.root / str(row.number)

    def find(self, name: str) -> Row | None:
        """The row, or None."""
        row = self._rows.get(name)
        if row is None:
            for found in self._select("name = ?", name):
                self._keep(found)
                return found
        return row

    def get(self, name: str) -> Row:
        """The row; raises `NotFound`."""
        row = self.find(name)
        if row is None:
            raise NotFound(f"snapshot {name}: not found")
        return row

    def committed(self, name: str) -> Row:
        """The row of what can be a parent; raises `NotFound` or `FailedPrecondition`."""
        row = self.get(name)
        if row.kind is not Kind.COMMITTED:
            raise FailedPrecondition(f"snapshot {name}: not committed")
        return row

    def reserve(self) -> Path:
        """Make a new numbered directory; it is rubbish until `add` gives it a row."""
        with self._lock:
            if self._last is None:
                self.root.mkdir(parents=True, exist_ok=True)
                numbers = (path.name.removeprefix(_RUBBISH) for path in self.root.iterdir())
                self._last = max((int(number) for number in numbers if number.isdigit()), default=0)
            self._last += 1
            directory = self.root / str(self._last)
        directory.mkdir(mode=0o700)
        return directory

    def add(
        self,
        name: str,
        kind: Kind,
        parent: str,
        directory: Path,
        *,
        stack: Sequence[str] = (),
        space: Space | None = None,
    ) -> Row:
        """Give a directory its row; raises `AlreadyExists` and removes the directory when the name is taken."""
        row = Row(name, kind, parent, time.time_ns(), int(directory.name), space, tuple(stack))
        with self._lock:
            taken = self.find(name) is not None
            if not taken:
                self._store(row)
        if taken:
            self.discard(directory)
            raise AlreadyExists(f"snapshot {name}: already exists")
        return row

    def commit(self, name: str, key: str) -> Row:
        """Rename an active row and freeze it."""
        with self._lock, self._db.transaction():
            row = self.get(key)
            if row.kind is not Kind.ACTIVE:
                raise FailedPrecondition(f"snapshot {key}: not active")
            if self.find(name) is not None:
                raise AlreadyExists(f"snapshot {name}: already exists")
            self._forget(key)
            row = replace(row, name=name, kind=Kind.COMMITTED, created=time.time_ns())
            self._store(row)
        return row

    def measured(self, row: Row, space: Space) -> None:
        """Remember what a committed snapshot takes, unless the disk is full."""
        with self._lock, suppress(Exhausted):
            if self.find(row.name) is not None:
                self._store(replace(row, space=space))

    def remove(self, name: str) -> None:
        """Delete row, then directory; raises `FailedPrecondition` while others are made from it."""
        with self._lock:
            row = self.get(name)
            for child in self._select("parent = ?", name):
                raise FailedPrecondition(f"snapshot {name}: {child.name} is made from it")
            for child in self._select("stack != '[]'"):
                if child.name != name and any(entry.rpartition(":")[0] == name for entry in child.stack):
                    raise FailedPrecondition(f"snapshot {name}: {child.name} is made from it")
            with self._db.making_room():
                self._forget(name)
        self.discard(self.directory(row))

    def discard(self, directory: Path) -> None:
        """Delete a directory that has no row, in the background."""
        rubbish = self.root / (_RUBBISH + directory.name)
        try:
            directory.rename(rubbish)
        except FileNotFoundError:
            return
        self.erase(rubbish)

    def erase(self, path: Path) -> None:
        """Remove a tree in the background."""
        self._eraser.erase(path)

    def settle(self, *, wait: bool) -> bool:
        """Whether all that was deleted is gone from the disk; with ``wait`` it then is."""
        if wait:
            self._eraser.finish()
        return not self._eraser.busy

    def walk(self) -> Iterator[Row]:
        """All rows, oldest first."""
        yield from self._select("1 ORDER BY created, number")

    def recover(self) -> None:
        """After a kill: remove views, directories with no row and rows with no directory."""
        if not self.root.is_dir():
            self.root.mkdir(parents=True, exist_ok=True)
        with self._lock:
            there = {path.name for path in self.root.iterdir()}
            rows = list(self.walk())
            for row in rows:
                if str(row.number) not in there or row.kind is Kind.VIEW:
                    self._forget(row.name)
            known = {str(row.number) for row in self.walk()}
        for name in there - known:
            if name.startswith(_RUBBISH):
                self.erase(self.root / name)
            elif name.isdigit():
                self.discard(self.root / name)

    def _select(self, where: str, *values: object) -> list[Row]:
        rows = self._db.execute(f"SELECT {_COLUMNS} FROM snapshots WHERE shelf = ? AND {where}", (self._name, *values))
        return [
            Row(
                name,
                Kind(kind),
                parent,
                created,
                number,
                None if size is None else Space(size, inodes),
                tuple(json.loads(stack)),
            )
            for name, kind, parent, created, number, size, inodes, stack in rows
        ]

    def _store(self, row: Row) -> None:
        size, inodes = (row.space.size, row.space.inodes) if row.space else (None, None)
        self._db.execute(
            f"INSERT OR REPLACE INTO snapshots (shelf, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                self._name,
                row.name,
                row.kind.value,
                row.parent,
                row.created,
                row.number,
                size,
                inodes,
                json.dumps(row.stack),
            ),
        )
        self._keep(row)

    def _keep(self, row: Row) -> None:
        with self._lock:
            self._rows[row.name] = row
            if len(self._rows) > _MOST:
                self._rows.pop(next(iter(self._rows)))

    def _forget(self, name: str) -> None:
        self._db.execute("DELETE FROM snapshots WHERE shelf = ? AND name = ?", (self._name, name))
        with self._lock:
            self._rows.pop(name, None)


def measure(root: Path) -> Space:
    """Allocated bytes and inodes below ``root``, root included; a file with several links counts once."""
    size = inodes = 0
    seen: set[tuple[int, int]] = set()
    found = root.lstat()
    size, inodes = found.st_blocks * 512, 1
    waiting = [str(root)]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                found = entry.stat(follow_symlinks=False)
                if found.st_nlink > 1 and not entry.is_dir(follow_symlinks=False):
                    if (found.st_dev, found.st_ino) in seen:
                        continue
                    seen.add((found.st_dev, found.st_ino))
                size += found.st_blocks * 512
                inodes += 1
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
    return Space(size, inodes)
