"""Reading files of built trees for frontends: nothing outside of the tree can be reached."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from buildkit.core.errors import BuildkitError, FailedPrecondition, InvalidInput, NotFound, PermissionDenied
from buildkit.core.values import dataclass, replace
from buildkit.frontend import frontend as seam
from buildkit.frontend.frontend import FileStat
from buildkit.fs.tree import open_in_root, read_xattrs
from buildkit.solve.refs import own
from buildkit.solver.job import Job
from buildkit.store.lease import Lease
from buildkit.store.refs import Ref
from buildkit.store.store import Store
from buildkit.store.view import View

LARGEST_READ = 64 << 20
"""Bytes that one read may give."""

_GO_TYPES = {
    stat.S_IFDIR: 1 << 31,
    stat.S_IFLNK: 1 << 27,
    stat.S_IFBLK: 1 << 26,
    stat.S_IFCHR: 1 << 26 | 1 << 21,
    stat.S_IFIFO: 1 << 25,
    stat.S_IFSOCK: 1 << 24,
}
_GO_BITS = ((stat.S_ISUID, 1 << 23), (stat.S_ISGID, 1 << 22), (stat.S_ISVTX, 1 << 20))


def go_mode(mode: int) -> int:
    """``st_mode`` as Go's ``os.FileMode`` bits."""
    out = mode & 0o777 | _GO_TYPES.get(stat.S_IFMT(mode), 0)
    for bit, go in _GO_BITS:
        if mode & bit:
            out |= go
    return out


@dataclass(frozen=True, slots=True, eq=False)
class Reader:
    """`buildkit.frontend.frontend.Reading` over the store."""

    store: Store
    job: Job[Ref | None]
    lease: Lease

    async def read_file(self, ref: seam.Ref | None, path: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """A file's content or a part of it."""
        view = self.store.find_view(await self._built(ref))
        if view is not None:
            return await asyncio.to_thread(_read_view, view, path, offset, length)
        async with self._root(ref) as root:
            handle = _open(root, path, os.O_RDONLY | os.O_NONBLOCK)
            try:
                found = os.fstat(handle)
                if not stat.S_ISREG(found.st_mode):
                    raise InvalidInput(f"{path} is not a regular file")
                size = max(found.st_size - offset, 0)
                size = size if length is None else min(size, length)
                if size > LARGEST_READ:
                    raise InvalidInput(f"read {path}: {size} bytes are more than {LARGEST_READ}")
                parts = []
                while size > 0 and (part := os.pread(handle, size, offset)):
                    parts.append(part)
                    offset, size = offset + len(part), size - len(part)
                return b"".join(parts)
            finally:
                os.close(handle)

    async def read_dir(self, ref: seam.Ref | None, path: str, *, pattern: str = "") -> Sequence[FileStat]:
        """The entries of a directory whose names match."""
        async with self._root(ref) as root:
            handle = _open(root, path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                with os.scandir(handle) as entries:
                    names = sorted(entry.name for entry in entries)
                found = [_stat_entry(handle, name) for name in names]
                return _selected(found, pattern) if pattern else found
            finally:
                os.close(handle)

    async def stat_file(self, ref: seam.Ref | None, path: str) -> FileStat:
        """One file, links followed."""
        async with self._root(ref) as root:
            handle = _open(root, path, os.O_PATH, "lstat")
            try:
                place = Path(f"/proc/self/fd/{handle}")
                shown = "/" if os.path.samestat(os.fstat(handle), os.fstat(root)) else place.readlink().name
                return _stat(os.fstat(handle), shown, str(place))
            finally:
                os.close(handle)

    async def _built(self, ref: seam.Ref | None) -> Ref | None:
        return None if ref is None else await own(ref).evaluate(self.job)

    @asynccontextmanager
    async def _root(self, ref: seam.Ref | None) -> AsyncIterator[int]:
        async with self.store.mounted(await self._built(ref), self.lease) as path:
            root = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                yield root
            finally:
                os.close(root)


def _read_view(view: View, path: str, offset: int, length: int | None) -> bytes:
    """A part of a file of a local directory, read where it lies."""
    end = LARGEST_READ + 1 if length is None else offset + length
    if end - offset > LARGEST_READ + 1:
        raise InvalidInput(f"read {path}: {end - offset} bytes are more than {LARGEST_READ}")
    try:
        content = view.read(path.rstrip("/"), end)[offset:]
    except NotFound:
        raise NotFound(f"open {path}: no such file or directory") from None
    if len(content) > LARGEST_READ:
        raise InvalidInput(f"read {path}: more than {LARGEST_READ} bytes")
    return content


def _open(root: int, path: str, flags: int, action: str = "open") -> int:
    try:
        return open_in_root(root, path.rstrip("/") or "/", flags | os.O_CLOEXEC)
    except OSError as error:
        raise _explain(error, action, path) from None


def _explain(error: OSError, action: str, path: str) -> BuildkitError:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return NotFound(f"{action} {path}: {os.strerror(error.errno or 0).lower()}")
    if isinstance(error, PermissionError):
        return PermissionDenied(f"{action} {path}: permission denied")
    return FailedPrecondition(f"{action} {path}: {(error.strerror or str(error)).lower()}")


def _selected(entries: Sequence[FileStat], pattern: str) -> list[FileStat]:
    """The entries that an include pattern names, and directories below which it may name something."""
    from buildkit.fs.selection import Selection

    selection = Selection([pattern], ())
    judged = [(one, selection.judge(one.path, one.mode & _GO_TYPES[stat.S_IFDIR] != 0, ((), ()))) for one in entries]
    return [one for one, (wanted, enter, _) in judged if wanted or enter]


def _stat_entry(folder: int, name: str) -> FileStat:
    found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if stat.S_ISLNK(found.st_mode):
        return replace(_stat(found, name, None), link_target=os.readlink(name, dir_fd=folder))
    return _stat(found, name, f"/proc/self/fd/{folder}/{name}")


def _stat(found: os.stat_result, shown: str, place: str | None) -> FileStat:
    """``place`` is a path that leads to the file itself, for its extended attributes."""
    device = stat.S_ISCHR(found.st_mode) or stat.S_ISBLK(found.st_mode)
    return FileStat(
        path=shown,
        mode=go_mode(found.st_mode),
        uid=found.st_uid,
        gid=found.st_gid,
        size=found.st_size if stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode) else 0,
        modified=found.st_mtime_ns,
        device_major=os.major(found.st_rdev) if device else 0,
        device_minor=os.minor(found.st_rdev) if device else 0,
        xattrs={} if place is None else read_xattrs(place, follow=True),
    )
