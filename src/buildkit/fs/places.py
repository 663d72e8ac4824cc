"""Making, finding and removing single places in a root: what file operations other than copies do."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from buildkit.core.errors import (
    AlreadyExists,
    BuildkitError,
    Exhausted,
    FailedPrecondition,
    InvalidInput,
    NotFound,
    PermissionDenied,
)
from buildkit.fs.removal import remove
from buildkit.fs.tree import open_beneath, resolve_parts
from buildkit.fs.wildcard import clean, has_wildcard, match

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

Owner = tuple[int, int]


_KINDS: dict[int, type[BuildkitError]] = {
    errno.ENOENT: NotFound,
    errno.EEXIST: AlreadyExists,
    errno.EPERM: PermissionDenied,
    errno.EACCES: PermissionDenied,
    errno.ENOSPC: Exhausted,
    errno.EDQUOT: Exhausted,
}


def explain(verb: str, path: str, error: OSError) -> BuildkitError:
    """The project's error for a system's one, worded ``verb path: reason``."""
    reason = os.strerror(error.errno or 0)
    return _KINDS.get(error.errno or 0, FailedPrecondition)(f"{verb} {path}: {reason[:1].lower()}{reason[1:]}")


@contextmanager
def explained(verb: str, path: str) -> Iterator[None]:
    """Turn what the system says in this block into `explain`'s error."""
    try:
        yield
    except OSError as error:
        raise explain(verb, path, error) from error


@contextmanager
def parent_of(root_fd: int, parts: list[str]) -> Iterator[tuple[int, str]]:
    """The open directory that holds a resolved place, and the last name."""
    fd = open_beneath(root_fd, "/".join(parts[:-1]) or ".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield fd, parts[-1]
    finally:
        os.close(fd)


def make_directories(
    root_fd: int, parts: list[str], mode: int, owner: Owner | None, timestamp: int | None
) -> list[str]:
    """Make what is missing of a resolved path; returns the made paths, outermost first."""
    made = []
    fd = os.dup(root_fd)
    try:
        for depth, name in enumerate(parts):
            fresh = False
            try:
                child = os.open(name, _DIRECTORY, dir_fd=fd)
            except FileNotFoundError:
                os.mkdir(name, 0o700, dir_fd=fd)
                child = os.open(name, _DIRECTORY, dir_fd=fd)
                fresh = True
            os.close(fd)
            fd = child
            if fresh:
                if owner is not None:
                    os.fchown(fd, *owner)
                os.fchmod(fd, mode & 0o777)
                if timestamp is not None:
                    os.utime(fd, ns=(timestamp, timestamp))
                made.append("/".join(parts[: depth + 1]))
    finally:
        os.close(fd)
    return made


def stamp_directories(root_fd: int, paths: list[str], timestamp: int | None) -> None:
    """Give directories their time again after something was put into them."""
    if timestamp is None:
        return
    for path in reversed(paths):
        fd = open_beneath(root_fd, path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.utime(fd, ns=(timestamp, timestamp))
        finally:
            os.close(fd)


def make_directory(
    root_fd: int, path: str, mode: int, *, parents: bool, owner: Owner | None = None, timestamp: int | None = None
) -> None:
    """``mkdir``; an existing directory is fine. Mode bits beyond 0777 are dropped."""
    with explained("mkdir", path):
        parts = resolve_parts(root_fd, path)
        if parents:
            stamp_directories(root_fd, make_directories(root_fd, parts, mode, owner, timestamp), timestamp)
        elif parts:
            with parent_of(root_fd, parts) as (fd, name):
                try:
                    os.stat(name, dir_fd=fd, follow_symlinks=False)
                except FileNotFoundError:
                    make_directories(fd, [name], mode, owner, timestamp)


def make_file(
    root_fd: int, path: str, mode: int, content: bytes, *, owner: Owner | None = None, timestamp: int | None = None
) -> None:
    """Write a file; what exists is overwritten and keeps its mode."""
    with explained("open", path):
        parts = resolve_parts(root_fd, path)
        if not parts:
            raise OSError(errno.EISDIR, "")
        flags = os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        with parent_of(root_fd, parts) as (dir_fd, name):
            try:
                fd = os.open(name, flags | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=dir_fd)
                fresh = True
            except FileExistsError:
                fd = os.open(name, flags | os.O_TRUNC, dir_fd=dir_fd)
                fresh = False
        try:
            rest = memoryview(content)
            while rest:
                rest = rest[os.write(fd, rest) :]
            if owner is not None:
                os.fchown(fd, *owner)
            if fresh:
                os.fchmod(fd, mode & 0o777)
            if timestamp is not None:
                os.utime(fd, ns=(timestamp, timestamp))
        finally:
            os.close(fd)


def make_link(
    root_fd: int, target: str, path: str, *, owner: Owner | None = None, timestamp: int | None = None
) -> None:
    """Make a symbolic link whose text is ``target``."""
    with explained(f"symlink {target}", path):
        parts = resolve_parts(root_fd, path)
        if not parts:
            raise OSError(errno.EEXIST, "")
        with parent_of(root_fd, parts) as (fd, name):
            os.symlink(target, name, dir_fd=fd)
            if owner is not None:
                os.chown(name, *owner, dir_fd=fd, follow_symlinks=False)
            if timestamp is not None:
                os.utime(name, ns=(timestamp, timestamp), dir_fd=fd, follow_symlinks=False)


def remove_path(root_fd: int, path: str, *, allow_not_found: bool, wildcard: bool) -> None:
    """Remove files and trees; a link goes itself, never what it points to."""
    paths = resolve_wildcards(root_fd, clean("/" + path), follow=False) if wildcard else [path]
    for each in paths:
        whole = clean("/" + each)
        directory, _, name = whole.rpartition("/")
        if not name:
            raise InvalidInput("rmPath: invalid empty path")
        with explained("stat", whole):
            parts = [*resolve_parts(root_fd, directory), name]
            try:
                with parent_of(root_fd, parts) as (fd, last):
                    found = remove(last, fd)
            except (FileNotFoundError, NotADirectoryError):
                found = False
            if not found and not allow_not_found:
                raise FileNotFoundError(errno.ENOENT, "")


def resolve_wildcards(root_fd: int, path: str, *, follow: bool) -> list[str]:
    """The paths that match, sorted, without a leading slash; a path without wildcards comes back as it is.

    The part before the first wildcard is resolved in the root (its last name only if ``follow``); below it links
    are names like others.
    """
    names = clean("/" + path).split("/")[1:]
    fixed = next((place for place, name in enumerate(names) if has_wildcard(name)), None)
    if fixed is None:
        return [clean("/" + path)]
    pattern = "/".join(names[fixed:])
    base = resolve_parts(root_fd, "/".join(names[:fixed]), follow_last=follow)
    try:
        fd = open_beneath(root_fd, "/".join(base) or ".", os.O_RDONLY | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError, OSError) as error:
        if isinstance(error, FileNotFoundError):
            with explained("lstat", "/" + "/".join(base)):
                raise
        return []
    try:
        # a character class may match a slash, anything else takes as many names as it has
        depth = None if "[" in pattern else pattern.count("/")
        return ["/".join((*base, found)) for found in _matching(fd, "", pattern, depth)]
    finally:
        os.close(fd)


def _matching(fd: int, prefix: str, pattern: str, depth: int | None) -> Iterator[str]:
    for name in sorted(os.listdir(fd), key=os.fsencode):
        path = prefix + name
        try:
            found = match(pattern, path)
        except InvalidInput:
            found = False
        if found:
            yield path
        elif depth != 0 and stat.S_ISDIR(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode):
            child = os.open(name, _DIRECTORY, dir_fd=fd)
            try:
                yield from _matching(child, path + "/", pattern, None if depth is None else depth - 1)
            finally:
                os.close(child)
