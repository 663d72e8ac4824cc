"""Opening and walking below a directory so that no symbolic link can lead out of it.

A walk is depth first with names sorted bytewise in each directory, which is the order of whole paths when ``/`` sorts
lowest: parents stand right before what is in them.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence

from buildkit.core.errors import FailedPrecondition
from buildkit.fs import syscalls
from buildkit.fs.patterns import State
from buildkit.fs.selection import Selection, follow_paths

_RESOLVE_NO_MAGICLINKS, _RESOLVE_NO_SYMLINKS, _RESOLVE_BENEATH, _RESOLVE_IN_ROOT = 2, 4, 8, 16
_MOST_LINKS = 255
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_OPEN = 64
"""Directories above the one being walked whose descriptors stay open."""

_STEP = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


class Entry:
    """One file of a tree. ``dir_fd`` is open only until the walk goes on."""

    __slots__ = ("dir_fd", "link_target", "name", "path", "stat", "xattrs")

    def __init__(
        self, path: str, name: str, status: os.stat_result, dir_fd: int, link_target: str, xattrs: dict[str, bytes]
    ) -> None:
        self.path = path
        """Relative to the root, without a leading slash; undecodable bytes as surrogates."""
        self.name = name
        self.stat = status
        self.dir_fd = dir_fd
        self.link_target = link_target
        """Where a symbolic link points, otherwise empty."""
        self.xattrs = xattrs

    @property
    def is_dir(self) -> bool:
        """Whether it is a directory."""
        return stat.S_ISDIR(self.stat.st_mode)

    @property
    def is_regular(self) -> bool:
        """Whether it is a regular file."""
        return stat.S_ISREG(self.stat.st_mode)

    def open(self) -> int:
        """A reading descriptor of a regular file, never of what a link points to."""
        return os.open(self.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self.dir_fd)


def walk(
    root: str | int,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    follow: Sequence[str] = (),
    xattrs: bool = False,
) -> Iterator[Entry]:
    """Everything below ``root`` (a path or a directory descriptor), sorted, without the root itself.

    Patterns are those of `buildkit.fs.patterns`; ``follow`` names paths whose links are followed and whose targets
    are included too. The directories above what was selected come along. What vanishes meanwhile is left out.
    """
    root_fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) if isinstance(root, str) else os.dup(root)
    try:
        if follow:
            found = follow_paths(follow, _reader(root_fd))
            if found is not None:
                include = merge_paths([*include, *found])
        selection = Selection(include, exclude) if include or exclude else None
        yield from _walk_all(root_fd, xattrs) if selection is None else _walk_selected(root_fd, selection, xattrs)
    finally:
        os.close(root_fd)


def open_in_root(root_fd: int, path: str, flags: int, mode: int = 0) -> int:
    """Open ``path`` as if ``root_fd`` were ``/``: links are followed, absolute ones and ``..`` stay inside.

    Raises `OSError` as open(2) does.
    """
    relative = path.lstrip("/") or "."
    while True:
        try:
            return syscalls.openat2(root_fd, relative, flags, mode, _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS)
        except OSError as error:
            if error.errno == errno.EAGAIN:
                continue
            if error.errno not in (errno.ENOSYS, errno.EPERM):
                raise
        break
    parts = resolve_parts(root_fd, relative, follow_last=not flags & os.O_NOFOLLOW)
    return open_beneath(root_fd, "/".join(parts) or ".", flags, mode)


def open_beneath(root_fd: int, path: str, flags: int, mode: int = 0) -> int:
    """Open a relative path that must hold neither links nor ``..``; raises `OSError` (ELOOP, EXDEV) if it does."""
    directory, name = os.path.split(path)
    if ".." in path.split("/"):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), path)
    if not directory and name:
        return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=root_fd)
    if directory.count("/") > 1:
        try:
            return syscalls.openat2(root_fd, path, flags, mode, _RESOLVE_BENEATH | _RESOLVE_NO_SYMLINKS)
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.EPERM, errno.ENAMETOOLONG):
                raise
    parent = os.dup(root_fd)
    try:
        for part in filter(None, directory.split("/")):
            child = os.open(part, _STEP | os.O_DIRECTORY, dir_fd=parent)
            os.close(parent)
            parent = child
        return os.open(name or ".", flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=parent)
    finally:
        os.close(parent)


def resolve_in_root(root: str, path: str, *, follow_last: bool = True) -> str:
    """The place that ``path`` names when ``root`` is ``/``, as a path that starts with ``root``.

    Missing parts are taken as they are. The tree must not change between this and the use of the answer; where it
    may, use `open_in_root`.
    """

    def read(parts: Sequence[str]) -> str | None:
        try:
            return os.readlink("/".join((root, *parts)))
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOENT, errno.ENOTDIR):
                return None
            raise

    return "/".join((root.rstrip("/"), *_resolve(path, read, follow_last=follow_last))) or "/"


def resolve_parts(root_fd: int, path: str, *, follow_last: bool = True) -> list[str]:
    """As `resolve_in_root` for a descriptor: the names that lead to the place without links; missing ones as given."""
    return _resolve(path, lambda parts: _read_link(root_fd, parts), follow_last=follow_last)


def merge_paths(patterns: Sequence[str]) -> list[str]:
    """Drop patterns that lie below the one kept before them; a ``.`` among them means no filter at all."""
    kept: list[str] = []
    last = ""
    for pattern in patterns:
        if pattern == ".":
            return []
        if not pattern.startswith(last + "/"):
            kept.append(pattern)
            last = pattern
    return kept


def _resolve(path: str, read: Callable[[Sequence[str]], str | None], *, follow_last: bool) -> list[str]:
    todo = path.split("/")[::-1]
    done: list[str] = []
    links = 0
    while todo:
        part = todo.pop()
        if part in ("", "."):
            continue
        if part == "..":
            del done[-1:]
            continue
        done.append(part)
        if not follow_last and not any(todo):
            break
        target = read(done)
        if target is not None:
            links += 1
            if links > _MOST_LINKS:
                raise FailedPrecondition(f"{path}: too many links")
            done = [] if target.startswith("/") else done[:-1]
            todo += target.split("/")[::-1]
    return done


def _read_link(root_fd: int, parts: Sequence[str]) -> str | None:
    try:
        fd = open_beneath(root_fd, "/".join(parts[:-1]) or ".", os.O_PATH | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        return os.readlink(parts[-1], dir_fd=fd)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOENT):
            return None
        raise
    finally:
        os.close(fd)


def _reader(root_fd: int) -> Callable[[str], str | list[str] | None]:
    """For `follow_paths`: a link's target, a directory's names, or None."""

    def read(path: str) -> str | list[str] | None:
        parts = [part for part in path.split("/") if part not in ("", ".")]
        target = _read_link(root_fd, parts) if parts else None
        if target is not None:
            return target
        try:
            fd = open_beneath(root_fd, "/".join(parts) or ".", os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            return None
        try:
            return sorted(os.listdir(fd), key=os.fsencode)
        finally:
            os.close(fd)

    return read


def read_xattrs(path: str | int, dir_fd: int = -1, *, follow: bool = False) -> dict[str, bytes]:
    """Extended attributes of a file, of a link's target only if ``follow``; none where the file system has none."""
    place = path if isinstance(path, int) or dir_fd < 0 else f"/proc/self/fd/{dir_fd}/{path}"
    follow = follow or isinstance(place, int)
    try:
        names = os.listxattr(place, follow_symlinks=follow)
        return {name: os.getxattr(place, name, follow_symlinks=follow) for name in names}
    except OSError as error:
        if error.errno in (errno.ENOTSUP, errno.ENODATA, errno.ENOENT, errno.EACCES, errno.EPERM):
            return {}
        raise


def set_mode(name: str, bits: int, dir_fd: int) -> None:
    """chmod(2) of a file, device or named pipe by name; raises `OSError` for a link instead of following it."""
    fd = os.open(name, _STEP, dir_fd=dir_fd)
    try:
        os.chmod(f"/proc/self/fd/{fd}", bits)
    finally:
        os.close(fd)


def _sorted_names(fd: int) -> list[os.DirEntry[str]]:
    """Entries of a directory, last first: to be popped."""
    with os.scandir(fd) as scan:
        found = list(scan)
    if all(entry.name.isascii() for entry in found):
        found.sort(key=_name, reverse=True)
    else:
        found.sort(key=_encoded_name, reverse=True)
    return found


def _name(entry: os.DirEntry[str]) -> str:
    return entry.name


def _encoded_name(entry: os.DirEntry[str]) -> bytes:
    return os.fsencode(entry.name)


def _enter(name: str, dir_fd: int, path: str) -> int:
    """Open a directory of the walk; -1 if it is gone or no directory any more."""
    try:
        return os.open(name, _DIRECTORY, dir_fd=dir_fd)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return -1
        if error.errno == errno.EMFILE:
            raise FailedPrecondition(f"{path}: directories are nested too deep") from error
        raise OSError(error.errno, error.strerror, path) from error


def _look(scanned: os.DirEntry[str], path: str, frame: _Frame, xattrs: bool) -> Entry | None:
    name, fd = scanned.name, frame.fd
    try:
        status = frame.status(scanned)
        target = os.readlink(name, dir_fd=fd) if stat.S_ISLNK(status.st_mode) else ""
        return Entry(path, name, status, fd, target, read_xattrs(name, fd) if xattrs else {})
    except FileNotFoundError:
        return None


class _Frame:
    """A directory of a walk. ``fd`` is -1 while it is closed because the walk is far below."""

    __slots__ = ("again", "fd", "names", "prefix", "states", "waiting")

    def __init__(
        self, fd: int, prefix: str, states: tuple[State, State] = ((), ()), waiting: Entry | None = None
    ) -> None:
        self.fd = fd
        self.names = _sorted_names(fd)
        self.prefix = prefix
        self.states = states
        self.waiting = waiting
        """Its own entry while nothing in it has been selected."""
        self.again = False
        """Whether it was closed and opened again: its entries know a descriptor that is something else by now."""

    def status(self, scanned: os.DirEntry[str]) -> os.stat_result:
        """Of an entry, not following links."""
        if self.again:
            return os.stat(scanned.name, dir_fd=self.fd, follow_symlinks=False)
        return scanned.stat(follow_symlinks=False)

    def is_dir(self, scanned: os.DirEntry[str]) -> bool:
        """Whether an entry is a directory."""
        return stat.S_ISDIR(self.status(scanned).st_mode) if self.again else scanned.is_dir(follow_symlinks=False)


class _Frames:
    """The directories from the root to where a walk is."""

    def __init__(self, root_fd: int) -> None:
        self._root_fd = root_fd
        self.all = [_Frame(root_fd, "")]

    def push(self, frame: _Frame) -> None:
        """Go down."""
        self.all.append(frame)
        if len(self.all) > _MOST_OPEN + 1:
            far = self.all[-1 - _MOST_OPEN]
            os.close(far.fd)
            far.fd = -1

    def top(self) -> _Frame | None:
        """Where the walk goes on, after going up from what is done; None at its end."""
        while self.all:
            frame = self.all[-1]
            if frame.names and (frame.fd >= 0 or self._reopen(frame)):
                return frame
            self.all.pop()
            if self.all and frame.fd >= 0:
                os.close(frame.fd)
        return None

    def _reopen(self, frame: _Frame) -> bool:
        try:
            frame.fd = open_beneath(self._root_fd, frame.prefix[:-1], _DIRECTORY)
            frame.again = True
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise
        return frame.fd >= 0

    def close(self) -> None:
        """Close everything but the root."""
        for frame in self.all[1:]:
            if frame.fd >= 0:
                os.close(frame.fd)


def _walk_all(root_fd: int, xattrs: bool) -> Iterator[Entry]:
    frames = _Frames(root_fd)
    try:
        while (frame := frames.top()) is not None:
            scanned = frame.names.pop()
            path = frame.prefix + scanned.name
            entry = _look(scanned, path, frame, xattrs)
            if entry is None:
                continue
            yield entry
            if entry.is_dir:
                child = _enter(entry.name, frame.fd, path)
                if child >= 0:
                    frames.push(_Frame(child, path + "/"))
    finally:
        frames.close()


def _walk_selected(root_fd: int, selection: Selection, xattrs: bool) -> Iterator[Entry]:
    frames = _Frames(root_fd)
    try:
        while (frame := frames.top()) is not None:
            scanned = frame.names.pop()
            path = frame.prefix + scanned.name
            try:
                is_dir = frame.is_dir(scanned)
            except FileNotFoundError:
                continue
            wanted, enter, below = selection.judge(path, is_dir, frame.states)
            if not wanted and not enter:
                continue
            entry = _look(scanned, path, frame, xattrs)
            if entry is None:
                continue
            if wanted:
                for above in frames.all:
                    if above.waiting is not None:
                        waiting, above.waiting = above.waiting, None
                        yield waiting
                yield entry
            if enter and entry.is_dir:
                child = -1
                try:
                    child = _enter(entry.name, frame.fd, path)
                except PermissionError:
                    if wanted:
                        raise
                if child >= 0:
                    frames.push(_Frame(child, path + "/", below, None if wanted else entry))
    finally:
        frames.close()
