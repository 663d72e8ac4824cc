"""Copying parts of one root into another, by the rules of FileOp's copy; no link leads out of either root."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from buildkit.core.errors import FailedPrecondition, NotFound
from buildkit.core.values import dataclass
from buildkit.fs.modes import ModeChange, parse_mode
from buildkit.fs.patterns import State
from buildkit.fs.places import (
    Owner,
    explain,
    explained,
    make_directories,
    parent_of,
    resolve_wildcards,
    stamp_directories,
)
from buildkit.fs.removal import remove
from buildkit.fs.selection import Selection
from buildkit.fs.tarread import Readable
from buildkit.fs.transfer import copy_content, copy_xattrs, make_special
from buildkit.fs.tree import open_beneath, resolve_parts, set_mode
from buildkit.fs.unpack import unpack_file
from buildkit.fs.wildcard import clean

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_OPEN = 64
"""Directories above the one being copied whose descriptors stay open."""

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class CopyOptions:
    """How to copy. ``owner`` None and ``mode`` None keep what the source has; times in nanoseconds, None keeps."""

    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    owner: Owner | None = None
    mode: int | None = None
    mode_text: str = ""
    """Octal or symbolic; stands before ``mode``."""
    timestamp: int | None = None
    dir_contents: bool = False
    """Copy what is in a directory rather than the directory."""
    follow_links: bool = False
    create_dest_path: bool = False
    allow_wildcard: bool = False
    allow_empty_wildcard: bool = False
    replace: bool = False
    """What exists with another type at the destination is replaced."""
    unpack: Callable[[Readable], Readable] | None = None
    """Decompresses streams; given, archives are unpacked instead of copied."""
    check: Callable[[], None] = lambda: None
    """Called between files and pieces of them; what it raises ends the copy."""


class Listing(Protocol):
    """A source that may change while it is read: only what it lists is copied, and as it was listed or not at all."""

    owner: Owner

    def has(self, path: str) -> bool:
        """Whether it lists this path (relative to the source's root, links not followed)."""

    def status(self, path: str) -> os.stat_result:
        """As it was listed; raises for what is not."""

    def below(self, path: str) -> Sequence[tuple[str, os.stat_result]]:
        """Names in a directory, sorted, as they were listed."""

    def open(self, name: str, flags: int, dir_fd: int, path: str) -> int:
        """`os.open` that raises for what vanished."""

    def link(self, path: str, found: str) -> str:
        """What a link points to now; raises when it was listed as another."""

    def check(self, path: str, before: os.stat_result, source: int, target: str, target_dir: int) -> None:
        """Raises unless the copy ``target`` of the open file ``source`` holds what was listed."""

    def check_in_place(self, path: str, source_root: int) -> None:
        """Raises unless a file that was read still is what was listed."""


def copy_tree(
    source_root: int, dest_root: int, source: str, dest: str, options: CopyOptions, listing: Listing | None = None
) -> None:
    """Copy ``source`` (a path or wildcard in one root) to ``dest`` in the other; both roots are descriptors.

    ``listing`` guards a source that may change meanwhile.
    """
    where = clean("/" + source)
    if not options.create_dest_path:
        _require_parent(dest_root, dest)
    sources = [where]
    if options.allow_wildcard:
        sources = resolve_wildcards(source_root, where, follow=options.follow_links)
        if listing is not None:
            sources = [each for each in sources if each == where or listing.has(each)]
        if not sources:
            if options.allow_empty_wildcard:
                return
            raise NotFound(f"{where} not found")
    for each in sources:
        if options.unpack is not None and unpack_file(
            source_root, dest_root, each, dest, options.unpack, owner=options.owner, timestamp=options.timestamp
        ):
            if listing is not None:
                listing.check_in_place("/".join(resolve_parts(source_root, each)), source_root)
            continue
        _Copier(source_root, dest_root, options, listing).copy(each, dest)


def _require_parent(dest_root: int, dest: str) -> None:
    parts = resolve_parts(dest_root, dest)
    try:
        os.close(open_beneath(dest_root, "/".join(parts[:-1]) or ".", os.O_PATH))
    except OSError as error:
        raise NotFound(f"failed to stat {dest}: {os.strerror(error.errno or 0).lower()}") from error


class _Level:
    """A directory being copied; its target is made once something in it is wanted.

    Descriptors are -1 while they are closed: of a target that is not ``there``, and far above where the copy is.
    """

    __slots__ = ("entries", "made", "name", "path", "source_fd", "states", "status", "target_fd", "there", "wanted")

    def __init__(
        self, name: str, path: str, status: os.stat_result, wanted: bool, states: tuple[State, State], source_fd: int
    ) -> None:
        self.name = name
        self.path = path
        self.status = status
        self.wanted = wanted
        self.states = states
        self.source_fd = source_fd
        self.target_fd = -1
        self.there = False
        self.made = False
        self.entries: Iterator[tuple[str, os.stat_result]] = iter(())

    def close(self) -> None:
        """Close what is open."""
        source_fd, self.source_fd = self.source_fd, -1
        target_fd, self.target_fd = self.target_fd, -1
        if source_fd >= 0:
            os.close(source_fd)
        if target_fd >= 0:
            os.close(target_fd)


class _Copier:
    def __init__(self, source_root: int, dest_root: int, options: CopyOptions, listing: Listing | None) -> None:
        self._listing = listing
        self._prefix = ""  # where the source is, below its root
        self._source_root = source_root
        self._dest_root = dest_root
        self._options = options
        self._change: ModeChange | None = parse_mode(options.mode_text) if options.mode_text else None
        self._selection = Selection(options.include, options.exclude) if options.include or options.exclude else None
        self._own = os.geteuid(), os.getegid()
        self._links: dict[tuple[int, int], list[str]] = {}
        self._levels: list[_Level] = []
        self._target: list[str] = []  # where the source goes, below the destination's root
        self._top_fd = -1  # the directory that the target is in

    def copy(self, source: str, dest: str) -> None:
        options = self._options
        mode = 0o755 if options.mode is None else options.mode
        parts = resolve_parts(self._source_root, source, follow_last=options.follow_links)
        self._prefix = "/".join(parts)
        with explained("lstat", source):
            if self._listing is None or not self._listing.has(self._prefix):
                status = self._status(self._source_root, parts)  # raises for what never was there
            if self._listing is not None:
                status = self._listing.status(self._prefix)
        is_dir = stat.S_ISDIR(status.st_mode)
        with explained("mkdir", dest):
            ensure = dest if dest.endswith(("/", "/.")) else dest.rpartition("/")[0]
            made = self._make_parents(resolve_parts(self._dest_root, ensure), mode)
            target = resolve_parts(self._dest_root, dest)
            found = self._find_status(target)
            exists_dir = found is not None and stat.S_ISDIR(found.st_mode)
            last = source.rstrip("/").rpartition("/")[2]
            if last and ((is_dir and not options.dir_contents and found is not None) or (not is_dir and exists_dir)):
                target = [*target, last]
            whole = is_dir and options.dir_contents and found is None
            made += self._make_parents(target if whole else target[:-1], mode)
        self._target = target
        self._top_fd = open_beneath(self._dest_root, "/".join(target[:-1]) or ".", os.O_RDONLY | os.O_DIRECTORY)
        try:
            if is_dir:
                source_fd = open_beneath(self._source_root, "/".join(parts) or ".", os.O_RDONLY | os.O_DIRECTORY)
                self._copy_directory(_Level(target[-1] if target else ".", "", status, True, ((), ()), source_fd))
            else:
                with parent_of(self._source_root, parts) as (fd, name):
                    self._copy_file(fd, name, self._top_fd, target[-1], status, "", fresh=False)
        finally:
            os.close(self._top_fd)
        stamp_directories(self._dest_root, made, options.timestamp)

    def _make_parents(self, parts: list[str], mode: int) -> list[str]:
        return make_directories(self._dest_root, parts, mode, self._options.owner, self._options.timestamp)

    def _status(self, root_fd: int, parts: list[str]) -> os.stat_result:
        if not parts:
            return os.fstat(root_fd)
        with parent_of(root_fd, parts) as (fd, name):
            return os.stat(name, dir_fd=fd, follow_symlinks=False)

    def _find_status(self, parts: list[str]) -> os.stat_result | None:
        try:
            return self._status(self._dest_root, parts)
        except FileNotFoundError:
            return None

    def _copy_directory(self, top: _Level) -> None:
        """Copy a directory with what is in it. Depth costs no stack and few descriptors."""
        try:
            self._enter(top)
            while self._levels:
                level = self._levels[-1]
                self._options.check()
                self._open(level)
                entry = next(level.entries, None)
                if entry is None:
                    self._leave(level)
                else:
                    self._copy_entry(*entry, level)
        except OSError as error:
            raise explain("copy", self._shown(self._levels[-1].path if self._levels else ""), error) from error
        finally:
            for level in self._levels:
                level.close()
            self._levels.clear()

    def _enter(self, level: _Level) -> None:
        self._levels.append(level)
        if len(self._levels) > _MOST_OPEN:
            self._levels[-1 - _MOST_OPEN].close()
        if level.wanted:
            self._open_levels()
        level.entries = iter(self._below(level.source_fd, level.path))

    def _leave(self, level: _Level) -> None:
        """Dress the target, now that nothing more comes into it."""
        top = len(self._levels) == 1
        if level.there:
            if level.made or (level.wanted and not top):
                self._dress(level.target_fd, level.status, level.source_fd, fresh=level.made)
            elif top:
                os.utime(level.target_fd, ns=self._times(level.status))
            else:
                os.fchmod(level.target_fd, level.status.st_mode & 0o7777)
        level.close()
        self._levels.pop()

    def _open(self, level: _Level) -> None:
        """Open again what was closed because the copy went far below."""
        if level.source_fd < 0:
            level.source_fd = open_beneath(self._source_root, self._full(level.path) or ".", _DIRECTORY)
        if level.there and level.target_fd < 0:
            path = "/".join(part for part in (*self._target, level.path) if part)
            level.target_fd = open_beneath(self._dest_root, path or ".", _DIRECTORY)

    def _below(self, source_fd: int, path: str) -> Sequence[tuple[str, os.stat_result]]:
        if self._listing is not None:
            return self._listing.below(self._full(path))
        with os.scandir(source_fd) as scan:
            entries = sorted(scan, key=lambda entry: os.fsencode(entry.name))
        return [(entry.name, entry.stat(follow_symlinks=False)) for entry in entries]

    def _full(self, path: str) -> str:
        """A path below the source's root."""
        return f"{self._prefix}/{path}" if path and self._prefix else path or self._prefix

    def _open_source(self, name: str, flags: int, dir_fd: int, path: str) -> int:
        if self._listing is not None:
            return self._listing.open(name, flags, dir_fd, self._full(path))
        return os.open(name, flags, dir_fd=dir_fd)

    def _copy_entry(self, name: str, status: os.stat_result, level: _Level) -> None:
        path = f"{level.path}/{name}" if level.path else name
        is_dir = stat.S_ISDIR(status.st_mode)
        wanted, enter, states = True, is_dir, level.states
        if self._selection is not None:
            wanted, enter, states = self._selection.judge(path, is_dir, states)
        if is_dir:
            if enter:
                source_fd = self._open_source(name, _DIRECTORY, level.source_fd, path)
                self._enter(_Level(name, path, status, wanted, states, source_fd))
        elif wanted:
            target_dir = level.target_fd if level.there else self._open_levels()
            self._copy_file(level.source_fd, name, target_dir, name, status, path, fresh=level.made)

    def _open_levels(self) -> int:
        """Make the target directories down to the current one and return it."""
        missing = next((place for place, level in enumerate(self._levels) if not level.there), len(self._levels))
        parent = self._top_fd
        if missing:
            self._open(self._levels[missing - 1])
            parent = self._levels[missing - 1].target_fd
        for place in range(missing, len(self._levels)):
            self._make_level(self._levels[place], parent)
            parent = self._levels[place].target_fd
            if place and place < len(self._levels) - _MOST_OPEN:
                self._levels[place - 1].close()
        return parent

    def _make_level(self, level: _Level, parent: int) -> None:
        name = level.name
        if name != ".":
            found = self._look(name, parent)
            if found is not None and not stat.S_ISDIR(found.st_mode):
                if not self._options.replace:
                    raise FailedPrecondition(f"cannot copy to non-directory: {self._shown(level.path)}")
                remove(name, parent)
                found = None
            if found is None:
                os.mkdir(name, 0o700, dir_fd=parent)
                level.made = True
        level.target_fd = os.open(name, _DIRECTORY, dir_fd=parent)
        level.there = True

    def _look(self, name: str, dir_fd: int) -> os.stat_result | None:
        try:
            return os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def _shown(self, path: str) -> str:
        return "/" + "/".join(part for part in (*self._target, path) if part)

    def _copy_file(
        self,
        source_dir: int,
        name: str,
        target_dir: int,
        target_name: str,
        status: os.stat_result,
        path: str,
        *,
        fresh: bool,
    ) -> None:
        """Copy anything but a directory; in a ``fresh`` directory nothing stands in the way."""
        try:
            if not fresh:
                found = self._look(target_name, target_dir)
                if found is not None:
                    if stat.S_ISDIR(found.st_mode) and not self._options.replace:
                        raise FailedPrecondition(f"cannot replace to directory {self._shown(path)} with file")
                    remove(target_name, target_dir)
            if not stat.S_ISREG(status.st_mode):
                self._copy_special(source_dir, name, target_dir, target_name, status, path)
            elif status.st_nlink == 1 or not self._link(target_dir, target_name, status, path):
                self._copy_regular(source_dir, name, target_dir, target_name, status, path, fresh)
        except OSError as error:
            raise explain("copy", self._shown(path), error) from error

    def _copy_regular(
        self,
        source_dir: int,
        name: str,
        target_dir: int,
        target_name: str,
        status: os.stat_result,
        path: str,
        fresh: bool,
    ) -> None:
        source_fd = self._open_source(name, _READ, source_dir, path)
        try:
            if self._listing is not None:
                status = os.fstat(source_fd)
            target_fd = os.open(target_name, _CREATE, 0o600, dir_fd=target_dir)
            try:
                if status.st_size and stat.S_ISREG(status.st_mode):
                    copy_content(source_fd, target_fd, status.st_size, path or name, self._options.check)
                self._dress(target_fd, status, source_fd, fresh=fresh)
            finally:
                os.close(target_fd)
            if self._listing is not None:
                self._listing.check(self._full(path), status, source_fd, target_name, target_dir)
        finally:
            os.close(source_fd)

    def _copy_special(
        self, source_dir: int, name: str, target_dir: int, target_name: str, status: os.stat_result, path: str
    ) -> None:
        is_link = stat.S_ISLNK(status.st_mode)
        to = os.readlink(name, dir_fd=source_dir) if is_link else ""
        if is_link and self._listing is not None:
            to = self._listing.link(self._full(path), to)
        make_special(target_name, target_dir, status, to)
        uid, gid = self._owner(status)
        os.chown(target_name, uid, gid, dir_fd=target_dir, follow_symlinks=False)
        if not is_link:
            set_mode(target_name, self._bits(status), target_dir)
        source, target = f"/proc/self/fd/{source_dir}/{name}", f"/proc/self/fd/{target_dir}/{target_name}"
        copy_xattrs(source, target, follow=False)
        os.utime(target_name, ns=self._times(status), dir_fd=target_dir, follow_symlinks=False)

    def _link(self, target_dir: int, target_name: str, status: os.stat_result, path: str) -> bool:
        """Link to the copy of another name of the same file, if there is one."""
        inode = (status.st_dev, status.st_ino)
        first = self._links.get(inode)
        if first is None:
            self._links[inode] = [*self._target, *path.split("/")] if path else self._target
            return False
        with parent_of(self._dest_root, first) as (fd, name):
            os.link(name, target_name, src_dir_fd=fd, dst_dir_fd=target_dir, follow_symlinks=False)
        return True

    def _bits(self, status: os.stat_result) -> int:
        bits = status.st_mode & 0o7777
        if self._change is not None:
            return self._change(bits, stat.S_ISDIR(status.st_mode))
        return bits if self._options.mode is None else self._options.mode & 0o7777

    def _dress(self, fd: int, status: os.stat_result, source_fd: int, *, fresh: bool) -> None:
        """Owner, mode, attributes and times, in the order in which one does not undo the other."""
        owner = self._owner(status)
        if not fresh or owner != self._own:
            os.fchown(fd, *owner)
        os.fchmod(fd, self._bits(status))
        if os.listxattr(source_fd):
            copy_xattrs(source_fd, fd, follow=True)
        os.utime(fd, ns=self._times(status))

    def _owner(self, status: os.stat_result) -> Owner:
        if self._options.owner is not None:
            return self._options.owner
        return (status.st_uid, status.st_gid) if self._listing is None else self._listing.owner

    def _times(self, status: os.stat_result) -> tuple[int, int]:
        timestamp = self._options.timestamp
        return (status.st_atime_ns, status.st_mtime_ns) if timestamp is None else (timestamp, timestamp)
