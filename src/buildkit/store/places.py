"""Places where trees are mounted for this process: directories that are used again, since making them costs more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from buildkit.core.identity import new_id
from buildkit.fs.mount import Mount, bind, mount_all, mounts_below, unmount


class Places:
    """Mount points below ``<root>/mounts``."""

    def __init__(self, root: Path) -> None:
        self._root = root / "mounts"
        self._empty = root / "empty"
        self._free: list[Path] = []

    def empty(self) -> list[Mount]:
        """Read-only mounts of the empty tree."""
        self._empty.mkdir(parents=True, exist_ok=True)
        return [bind(str(self._empty), readonly=True, recursive=False)]

    @contextmanager
    def mounted(self, mounts: Sequence[Mount]) -> Iterator[Path]:
        """A path where the tree is for the scope. A plain bind is used where it lies, and is not guarded by ``ro``."""
        if len(mounts) == 1 and mounts[0].type == "bind":
            yield Path(mounts[0].source)
            return
        place = self._mount(mounts)
        try:
            yield place
        finally:
            self._unmount(place)

    @asynccontextmanager
    async def mounted_meanwhile(self, mounts: Sequence[Mount]) -> AsyncIterator[Path]:
        """The same without holding up the event loop."""
        if len(mounts) == 1 and mounts[0].type == "bind":
            yield Path(mounts[0].source)
            return
        place = await asyncio.to_thread(self._mount, mounts)
        try:
            yield place
        finally:
            await asyncio.to_thread(self._unmount, place)

    def _mount(self, mounts: Sequence[Mount]) -> Path:
        try:
            place = self._free.pop()
        except IndexError:
            place = self._root / new_id()
            place.mkdir(parents=True)
        try:
            mount_all(mounts, str(place))
        except BaseException:
            self._free.append(place)
            raise
        return place

    def _unmount(self, place: Path) -> None:
        unmount(str(place))
        self._free.append(place)

    def close(self) -> None:
        """Remove the places that nobody uses."""
        while self._free:
            self._free.pop().rmdir()

    def recover(self) -> None:
        """After a kill: unmount and remove what is left.

        The state folder and its parts may be mounts of their own, which stay.
        """
        for folder in (self._root, *self._root.parent.glob("snapshots/*")):
            for path in mounts_below(str(folder)):
                if path != str(folder.resolve()):
                    unmount(path)
        if not self._root.is_dir():
            return
        for place in self._root.iterdir():
            place.rmdir()
