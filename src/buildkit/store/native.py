"""Snapshots as plain copies: slow, needs nothing of the kernel, and says what the overlay one must do."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from buildkit.core.errors import Exhausted, Internal
from buildkit.fs.mount import Mount, bind
from buildkit.store.farm import apply_part
from buildkit.store.shelf import measure
from buildkit.store.shelved import Shelved
from buildkit.store.snapshot import Kind, Part


class NativeSnapshotter(Shelved):
    """`buildkit.store.snapshot.Snapshotter` by copying."""

    name = "native"

    def prepare(self, key: str, parent: str = "") -> None:
        """Make an active snapshot that starts as ``parent``."""
        row = self._shelf.committed(parent) if parent else None
        directory = self._shelf.reserve()
        try:
            changes = _empty_tree(directory)
            if row is not None:
                _copy_tree(self._own(row), changes)
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
            return self._own(self._shelf.committed(name))
        empty = self._shelf.root / "empty"
        empty.mkdir(exist_ok=True)
        return empty

    def mounts(self, key: str) -> list[Mount]:
        """Read-write for an active snapshot, read-only for the others."""
        row = self._shelf.get(key)
        source = self._shelf.get(row.parent) if row.kind is Kind.VIEW and row.parent else row
        return [bind(str(self._own(source)), readonly=row.kind is not Kind.ACTIVE, recursive=False)]

    def upper(self, name: str) -> Path | None:
        """None: changes are found by comparing trees."""
        self._shelf.get(name)
        return None


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
