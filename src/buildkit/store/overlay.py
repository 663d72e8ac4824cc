"""Snapshots on overlayfs: a directory of changes for each, mounted over those of its parents.

A chain longer than `LIMIT` directories gets shortened: the lowest ones are flattened into one directory by hard
links, once for every `STEP` layers, because the kernel mounts 500 at most.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path

from buildkit.core.db import Database
from buildkit.core.errors import BuildkitError
from buildkit.fs.mount import Mount, bind, mounted, overlay_of
from buildkit.store.eraser import erase
from buildkit.store.shelf import Row, measure
from buildkit.store.shelved import Shelved
from buildkit.store.snapshot import Kind, Part

LIMIT = 400
"""Most lower directories of a mount; the kernel's own limit is 500."""
STEP = 200
"""Layers between two flattened directories of a chain."""
_TUNABLES = Path("/sys/module/overlay/parameters")


class OverlaySnapshotter(Shelved):
    """`buildkit.store.snapshot.Snapshotter` on overlayfs."""

    name = "overlayfs"

    def __init__(self, root: Path, db: Database, *, limit: int = LIMIT, step: int = STEP) -> None:
        super().__init__(root, db)
        self._limit = limit
        self._step = step
        self._flattening = threading.Lock()
        self._options: tuple[str, ...] | None = None

    def prepare(self, key: str, parent: str = "") -> None:
        """Make an active snapshot that starts as ``parent``."""
        self._make(key, Kind.ACTIVE, parent)

    def view(self, key: str, parent: str = "") -> None:
        """Make a read-only snapshot of ``parent``."""
        self._make(key, Kind.VIEW, parent)

    def _make(self, key: str, kind: Kind, parent: str) -> None:
        lowers = self._lowers(self._shelf.committed(parent)) if parent else []
        directory = self._shelf.reserve()
        changes = directory / "fs"
        changes.mkdir(mode=0o755)
        changes.chmod(0o755)
        if lowers:
            # the root of the tree is this directory: it looks like the parent's
            like = lowers[0].stat()
            os.chown(changes, like.st_uid, like.st_gid)
            changes.chmod(like.st_mode & 0o7777)
            os.utime(changes, ns=(like.st_atime_ns, like.st_mtime_ns))
        self._shelf.add(key, kind, parent, directory)

    def compose(self, name: str, parts: Sequence[Part]) -> None:
        """Stack the directories of the parts; those that would mean something else there are written anew."""
        directory = self._shelf.reserve()
        (directory / "fs").mkdir(mode=0o755)
        try:
            stack: list[str] = []
            base: str | None = ""  # the snapshot that the stack so far is equal to
            for index, part in enumerate(parts):
                on_base = part.lower == base
                found = self._reusable(part, on_base, directory / "floor")
                if found is None:
                    target = directory / f"part{index}"
                    self._write_part(part, [self._place(entry, name, directory) for entry in reversed(stack)], target)
                    found = [f"{name}:{target.name}"]
                stack += found
                base = part.upper if on_base else None
            # overlayfs takes no directory twice; where one comes again, its upper place hides the lower one
            stack = list(dict.fromkeys(reversed(stack)))[::-1]
            if not stack:
                stack = [f"{name}:fs"]
            space = measure(directory)
        except BaseException:
            self._shelf.discard(directory)
            raise
        self._shelf.add(name, Kind.COMMITTED, "", directory, stack=stack, space=space)

    def _reusable(self, part: Part, on_base: bool, place: Path) -> list[str] | None:
        """The directories that are the part's changes, lowest first, or None if there are none.

        ``place`` is for a mount: inside of the store it is found after a kill.
        """
        if not part.upper:
            return [] if not part.lower else None
        row = self._shelf.committed(part.upper)
        if row.stack:
            return list(row.stack) if on_base and not part.lower else None
        if row.parent != part.lower:
            return None
        if not on_base and part.lower:
            from buildkit.store.farm import is_portable

            place.mkdir()
            with mounted(self._tree(part.lower), str(place)) as lower:
                portable = is_portable(self._own(row), lower)
            place.rmdir()
            if not portable:
                return None
        return [f"{row.name}:fs"]

    def _place(self, entry: str, name: str, directory: Path) -> Path:
        """The directory that an entry of a stack means; ``name`` is the snapshot being made in ``directory``."""
        owner, _, inner = entry.rpartition(":")
        return (directory if owner == name else self._shelf.directory(self._shelf.get(owner))) / inner

    def _write_part(self, part: Part, below: Sequence[Path], target: Path) -> None:
        """Write the changes as a directory of overlay's form, with hard links to the files of the upper."""
        from buildkit.fs.changes import changes_between, changes_of_upper
        from buildkit.store.farm import write_upper

        row = self._shelf.committed(part.upper) if part.upper else None
        uppers = self._lowers(row) if row is not None else []
        own = uppers[0] if row is not None and not row.stack and row.parent == part.lower else None
        # mount points inside of the store are found after a kill
        places = [target.with_name(f"{target.name}-{side}") for side in ("lower", "upper")]
        for place in places:
            place.mkdir()
        lower, upper = map(str, places)
        with mounted(self._tree(part.lower), lower), mounted(self._tree(part.upper), upper):
            changes = changes_of_upper(str(own), lower) if own is not None else changes_between(lower, upper)
            write_upper(changes, places[1], uppers, below, target)
        for place in places:
            place.rmdir()

    def _tree(self, name: str) -> list[Mount]:
        if name:
            return self.mounts(name)
        empty = self._shelf.root / "empty"
        empty.mkdir(exist_ok=True)
        return [bind(str(empty), readonly=True, recursive=False)]

    def mounts(self, key: str) -> list[Mount]:
        """Read-write for an active snapshot, read-only for the others."""
        row = self._shelf.get(key)
        directory = self._shelf.directory(row)
        if row.kind is Kind.COMMITTED:
            return [overlay_of([str(lower) for lower in self._lowers(row)], extra=self._tuned())]
        lowers = [str(lower) for lower in self._lowers(self._shelf.committed(row.parent))] if row.parent else []
        if row.kind is Kind.VIEW:
            return [overlay_of(lowers or [str(directory / "fs")], extra=self._tuned())]
        if not lowers:
            return [bind(str(directory / "fs"), recursive=False)]
        (directory / "work").mkdir(mode=0o711, exist_ok=True)
        # volatile: unmounting does not sync the disk; the mark it leaves stops a second mount
        if (used := directory / "work" / "work" / "incompat").is_dir():
            erase(used)
        extra = (*self._tuned(), "volatile")
        return [overlay_of(lowers, str(directory / "fs"), str(directory / "work"), extra=extra)]

    def _tuned(self) -> tuple[str, ...]:
        """Options against a kernel's own defaults that would make the directories of changes depend on each other."""
        if self._options is None:
            found = ["index=off"] if _tunable("index") else []
            found += [f"{name}=off" for name in ("redirect_dir", "metacopy") if _tunable(name)]
            self._options = tuple(found)
        return self._options

    def upper(self, name: str) -> Path | None:
        """The directory with the snapshot's own changes; None for a composed one."""
        row = self._shelf.get(name)
        return None if row.stack else self._own(row)

    def _chain(self, row: Row) -> list[tuple[Row, str]]:
        """The directories that make up a committed tree, topmost first, each with the row it completes."""
        out: list[tuple[Row, str]] = []
        while True:
            if row.stack:
                for entry in reversed(row.stack):
                    owner, _, directory = entry.rpartition(":")
                    out.append((self._shelf.get(owner), directory))
                return out
            out.append((row, "fs"))
            if not row.parent:
                return out
            row = self._shelf.get(row.parent)

    def _lowers(self, row: Row) -> list[Path]:
        chain = self._chain(row)
        if len(chain) <= self._limit:
            return [self._shelf.directory(owner) / name for owner, name in chain]
        return self._shortened(row, chain)

    def _shortened(self, row: Row, chain: list[tuple[Row, str]]) -> list[Path]:
        directories = [self._shelf.directory(owner) / name for owner, name in chain]
        depth = (len(chain) - 1) // self._step * self._step
        above = len(chain) - depth
        # a stack of parts has no chain of its own rows, so its flattened floor lies with the row itself
        keeper = row if row.stack else chain[above][0]
        flat = self._shelf.directory(keeper) / f"flat{depth}"
        with self._flattening:
            if not flat.is_dir():
                below = self._floor(chain, directories, above, depth, row)
                from buildkit.store.farm import flatten

                flatten(below, flat)
        return [*directories[:above], flat]

    def _floor(
        self, chain: list[tuple[Row, str]], directories: list[Path], above: int, depth: int, row: Row
    ) -> list[Path]:
        """What to flatten: down to an earlier flattened directory if there is one."""
        for deeper in range(depth - self._step, 0, -self._step):
            at = len(chain) - deeper
            keeper = row if row.stack else chain[at][0]
            flat = self._shelf.directory(keeper) / f"flat{deeper}"
            if flat.is_dir():
                return [*directories[above:at], flat]
        return directories[above:]


def _tunable(name: str) -> bool:
    try:
        return (_TUNABLES / name).read_text().strip() in ("Y", "1")
    except OSError:
        return False


def works(root: Path) -> bool:
    """Whether an overlay can be mounted and written below ``root``."""
    trial = root / "overlay-trial"
    try:
        for name in ("lower", "upper", "work", "at"):
            (trial / name).mkdir(parents=True, exist_ok=True)
        (trial / "lower" / "file").touch()
        (trial / "lower" / "gone").touch()
        what = overlay_of([str(trial / "lower")], str(trial / "upper"), str(trial / "work"), extra=("volatile",))
        with mounted([what], str(trial / "at")) as at:
            Path(at, "file").write_text("written")
            Path(at, "gone").unlink()
        return (trial / "upper" / "file").exists()
    except (BuildkitError, OSError):
        return False
    finally:
        erase(trial)
