"""What file steps do to a tree. Every path is taken inside of the tree's root, whatever links say.

Errors read as Go's do, with paths as the tree has them: ``mkdir /a/b: no such file or directory``.
"""

from __future__ import annotations

import errno
import os
import posixpath
from collections.abc import Iterator
from contextlib import contextmanager

from buildkit.api import ops_pb2 as pb
from buildkit.core.errors import FailedPrecondition, InvalidInput
from buildkit.fs import removal
from buildkit.fs.tree import open_beneath, open_in_root
from buildkit.fs.wildcard import has_wildcard, match
from buildkit.ops.owner import Owner

_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_PERMISSIONS = 0o777
_KEEP = -1


def mkdir(root: int, action: pb.FileActionMkDir, owner: Owner | None) -> None:
    """Make a directory, with its parents if asked; one that exists stays as it is."""
    parts = [part for part in posixpath.normpath("/" + action.path).split("/") if part]
    first = 0 if action.makeParents else max(0, len(parts) - 1)
    for count in range(first, len(parts)):
        path = "/" + "/".join(parts[: count + 1])
        with _named("mkdir", path), _parent_of(root, path) as (parent, name):
            try:
                os.mkdir(name, action.mode & _PERMISSIONS, dir_fd=parent)
            except FileExistsError:
                if action.makeParents:
                    _expect_directory(root, path)
                continue
            os.chmod(name, action.mode & _PERMISSIONS, dir_fd=parent, follow_symlinks=True)
            _finish(parent, name, owner, action.timestamp)


def mkfile(root: int, action: pb.FileActionMkFile, owner: Owner | None) -> None:
    """Write a file; one that exists keeps its mode."""
    path = posixpath.normpath("/" + action.path)
    with _named("open", path):
        flags = os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            fd = open_in_root(root, path, flags)
        except FileNotFoundError:
            fd = open_in_root(root, path, flags | os.O_CREAT, action.mode & _PERMISSIONS)
            os.fchmod(fd, action.mode & _PERMISSIONS)
        with os.fdopen(fd, "wb") as file:
            file.write(action.data)
            file.flush()
            if owner is not None:
                os.fchown(fd, *owner)
            if action.timestamp != _KEEP:
                os.utime(fd, ns=(action.timestamp, action.timestamp))


def symlink(root: int, action: pb.FileActionSymlink, owner: Owner | None) -> None:
    """Make a symbolic link; its target is text and is not looked at."""
    path = posixpath.normpath("/" + action.newpath)
    with _named(f"symlink {action.oldpath}", path), _parent_of(root, path) as (parent, name):
        os.symlink(action.oldpath, name, dir_fd=parent)
        _finish(parent, name, owner, action.timestamp)


def remove(root: int, action: pb.FileActionRm) -> None:
    """Remove a file or a tree; a link itself, not what it points to."""
    if not action.allowWildcard or not has_wildcard(action.path):
        _remove(root, action.path, action.allowNotFound)
        return
    for path in _expand(root, action.path):
        _remove(root, path, action.allowNotFound)


def _remove(root: int, path: str, allow_missing: bool) -> None:
    path = posixpath.normpath("/" + path.lstrip("/"))
    if path == "/":
        raise InvalidInput("rmPath: invalid empty path")
    try:
        with _parent_of(root, path) as (parent, name):
            found = removal.remove(name, parent)
    except (FileNotFoundError, NotADirectoryError):
        found = False
    if not found and not allow_missing:
        raise FailedPrecondition(f"stat {path}: no such file or directory")


def _expand(root: int, pattern: str) -> list[str]:
    """Paths that a pattern with wildcards matches, sorted; links are not followed on the way."""
    found = ["/"]
    for part in posixpath.normpath("/" + pattern.lstrip("/")).split("/")[1:]:
        found = [posixpath.join(place, name) for place in found for name in _matching(root, place, part)]
    return [path for path in found if path != "/"]


def _matching(root: int, place: str, part: str) -> list[str]:
    try:
        fd = open_beneath(root, place.lstrip("/") or ".", os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return []
        raise
    try:
        return sorted((name for name in os.listdir(fd) if match(part, name)), key=os.fsencode)
    finally:
        os.close(fd)


@contextmanager
def _parent_of(root: int, path: str) -> Iterator[tuple[int, str]]:
    """The directory of ``path`` inside of the root, and the name in it, which no one follows."""
    directory, name = posixpath.split(path)
    fd = open_in_root(root, directory, _DIRECTORY)
    try:
        yield fd, name
    finally:
        os.close(fd)


def _expect_directory(root: int, path: str) -> None:
    os.close(open_in_root(root, path, _DIRECTORY))


def _finish(parent: int, name: str, owner: Owner | None, timestamp: int) -> None:
    if owner is not None:
        os.chown(name, *owner, dir_fd=parent, follow_symlinks=False)
    if timestamp != _KEEP:
        os.utime(name, ns=(timestamp, timestamp), dir_fd=parent, follow_symlinks=False)


@contextmanager
def _named(call: str, path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        raise FailedPrecondition(f"{call} {path}: {reason}") from None
