"""Races made certain: a directory and a link out of the root change places between two system calls.

No thread and no luck: the calls of the code under test are counted, and the swap happens before the first of them,
then, in a fresh world, before the second, and so on until the code makes fewer calls.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest
from tests.kit.trees import plant

from buildkit.fs import syscalls

SECRET = "secret"
_CALLS = (
    "open stat lstat mkdir readlink symlink link unlink rmdir rename replace chmod chown utime mknod mkfifo listdir "
    "scandir getxattr setxattr listxattr copy_file_range"
).split()


class World:
    """A root ``rootfs``, a tree ``src`` to copy from, and ``outside``, which nothing may change or read."""

    def __init__(self, folder: Path, swapped: str, at: int, *, again: bool, link: str) -> None:
        self.root = plant(folder / "rootfs", "d/f", "d/sub/g", "d/etc/passwd", "etc/group", "keep")
        self.source = plant(folder / "src", "d/f", "d/sub/g", "d/link -> f", "e/h")
        self.outside = plant(folder / "outside", "f", "g", "sub/g", "etc/passwd", "etc/group", "passwd", "x")
        for path in [p for p in self.outside.rglob("*") if p.is_file()]:
            path.write_text(f"{SECRET}:x:66:66::/:\n")
        self._place = folder / swapped
        self._spare = folder / "spare"
        self._spare.symlink_to(self.outside / link)
        self._at, self._again = at, again
        self._seen = 0
        self.before = self.look()

    @property
    def over(self) -> bool:
        """Whether the code made too few calls for the swap."""
        return self._seen < self._at

    def look(self) -> dict[str, tuple[object, ...]]:
        """Everything outside: content, mode, owner and times of each file."""
        found: dict[str, tuple[object, ...]] = {}
        for path in (self.outside, *self.outside.rglob("*")):
            status = path.lstat()
            content = path.read_text() if stat.S_ISREG(status.st_mode) else ""
            named = str(path.relative_to(self.outside))
            found[named] = (content, status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, status.st_nlink)
        return found

    def inside(self) -> str:
        """The content of every file that came to be in the root, whatever stands where ``d`` was."""
        places = (self.root, self._spare) if not self._spare.is_symlink() else (self.root,)
        files = [p for place in places for p in place.rglob("*") if stat.S_ISREG(p.lstat().st_mode)]
        return "".join(path.read_text(errors="replace") for path in files)

    @contextmanager
    def armed(self) -> Iterator[None]:
        """Count calls and swap when the time has come."""
        with pytest.MonkeyPatch.context() as patch:
            real = {name: getattr(os, name) for name in _CALLS}

            def swap() -> None:
                self._seen += 1
                if self._seen == self._at or (self._again and self._seen > self._at):
                    third = self._spare.with_name("third")
                    for old, new in ((self._place, third), (self._spare, self._place), (third, self._spare)):
                        try:
                            real["rename"](old, new)
                        except FileNotFoundError:
                            pass  # removed by the code under test

            def counted(call):
                def wrapper(*args, **kwargs):
                    swap()
                    return call(*args, **kwargs)

                return wrapper

            for name, call in real.items():
                patch.setattr(os, name, counted(call))
            patch.setattr(syscalls, "openat2", counted(syscalls.openat2))
            yield


def worlds(folder: Path, swapped: str, *, again: bool, link: str = "") -> Iterator[World]:
    """One world for each moment of the code that runs while it is `World.armed`.

    ``swapped`` changes places with a link to ``link`` in the outside; where nothing is, the link comes and goes.
    """
    for at in count(1):
        world = World(folder / str(at), swapped, at, again=again, link=link)
        yield world
        if world.over:
            assert at > 1, "the code made no call that is counted"
            return
