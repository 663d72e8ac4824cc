"""Files whose content comes in pieces, several at once: they are written below a directory and dressed at the end."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from buildkit.core.digest import Digest
from buildkit.core.errors import FailedPrecondition, InvalidInput
from buildkit.core.values import dataclass
from buildkit.fs.filehash import begin_file
from buildkit.fs.packets import Stat
from buildkit.fs.removal import remove

if TYPE_CHECKING:
    from hashlib import _Hash

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
_FRESH = 0o600
_NOT_STORED = ("trusted.overlay.", "user.overlay.", "security.selinux")
_MOST_OPEN = 64
"""Files that are written at once before the oldest is closed for a while."""


@dataclass(eq=False, slots=True)
class _File:
    """A file whose content was asked for. ``place`` is where it is written, ``fd`` -1 while it is closed."""

    id: int
    stat: Stat
    place: str
    fd: int = -1
    made: bool = False
    size: int = 0
    """Bytes that have come."""
    hash: _Hash | None = None


class Contents:
    """The files that are awaited below ``root``, the descriptor of a directory that the caller keeps open.

    ``remember`` is told the digest (`buildkit.fs.filehash.hash_file`) of each file that is complete.
    """

    def __init__(self, root: int, remember: Callable[[os.stat_result, Digest], None] | None) -> None:
        self._root = root
        self._remember = remember
        self._waiting: dict[int, _File] = {}
        self._open: dict[int, _File] = {}
        self._filling: _File | None = None
        self._parts: list[bytes | memoryview] = []
        """Content of ``_filling`` that is to be written."""
        self.torn = False
        """A file was not as large as it was announced: it changed under its sender."""

    def __bool__(self) -> bool:
        """Whether any file is awaited."""
        return bool(self._waiting)

    def expect(self, id: int, found: Stat, place: str) -> None:
        """Await a file; it is written at ``place`` and gets its own path when it is complete."""
        self._waiting[id] = _File(id, found, place)

    def make_empty(self, found: Stat, place: str) -> None:
        """Make a file for which nothing will come."""
        file = _File(-1, found, place)
        self._create(file)
        self._complete(file)

    def take(self, id: int, content: bytes | memoryview) -> None:
        """A piece of a file, the empty one its end; raises `InvalidInput`, `FailedPrecondition` naming the file."""
        file = self._waiting.get(id)
        if file is None:
            raise InvalidInput(f"transfer: content came for file {id}, which was not asked for")
        if content:
            if file is not self._filling:
                self.fill()
                self._filling = file
            self._parts.append(content)
            return
        self.fill()
        try:
            if file.fd < 0:
                self._create(file)
            del self._waiting[id]
            self._open.pop(id, None)
            self._complete(file)
        except OSError as error:
            raise FailedPrecondition(f"cannot write {file.stat.path}: {error.strerror or error}") from error

    def fill(self) -> None:
        """Write what came for one file without anything between, at once; raises `FailedPrecondition`."""
        file, self._filling = self._filling, None
        if file is None:
            return
        content = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        try:
            if file.fd < 0:
                self._create(file)
                self._open[file.id] = file
                if len(self._open) > _MOST_OPEN:
                    oldest = self._open.pop(next(iter(self._open)))
                    os.close(oldest.fd)
                    oldest.fd = -1
            file.size += len(content)
            if file.hash is not None:
                file.hash.update(content)
            written = os.write(file.fd, content)
            while written < len(content):
                written += os.write(file.fd, memoryview(content)[written:])
        except OSError as error:
            raise FailedPrecondition(f"cannot write {file.stat.path}: {error.strerror or error}") from error

    def drop(self) -> None:
        """Remove the files that are not complete."""
        for file in self._waiting.values():
            if file.fd >= 0:
                os.close(file.fd)
            if file.made:
                unlink(file.place, self._root)
        self._waiting.clear()

    def _create(self, file: _File) -> None:
        file.fd = os.open(file.place, _APPEND if file.made else _CREATE, _FRESH, dir_fd=self._root)
        found = file.stat
        if self._remember is not None and not file.made and found.size and not found.xattrs:
            file.hash = begin_file(found.permissions, found.uid, found.gid, found.size)
        file.made = True

    def _complete(self, file: _File) -> None:
        found, fd = file.stat, file.fd
        self.torn = self.torn or file.size != found.size
        try:
            dress(fd, found, _FRESH)
            if self._remember is not None and file.hash is not None:
                status = os.fstat(fd)
                if status.st_size == found.size:
                    self._remember(status, f"sha256:{file.hash.hexdigest()}")
        finally:
            os.close(fd)
            file.fd = -1
        if file.place != found.path:
            rename(file.place, found.path, self._root)


def dress(fd: int, found: Stat, permissions: int | None = None) -> None:
    """Give an open file or directory of our own its attributes, owner, ``permissions`` if it lacks them, and time."""
    for name, content in found.xattrs.items():
        _set_xattr(fd, name, content)
    if (found.uid, found.gid) != (os.geteuid(), os.getegid()):
        os.fchown(fd, found.uid, found.gid)
    if found.permissions != permissions:
        os.fchmod(fd, found.permissions)
    os.utime(fd, ns=(found.mtime, found.mtime))


def rename(place: str, path: str, dir_fd: int) -> None:
    """Move within a directory over whatever is at ``path``."""
    try:
        os.rename(place, path, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
    except IsADirectoryError:
        remove(path, dir_fd)
        os.rename(place, path, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)


def unlink(name: str, dir_fd: int) -> None:
    """Remove a name of a directory, if it is there."""
    try:
        os.unlink(name, dir_fd=dir_fd)
    except FileNotFoundError:
        pass


def _set_xattr(fd: int, name: str, content: bytes) -> None:
    if name.startswith(_NOT_STORED):
        return
    try:
        os.setxattr(fd, name, content)
    except OSError as error:
        if error.errno not in (errno.ENOTSUP, errno.EPERM):
            raise
