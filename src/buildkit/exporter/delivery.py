"""Writing a tree into a directory of this machine, so that nothing in either can lead the writing elsewhere.

Files appear whole, by rename. What stands in the way (a file where a directory is to be, a link where a file is)
is replaced, never followed.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from buildkit.core.errors import FailedPrecondition, InvalidInput
from buildkit.core.identity import new_id
from buildkit.core.values import dataclass, field
from buildkit.fs.contents import rename, unlink
from buildkit.fs.removal import remove
from buildkit.fs.tree import Entry, open_beneath, set_mode, walk

_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OWNER_ONLY = 0o700
_BLOCK = 1 << 30


@dataclass(slots=True)
class _Open:
    """A directory being filled: its descriptor, the entry it comes from, the names that belong there."""

    path: str
    fd: int
    entry: Entry | None
    names: set[str] = field(default_factory=set[str])


class Delivery:
    """One tree on its way into ``target``.

    ``mtime`` (nanoseconds) replaces every time; ``seen`` is told the bytes of each file written. ``delete`` removes
    what the tree does not have; ``keep`` are names at the top that are left alone then.
    """

    def __init__(
        self,
        target: Path,
        *,
        mtime: int | None = None,
        delete: bool = False,
        keep: frozenset[str] = frozenset(),
        seen: Callable[[int], None] = lambda size: None,
    ) -> None:
        self._target = target
        self._mtime = mtime
        self._delete = delete
        self._keep = keep
        self._seen = seen
        self._owns = os.geteuid() == 0
        self._links: dict[tuple[int, int], str] = {}
        self._stack: list[_Open] = []

    def write(self, root: str) -> None:
        """Write everything below ``root``; raises `FailedPrecondition` naming the file that could not be written."""
        self._stack = [_Open("", os.open(self._target, _OPEN_DIRECTORY), None)]
        path = ""
        try:
            for entry in walk(root, xattrs=True):
                path = entry.path
                self._leave_until(path.rpartition("/")[0])
                self._put(entry)
            self._leave_until(None)
        except OSError as error:
            where = self._target / path
            raise FailedPrecondition(f"cannot write {where}: {error.strerror or error}") from error
        finally:
            for directory in self._stack:
                os.close(directory.fd)
            self._stack = []

    def _leave_until(self, parent: str | None) -> None:
        """Finish directories until the one on top is ``parent``; None finishes them all."""
        while self._stack and self._stack[-1].path != parent:
            directory = self._stack[-1]
            if self._delete:
                self._remove_strangers(directory)
            if directory.entry is not None:
                self._adorn(directory.fd, directory.entry)
            os.close(self._stack.pop().fd)

    def _remove_strangers(self, directory: _Open) -> None:
        kept = directory.names | (self._keep if not directory.path else frozenset())
        with os.scandir(directory.fd) as entries:
            strangers = [entry.name for entry in entries if entry.name not in kept]
        for name in strangers:
            remove(name, directory.fd)

    def _put(self, entry: Entry) -> None:
        directory, mode = self._stack[-1], entry.stat.st_mode
        directory.names.add(entry.name)
        if stat.S_ISDIR(mode):
            self._enter(entry, directory.fd)
        elif not stat.S_ISSOCK(mode):
            part = f".{new_id()}"
            try:
                self._make(entry, part, directory.fd)
                rename(part, entry.name, directory.fd)
            except BaseException:
                unlink(part, directory.fd)
                raise

    def _enter(self, entry: Entry, parent: int) -> None:
        try:
            os.mkdir(entry.name, _OWNER_ONLY, dir_fd=parent)
        except FileExistsError:
            if not stat.S_ISDIR(os.stat(entry.name, dir_fd=parent, follow_symlinks=False).st_mode):
                os.unlink(entry.name, dir_fd=parent)
                os.mkdir(entry.name, _OWNER_ONLY, dir_fd=parent)
        self._stack.append(_Open(entry.path, os.open(entry.name, _OPEN_DIRECTORY, dir_fd=parent), entry))

    def _make(self, entry: Entry, part: str, parent: int) -> None:
        status = entry.stat
        inode = (status.st_dev, status.st_ino)
        if status.st_nlink > 1 and inode in self._links:
            self._link(self._links[inode], part, parent)
            return
        if stat.S_ISREG(status.st_mode):
            self._copy(entry, part, parent)
        elif stat.S_ISLNK(status.st_mode):
            os.symlink(entry.link_target, part, dir_fd=parent)
            self._adorn_by_name(part, parent, entry)
        else:
            os.mknod(part, stat.S_IFMT(status.st_mode) | 0o600, status.st_rdev, dir_fd=parent)
            self._adorn_by_name(part, parent, entry)
            set_mode(part, stat.S_IMODE(status.st_mode), parent)
        if status.st_nlink > 1:
            self._links[inode] = entry.path

    def _link(self, first: str, part: str, parent: int) -> None:
        directory, _, name = first.rpartition("/")
        fd = open_beneath(self._stack[0].fd, directory or ".", _OPEN_DIRECTORY)
        try:
            os.link(name, part, src_dir_fd=fd, dst_dir_fd=parent, follow_symlinks=False)
        finally:
            os.close(fd)

    def _copy(self, entry: Entry, part: str, parent: int) -> None:
        source = entry.open()
        try:
            out = os.open(
                part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=parent
            )
            try:
                for count in copy_content(source, out):
                    self._seen(count)
                self._adorn(out, entry)
            finally:
                os.close(out)
        finally:
            os.close(source)

    def _adorn(self, fd: int, entry: Entry) -> None:
        """Owner, mode, extended attributes and time, in the order in which they do not undo each other."""
        status = entry.stat
        if self._owns:
            os.chown(fd, status.st_uid, status.st_gid)
        os.fchmod(fd, stat.S_IMODE(status.st_mode))
        for key, value in entry.xattrs.items():
            try:
                os.setxattr(fd, key, value)
            except OSError:
                continue  # the client's file system or user may not have this kind of attribute
        mtime = status.st_mtime_ns if self._mtime is None else self._mtime
        os.utime(fd, ns=(mtime, mtime))

    def _adorn_by_name(self, name: str, parent: int, entry: Entry) -> None:
        status = entry.stat
        if self._owns:
            os.chown(name, status.st_uid, status.st_gid, dir_fd=parent, follow_symlinks=False)
        mtime = status.st_mtime_ns if self._mtime is None else self._mtime
        os.utime(name, ns=(mtime, mtime), dir_fd=parent, follow_symlinks=False)


def copy_content(source: int, out: int) -> Iterator[int]:
    """Copy a file in the kernel; gives the bytes of each step."""
    copy: Callable[[int, int, int], int] = os.copy_file_range
    while True:
        try:
            count = copy(source, out, _BLOCK)
        except OSError:
            if copy is _send:
                raise
            copy = _send
            continue
        if not count:
            return
        yield count


def _send(source: int, out: int, size: int) -> int:
    return os.sendfile(out, source, None, size)


def check_deletable(target: Path) -> None:
    """Refuse to empty a directory that is more than an output; raises `InvalidInput`."""
    place = target.resolve()
    home = Path("~").expanduser().resolve()
    if place == Path("/") or place == home or place in Path.cwd().resolve().parents or place in home.parents:
        raise InvalidInput(f"mode=delete would empty {place}; give a directory of its own")
