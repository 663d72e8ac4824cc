"""Layer tars: written byte for byte as BuildKit writes them, and applied so that no entry can leave its root."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable

from buildkit.core.errors import FailedPrecondition
from buildkit.fs.changes import CAPABILITY, Change, Kind, changes_between, changes_of_upper
from buildkit.fs.extract import apply_layer
from buildkit.fs.tarwrite import (
    BLOCK,
    CHARACTER,
    DIRECTORY,
    END,
    FIFO,
    HARD_LINK,
    REGULAR,
    SYMLINK,
    XATTR_PREFIX,
    header,
    padding,
)
from buildkit.fs.tree import Entry

__all__ = ["Change", "Kind", "apply_layer", "changes_between", "changes_of_upper", "clamp", "write_layer"]

_BLOCK = 1 << 20
"""Bytes handed to ``write`` at once: enough that hashing and compressing run without the interpreter's lock."""

_KINDS = {
    stat.S_IFREG: REGULAR,
    stat.S_IFDIR: DIRECTORY,
    stat.S_IFLNK: SYMLINK,
    stat.S_IFCHR: CHARACTER,
    stat.S_IFBLK: BLOCK,
    stat.S_IFIFO: FIFO,
}


def clamp(latest: int) -> Callable[[str, int], int]:
    """A time policy: nothing is newer than ``latest`` seconds."""
    return lambda path, seconds: min(seconds, latest)


def write_layer(
    changes: Iterable[Change], write: Callable[[bytes], object], *, mtime: Callable[[str, int], int] | None = None
) -> None:
    """Write the tar of a layer in one pass, in blocks of about 1 MiB.

    ``mtime`` turns a path and its time in seconds into the time to write (None: as it is); whiteouts always carry 0.
    A file that changes its size meanwhile raises `FailedPrecondition`.
    """
    writer = _LayerWriter(write, mtime)
    for change in changes:
        writer.add(change)
    writer.finish()


class _LayerWriter:
    def __init__(self, write: Callable[[bytes], object], mtime: Callable[[str, int], int] | None) -> None:
        self._write = write
        self._mtime = mtime
        self._parts: list[bytes] = []
        self._size = 0
        self._unwritten: dict[str, Entry] = {}  # unchanged directories, needed once something below them changed
        self._first_names: dict[tuple[int, int], str] = {}
        self._waiting: dict[tuple[int, int], list[Entry]] = {}  # unchanged names of files not yet written

    def add(self, change: Change) -> None:
        entry = change.entry
        if entry is None:
            self._add_parents(change.path)
            directory, slash, name = change.path.rpartition("/")
            self._put(header(f"{directory}{slash}.wh.{name}", REGULAR))
            return
        status = entry.stat
        kind = _KINDS.get(stat.S_IFMT(status.st_mode))
        if kind is None:
            return  # a socket
        if kind == DIRECTORY:
            if change.kind is Kind.UNCHANGED:
                self._unwritten[entry.path] = entry
                return
        elif status.st_nlink > 1:
            inode = (status.st_dev, status.st_ino)
            first = self._first_names.get(inode)
            if first is not None:
                self._add_entry(entry, HARD_LINK, first)
                return
            if change.kind is Kind.UNCHANGED:
                self._waiting.setdefault(inode, []).append(entry)
                return
            self._first_names[inode] = entry.path
            xattrs = self._add_entry(entry, kind, entry.link_target)
            for other in self._waiting.pop(inode, ()):
                self._add_parents(other.path)
                self._put(self._header(other, HARD_LINK, entry.path, xattrs))
            return
        elif change.kind is Kind.UNCHANGED:
            return
        self._add_entry(entry, kind, entry.link_target)

    def finish(self) -> None:
        self._put(END)
        self._flush()

    def _add_parents(self, path: str) -> None:
        if not self._unwritten:
            return
        end = path.find("/")
        while end >= 0:
            parent = self._unwritten.pop(path[:end], None)
            if parent is not None:
                self._put(self._header(parent, DIRECTORY, "", {}))
            end = path.find("/", end + 1)

    def _add_entry(self, entry: Entry, kind: bytes, link: str) -> dict[str, bytes]:
        self._add_parents(entry.path)
        if not stat.S_ISREG(entry.stat.st_mode):
            self._put(self._header(entry, kind, link, {}))
            return {}
        fd = entry.open()
        try:
            xattrs = {}
            if CAPABILITY in os.listxattr(fd):
                xattrs[XATTR_PREFIX + CAPABILITY] = os.getxattr(fd, CAPABILITY)
            self._put(self._header(entry, kind, link, xattrs))
            if kind == REGULAR and entry.stat.st_size:
                self._copy(fd, entry)
        finally:
            os.close(fd)
        return xattrs

    def _header(self, entry: Entry, kind: bytes, link: str, xattrs: dict[str, bytes]) -> bytes:
        status = entry.stat
        seconds = status.st_mtime_ns // 1_000_000_000
        device = stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)
        return header(
            entry.path + "/" if kind == DIRECTORY else entry.path,
            kind,
            mode=status.st_mode & 0o7777,
            uid=status.st_uid,
            gid=status.st_gid,
            size=status.st_size if kind == REGULAR else 0,
            mtime=seconds if self._mtime is None else self._mtime(entry.path, seconds),
            link=link,
            device=status.st_rdev if device else 0,
            records=xattrs,
        )

    def _copy(self, fd: int, entry: Entry) -> None:
        size = left = entry.stat.st_size
        while left:
            content = os.read(fd, min(left, _BLOCK))
            if not content:
                break
            left -= len(content)
            self._put(content)
        # a file that grew is not noticed by what was read
        if left or os.fstat(fd).st_size != size:
            raise FailedPrecondition(f"{entry.path}: changed its size while it was read")
        self._put(padding(size))

    def _put(self, part: bytes) -> None:
        self._parts.append(part)
        self._size += len(part)
        if self._size >= _BLOCK:
            self._flush()

    def _flush(self) -> None:
        if self._parts:
            self._write(b"".join(self._parts))
            self._parts.clear()
            self._size = 0
