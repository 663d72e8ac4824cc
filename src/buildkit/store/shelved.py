"""What every snapshotter does with its shelf alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from buildkit.core.db import Database
from buildkit.store.shelf import Row, Shelf, measure
from buildkit.store.snapshot import Kind, Snapshot, Space


class Shelved:
    """Snapshots on a shelf, each with what it has beyond its parent in a directory ``fs``."""

    name: str
    """Of the snapshotter, as users choose it."""

    def __init__(self, root: Path, db: Database) -> None:
        self._shelf = Shelf(root, db, self.name)

    def commit(self, name: str, key: str) -> None:
        """Freeze the active snapshot ``key`` under ``name``."""
        self._shelf.commit(name, key)

    def remove(self, name: str) -> None:
        """Delete it."""
        self._shelf.remove(name)

    def settle(self, *, wait: bool) -> bool:
        """Whether all that was deleted is gone from the disk."""
        return self._shelf.settle(wait=wait)

    def find(self, name: str) -> Snapshot | None:
        """The row, or None."""
        row = self._shelf.find(name)
        return row.snapshot if row is not None else None

    def stat(self, name: str) -> Snapshot:
        """The row."""
        return self._shelf.get(name).snapshot

    def usage(self, name: str) -> Space:
        """The space of the snapshot's own files."""
        row = self._shelf.get(name)
        if row.space is not None:
            return row.space
        space = measure(self._own(row))
        if row.kind is Kind.COMMITTED:
            self._shelf.measured(row, space)
        return space

    def walk(self) -> Iterator[Snapshot]:
        """All of them, oldest first."""
        return (row.snapshot for row in self._shelf.walk())

    def recover(self) -> None:
        """Remove what a killed process left half made."""
        self._shelf.recover()

    def _own(self, row: Row) -> Path:
        return self._shelf.directory(row) / "fs"
