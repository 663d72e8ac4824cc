"""Views: directories outside of the store, seen through patterns and read in place.

A directory is listed when it is first looked at. What is hashed, and what is copied when the view becomes a tree
of the store, is what was listed then: files that appear later are not seen, and a file that is not what was
hashed any more raises `Changed`. Unchanged means the same inode, size, mode, mtime and ctime in nanoseconds; a
file that was touched within `SETTLED` before the listing is compared by its bytes after it was copied, since the
clock of a file system may be too coarse to tell two writes apart.
"""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from buildkit.core.digest import EMPTY, Digest
from buildkit.core.errors import FailedPrecondition, Internal, NotFound
from buildkit.fs.contenthash import ContentTree, Listed, Missing, Selector
from buildkit.fs.filehash import Memory, hash_file
from buildkit.fs.tree import open_beneath, open_in_root, read_xattrs
from buildkit.store.records import Record, Records
from buildkit.store.snapshot import Snapshotter

SETTLED = 2_000_000_000
"""Nanoseconds after which an untouched file can be told from a touched one by its times."""
_OWNER = (0, 0)
_ATTEMPTS = 3
_BLOCK = 16 << 20
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
_VANISHED = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV, errno.ENXIO)
_NOT_COPIED = ("trusted.overlay.", "user.overlay.", "security.selinux")


class Changed(FailedPrecondition):
    """A file of a view is not what was hashed or listed any more."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path}: changed while it was being read; run the build again")
        self.path = path


class View:
    """A directory on the host; ``owner`` stands for all owners. Everything here may block; any thread may call it."""

    still = False
    """Whether nobody changes the directory while the view lasts. It can be mounted then, and `settle`."""

    def __init__(
        self,
        root: str,
        *,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        follow: Sequence[str] = (),
        owner: tuple[int, int] | None = _OWNER,
        memory: Memory | None = None,
    ) -> None:
        """Patterns are those of `buildkit.fs.tree.walk`; ``memory`` carries digests from one view to the next."""
        self.root = root
        self._patterns = (tuple(include), tuple(exclude), tuple(follow))
        self._owner = owner
        self._memory = memory
        self._lock = threading.RLock()
        self._tree: ContentTree | None = None
        self._since = 0

    def digest(self, selectors: Sequence[Selector]) -> Digest:
        """The content digest of parts of the view, each file read at most once; raises `NotFound`, `Changed`."""
        with self._lock:
            tree = self._open()
            try:
                return tree.digest_all(selectors)
            except Missing as error:
                from buildkit.fs.neighbours import explain_missing

                raise error.suffixed(explain_missing(self.root, error.path, self._patterns[1])) from None
            finally:
                if self._memory is not None:
                    self._memory.save()

    @property
    def owner(self) -> tuple[int, int] | None:
        """Who stands for all owners; None for those that files have."""
        return self._owner

    def listed(self, selectors: Sequence[Selector]) -> list[Listed]:
        """The files that `digest` of these selectors has seen."""
        with self._lock:
            return list(self._open().listed(selectors))

    def read(self, path: str, limit: int) -> bytes:
        """The first ``limit`` bytes of a file, links followed inside the view; raises `NotFound`, `Changed`."""
        with self._lock:
            found = self._open().find(path)
            if found is None or not stat.S_ISREG(found.status.st_mode):
                raise NotFound(f"{path}: no such file")
            with _opened(self.root) as root, os.fdopen(_open_listed(root, found.path, _READ), "rb") as file:
                return file.read(limit)

    def listing(self) -> Listing:
        """What is there, for a copy that reads the directory itself."""
        with self._lock:
            return Listing(self._open(), self._lock, self._since)

    def close(self) -> None:
        """Let go of the directory."""
        with self._lock:
            if self._tree is not None:
                self._tree.close()
                self._tree = None

    def settle(self, snapshotter: Snapshotter, records: Records, record: Record) -> None:
        """Make the directory itself the snapshot of the view's ref, if it is still."""
        raise Internal(f"{self.root}: is not still")

    async def leave(self) -> None:
        """Nobody holds the view any more."""
        if self._lock.acquire(blocking=False):
            self._lock.release()
            self.close()
        else:
            await asyncio.to_thread(self.close)

    def copy_to(self, target: str) -> None:
        """Write everything in the view into the empty directory ``target``; raises `Changed`."""
        with self._lock:
            listed = [one for one in self._open().files() if not stat.S_ISSOCK(one.status.st_mode)]
            with _opened(self.root) as source, _opened(target) as into:
                _Copy(source, into, self._since).write(listed)

    def _open(self) -> ContentTree:
        if self._tree is None:
            include, exclude, follow = self._patterns
            self._since = time.time_ns()
            try:
                self._tree = ContentTree(
                    self.root,
                    owner=self._owner,
                    root_header=EMPTY,
                    include=include,
                    exclude=exclude,
                    follow=follow,
                    memory=self._memory,
                )
            except OSError as error:
                raise FailedPrecondition(f"cannot read {self.root}: {error.strerror}") from error
        return self._tree


class _Copy:
    """Copies what was listed from one directory into another, both given as descriptors."""

    def __init__(self, source: int, target: int, since: int) -> None:
        self._source = source
        self._target = target
        self._since = since
        self._names: dict[tuple[int, int], str] = {}

    def write(self, listed: Sequence[Listed]) -> None:
        """Write everything; ``listed`` has parents before what is in them."""
        directories: list[Listed] = []
        for one in listed:
            if stat.S_ISDIR(one.status.st_mode):
                self._write_directory(one)
                directories.append(one)
            elif stat.S_ISREG(one.status.st_mode):
                self._write_file(one)
            else:
                self._write_special(one)
        for one in reversed(directories):
            os.chmod(one.path, stat.S_IMODE(one.status.st_mode), dir_fd=self._target)
            self._set_times(one)

    def _set_times(self, one: Listed) -> None:
        times = (one.status.st_atime_ns, one.status.st_mtime_ns)
        os.utime(one.path, ns=times, dir_fd=self._target, follow_symlinks=False)

    def _write_directory(self, one: Listed) -> None:
        os.mkdir(one.path, 0o700, dir_fd=self._target)
        source = _open_listed(self._source, one.path, _READ | os.O_DIRECTORY)
        try:
            if os.listxattr(source):
                target = os.open(one.path, _READ | os.O_DIRECTORY, dir_fd=self._target)
                try:
                    _set_xattrs(target, read_xattrs(source))
                finally:
                    os.close(target)
        finally:
            os.close(source)

    def _write_special(self, one: Listed) -> None:
        mode = one.status.st_mode
        if stat.S_ISLNK(mode):
            os.symlink(one.link, one.path, dir_fd=self._target)
        else:
            os.mknod(one.path, mode, one.status.st_rdev, dir_fd=self._target)
            os.chmod(one.path, stat.S_IMODE(mode), dir_fd=self._target)
        self._set_times(one)

    def _write_file(self, one: Listed) -> None:
        if one.status.st_nlink > 1:
            first = self._names.setdefault((one.status.st_dev, one.status.st_ino), one.path)
            if first is not one.path:
                os.link(first, one.path, src_dir_fd=self._target, dst_dir_fd=self._target)
                return
        for _ in range(_ATTEMPTS):
            if self._copy_once(one):
                return
        raise Changed(one.path)

    def _copy_once(self, one: Listed) -> bool:
        """Copy a file and check that it is the one that was hashed; False when it did not stand still."""
        source = _open_listed(self._source, one.path, _READ)
        try:
            before = os.fstat(source)
            if not stat.S_ISREG(before.st_mode) or (one.digest and not _may_be_same(before, one.status)):
                raise Changed(one.path)
            target = os.open(one.path, _WRITE, 0o600, dir_fd=self._target)
            try:
                _copy_bytes(source, target, one.path)
                if os.listxattr(source):
                    _set_xattrs(target, read_xattrs(source))
                if _signature(os.fstat(source)) != _signature(before):
                    return False
                os.fchmod(target, stat.S_IMODE(before.st_mode))
                os.utime(target, ns=(before.st_atime_ns, before.st_mtime_ns))
            finally:
                os.close(target)
        finally:
            os.close(source)
        if one.digest and not self._is_proven(one, before):
            copied = hash_file(one.path, self._target, one.status, "", owner=_OWNER)
            if copied != one.digest:
                raise Changed(one.path)
        return True

    def _is_proven(self, one: Listed, status: os.stat_result) -> bool:
        return _is_proven(one, status, self._since)


def _is_proven(one: Listed, status: os.stat_result, since: int) -> bool:
    """Whether its status alone tells that a file is still what it was when it was listed, at ``since``."""
    touched = max(status.st_mtime_ns, status.st_ctime_ns)
    return _signature(status) == _signature(one.status) and since - touched > SETTLED


class Listing:
    """`buildkit.fs.copy.Listing` of a view: nothing is copied that is not what was hashed."""

    owner = _OWNER

    def __init__(self, tree: ContentTree, lock: threading.RLock, since: int) -> None:
        self._tree = tree
        self._lock = lock
        self._since = since

    def _look(self, path: str) -> Listed:
        with self._lock:
            found = self._tree.look(path)
        if found is None:
            raise Changed(path)
        return found

    def has(self, path: str) -> bool:
        """Whether the path is in the view."""
        with self._lock:
            return self._tree.look(path) is not None

    def status(self, path: str) -> os.stat_result:
        """As it was listed; raises `Changed` when it was not."""
        return self._look(path).status

    def below(self, path: str) -> list[tuple[str, os.stat_result]]:
        """What a directory held, without sockets."""
        with self._lock:
            return [one for one in self._tree.below(path) if not stat.S_ISSOCK(one[1].st_mode)]

    def open(self, name: str, flags: int, dir_fd: int, path: str) -> int:
        """Open; raises `Changed` for what vanished or became a link."""
        try:
            return os.open(name, flags, dir_fd=dir_fd)
        except OSError as error:
            if error.errno in _VANISHED:
                raise Changed(path) from error
            raise

    def link(self, path: str, found: str) -> str:
        """What a link points to; raises `Changed` when that is not what was listed."""
        if found != self._look(path).link:
            raise Changed(path)
        return found

    def check(self, path: str, before: os.stat_result, source: int, target: str, target_dir: int) -> None:
        """Raises `Changed` unless the copy ``target`` is what was listed, or stood still if nobody hashed it."""
        one, after = self._look(path), os.fstat(source)
        if _signature(before) != _signature(after) or not stat.S_ISREG(after.st_mode):
            raise Changed(path)
        if one.digest and not _is_proven(one, after, self._since):
            if not _may_be_same(after, one.status):
                raise Changed(path)
            if hash_file(target, target_dir, one.status, "", owner=_OWNER) != one.digest:
                raise Changed(path)

    def check_in_place(self, path: str, source_root: int) -> None:
        """Raises `Changed` unless the file at a path is what was listed, now that it was read."""
        one = self._look(path)
        source = _open_listed(source_root, path, _READ)
        try:
            after = os.fstat(source)
        finally:
            os.close(source)
        if _is_proven(one, after, self._since):
            return
        parent, name = os.path.split(path)
        directory = _open_listed(source_root, parent or ".", _READ | os.O_DIRECTORY)
        try:
            same = _may_be_same(after, one.status)
            if one.digest and not (same and hash_file(name, directory, after, "", owner=_OWNER) == one.digest):
                raise Changed(path)
        finally:
            os.close(directory)


def read_in_root(root: str, path: str, limit: int) -> bytes:
    """The first ``limit`` bytes of a regular file as if ``root`` were ``/``; raises `NotFound`."""
    with _opened(root) as fd:
        try:
            source = open_in_root(fd, path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise NotFound(f"{path}: {os.strerror(error.errno or 0).lower()}") from error
    with os.fdopen(source, "rb") as file:
        if not stat.S_ISREG(os.fstat(source).st_mode):
            raise NotFound(f"{path}: no such file")
        return file.read(limit)


@contextmanager
def _opened(root: str) -> Iterator[int]:
    try:
        fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise FailedPrecondition(f"cannot read {root}: {error.strerror}") from error
    try:
        yield fd
    finally:
        os.close(fd)


def _open_listed(root: int, path: str, flags: int) -> int:
    """Open what was listed, and nothing that a link put in its place leads to."""
    try:
        return open_beneath(root, path, flags)
    except OSError as error:
        if error.errno in _VANISHED:
            raise Changed(path) from error
        raise FailedPrecondition(f"cannot read {path}: {error.strerror}") from error


def _signature(status: os.stat_result) -> tuple[int, ...]:
    return (
        status.st_dev,
        status.st_ino,
        status.st_mode,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


def _may_be_same(one: os.stat_result, other: os.stat_result) -> bool:
    return one.st_mode == other.st_mode and one.st_size == other.st_size


def _copy_bytes(source: int, target: int, path: str) -> None:
    try:
        while os.copy_file_range(source, target, _BLOCK):
            pass
        return
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF):
            raise OSError(error.errno, error.strerror, path) from error
    while block := os.read(source, _BLOCK):
        view = memoryview(block)
        while view:
            view = view[os.write(target, view) :]


def _set_xattrs(place: int, xattrs: dict[str, bytes]) -> None:
    for name, content in xattrs.items():
        if not name.startswith(_NOT_COPIED):
            try:
                os.setxattr(place, name, content)
            except OSError as error:
                if error.errno not in (errno.ENOTSUP, errno.EPERM):
                    raise
