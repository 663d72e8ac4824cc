"""What differs between two trees, or what an overlay's upper directory says, in the order of a layer."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from enum import Enum

from buildkit.core.errors import FailedPrecondition, Unsupported
from buildkit.fs.tree import Entry, read_xattrs

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK = 1 << 18
CAPABILITY = "security.capability"


class Kind(Enum):
    """What happened to a path."""

    ADD = "add"
    MODIFY = "modify"
    DELETE = "delete"
    UNCHANGED = "unchanged"
    """A directory around changes, or one more name of a file that may have changed under another."""


class Change:
    """One path of a difference; ``entry`` is None for a deletion."""

    __slots__ = ("entry", "kind", "path")

    def __init__(self, kind: Kind, path: str, entry: Entry | None) -> None:
        self.kind = kind
        self.path = path
        self.entry = entry

    def __repr__(self) -> str:
        return f"Change({self.kind.value} {self.path})"


def changes_of_upper(upper: str, lower: str | int | None) -> Iterator[Change]:
    """The changes that an overlay's upper directory makes to a view of what is below it (None: nothing is).

    Character devices 0:0 delete; an opaque directory is compared with the one it hides. Directories moved by
    redirects raise `Unsupported`.
    """
    return _changes(lower, upper, overlay=True)


def changes_between(lower: str | int | None, upper: str | int) -> Iterator[Change]:
    """The changes that lead from one tree to the other (None: from nothing)."""
    return _changes(lower, upper, overlay=False)


class _Frame:
    """Two directories being compared; ``layered`` when what is only below stays."""

    __slots__ = ("layered", "low_fd", "names", "prefix", "up_fd", "up_names")

    def __init__(self, low_fd: int, up_fd: int, prefix: str, layered: bool) -> None:
        self.low_fd = low_fd
        self.up_fd = up_fd
        self.prefix = prefix
        self.layered = layered
        self.up_names = set(os.listdir(up_fd))
        names = list(self.up_names)
        if low_fd >= 0 and not layered:
            names = list(self.up_names.union(os.listdir(low_fd)))
        names.sort(key=os.fsencode, reverse=True)
        self.names = names

    def close(self) -> None:
        os.close(self.up_fd)
        if self.low_fd >= 0:
            os.close(self.low_fd)


def _changes(lower: str | int | None, upper: str | int, *, overlay: bool) -> Iterator[Change]:
    low_fd = -1 if lower is None else _open_root(lower)
    frames = [_Frame(low_fd, _open_root(upper), "", layered=overlay)]
    try:
        while frames:
            frame = frames[-1]
            if not frame.names:
                frame.close()
                frames.pop()
                continue
            name = frame.names.pop()
            path = frame.prefix + name
            up = _status(name, frame.up_fd) if name in frame.up_names else None
            low = _status(name, frame.low_fd) if frame.low_fd >= 0 else None
            if up is None or (overlay and stat.S_ISCHR(up.st_mode) and up.st_rdev == 0):
                if low is not None:
                    yield Change(Kind.DELETE, path, None)
                continue
            target = os.readlink(name, dir_fd=frame.up_fd) if stat.S_ISLNK(up.st_mode) else ""
            entry = Entry(path, name, up, frame.up_fd, target, {})
            kind = Kind.ADD
            if low is not None:
                kind = Kind.UNCHANGED if _same(low, frame.low_fd, entry) else Kind.MODIFY
            is_dir = stat.S_ISDIR(up.st_mode)
            if kind is not Kind.UNCHANGED or is_dir or (up.st_nlink > 1 and not frame.layered):
                yield Change(kind, path, entry)
            if is_dir:
                frames.append(_enter(frame, entry, low, overlay))
    finally:
        for frame in frames:
            frame.close()


def _enter(frame: _Frame, entry: Entry, low: os.stat_result | None, overlay: bool) -> _Frame:
    try:
        up_fd = os.open(entry.name, _DIRECTORY, dir_fd=frame.up_fd)
    except OSError as error:
        if error.errno == errno.EMFILE:
            raise FailedPrecondition(f"{entry.path}: directories are nested too deep") from error
        raise
    low_fd = -1
    try:
        layered = frame.layered
        if overlay:
            xattrs = os.listxattr(up_fd)
            if "trusted.overlay.redirect" in xattrs or "user.overlay.redirect" in xattrs:
                raise Unsupported(f"{entry.path}: overlay redirects (redirect_dir) are not supported in layers")
            layered = layered and not any(
                key in xattrs and os.getxattr(up_fd, key) == b"y"
                for key in ("trusted.overlay.opaque", "user.overlay.opaque")
            )
        if low is not None and stat.S_ISDIR(low.st_mode):
            low_fd = os.open(entry.name, _DIRECTORY, dir_fd=frame.low_fd)
        return _Frame(low_fd, up_fd, entry.path + "/", layered)
    except BaseException:
        os.close(up_fd)
        if low_fd >= 0:
            os.close(low_fd)
        raise


def _open_root(root: str | int) -> int:
    if isinstance(root, int):
        return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root)
    return os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _status(name: str, dir_fd: int) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _same(low: os.stat_result, low_fd: int, entry: Entry) -> bool:
    """Whether nothing changed; contents are read only where times were cut to seconds on both sides."""
    up = entry.stat
    if low.st_ino == up.st_ino and low.st_dev == up.st_dev:
        return True
    if (low.st_mode, low.st_uid, low.st_gid, low.st_rdev) != (up.st_mode, up.st_uid, up.st_gid, up.st_rdev):
        return False
    name = entry.name
    if stat.S_ISREG(up.st_mode) and _capability(name, low_fd) != _capability(name, entry.dir_fd):
        return False
    if stat.S_ISDIR(up.st_mode):
        return True
    if low.st_size != up.st_size or low.st_mtime_ns != up.st_mtime_ns:
        return False
    if up.st_mtime_ns % 1_000_000_000:
        return True
    if stat.S_ISLNK(up.st_mode):
        return os.readlink(name, dir_fd=low_fd) == entry.link_target
    return up.st_size == 0 or not stat.S_ISREG(up.st_mode) or _same_content(name, low_fd, entry)


def _capability(name: str, dir_fd: int) -> bytes | None:
    return read_xattrs(name, dir_fd).get(CAPABILITY)


def _same_content(name: str, low_fd: int, entry: Entry) -> bool:
    with (
        open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=low_fd), "rb", 0) as low,
        open(entry.open(), "rb", 0) as up,
    ):
        while True:
            # a regular file gives whole chunks up to its end
            chunk = up.read(_CHUNK)
            if chunk != low.read(_CHUNK):
                return False
            if not chunk:
                return True
