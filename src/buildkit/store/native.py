"""Snapshots as plain copies: slow, needs nothing of the kernel, and says what the overlay one must do."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from buildkit.core.db import Database
from buildkit.core.errors import Exhausted, Internal
from buildkit.fs.mount import Mount, bind
from buildkit.store.farm import apply_part
from buildkit.store.shelf import Row, Shelf, measure
from buildkit.store.snapshot import Kind, Part, Snapshot, Space


class NativeSnapshotter:
    """`buildkit.store.snapshot.Snapshotter` by copying."""

    name = "native"

    def __init__(self, root: Path, db: Database) -> None:
        self._shelf = Shelf(root, db, self.name)

    def prepare(self, key: str, parent: str = "") -> None:
        """Make an active snapshot that starts as ``parent``."""
        row = self._shelf.committed(parent) if parent else None
        directory = self._shelf.reserve()
        try:
            changes = _empty_tree(directory)
            if row is not None:
                _copy_tree(self._tree(row), changes)
        except BaseException:
            self._shelf.discard(directory)
            raise
        self._shelf.add(key, Kind.ACTIVE, parent, directory)

    def view(self, key: str, parent: str = "") -> None:
        """Make a read-only snapshot of ``parent``."""
        if parent:
            self._shelf.committed(parent)
        directory = self._shelf.reserve()
        _empty_tree(directory)
        self._shelf.add(key, Kind.VIEW, parent, directory)

    def commit(self, name: str, key: str) -> None:
        """Freeze the active snapshot ``key`` under ``name``."""
        self._shelf.commit(name, key)

    def compose(self, name: str, parts: Sequence[Part]) -> None:
        """Apply the parts to an empty tree, linking files of the parts' own trees."""
        trees = [(self._part_tree(part.lower), self._part_tree(part.upper)) for part in parts]
        directory = self._shelf.reserve()
        try:
            target = _empty_tree(directory)
            for lower, upper in trees:
                apply_part(lower, upper, target)
            space = measure(target)
        except BaseException:
            self._shelf.discard(directory)
            raise
        self._shelf.add(name, Kind.COMMITTED, "", directory, space=space)

    def _part_tree(self, name: str) -> Path:
        if name:
            return self._tree(self._shelf.committed(name))
        empty = self._shelf.root / "empty"
        empty.mkdir(exist_ok=True)
        return empty

    def _tree(self, row: Row) -> Path:
        return self._shelf.directory(row) / "fs"

    def mounts(self, key: str) -> list[Mount]:
        """Read-write for an active snapshot, read-only for the others."""
        row = self._shelf.get(key)
        source = self._shelf.get(row.parent) if row.kind is Kind.VIEW and row.parent else row
        return [bind(str(self._tree(source)), readonly=row.kind is not Kind.ACTIVE, recursive=False)]

    def upper(self, name: str) -> Path | None:
        """None: changes are found by comparing trees."""
        self._shelf.get(name)
        return None

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
        """The space of the whole copy."""
        row = self._shelf.get(name)
        if row.space is not None:
            return row.space
        space = measure(self._tree(row))
        if row.kind is Kind.COMMITTED:
            self._shelf.measured(row, space)
        return space

    def walk(self) -> Iterator[Snapshot]:
        """All of them, oldest first."""
        return (row.snapshot for row in self._shelf.walk())

    def recover(self) -> None:
        """Remove what a killed process left half made."""
        self._shelf.recover()


def _empty_tree(directory: Path) -> Path:
    tree = directory / "fs"
    tree.mkdir()
    tree.chmod(0o755)
    return tree


def _copy_tree(source: Path, target: Path) -> None:
    command = ["cp", "-a", "--reflink=auto", "--", f"{source}/.", str(target)]
    done = subprocess.run(command, capture_output=True, check=False, env={**os.environ, "LC_ALL": "C"})
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        kind = Exhausted if shutil.disk_usage(target).free < 1 << 20 else Internal
        raise kind(f"cannot copy snapshot {source}: {said[-1] if said else done.returncode}")
