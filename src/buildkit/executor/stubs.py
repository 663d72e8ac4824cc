"""Taking away what a runtime had to create in the root as places for mounts.

A runtime makes an empty file or directory for each mount point that is missing. Those are no part of the step's
result, and neither is the change of their parents' times.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence

from buildkit.fs.tree import resolve_in_root

_ALWAYS = ("/etc/resolv.conf", "/etc/hosts")


def missing_places(root: str, destinations: Sequence[str], *, recursive: bool) -> list[str]:
    """Paths in ``root`` that do not exist yet and that mounts on ``destinations`` will create, deepest first.

    With ``recursive`` missing parents count too.
    """
    missing: list[str] = []
    for destination in (*_ALWAYS, *destinations):
        above = _missing(root, destination)
        missing += above if recursive else above[:1]
    return missing


def make_parents(root: str, destinations: Sequence[str]) -> None:
    """Make the directories that mount points lack above them, with mode 0755: crun would make them sticky."""
    for destination in destinations:
        for path in reversed(_missing(root, destination)[1:]):
            try:
                os.mkdir(path)
                os.chmod(path, 0o755)  # noqa: S103 - whatever our umask is
            except OSError:
                return  # the root is read-only, or something is in the way: the runtime says so


def _missing(root: str, destination: str) -> list[str]:
    """What is not there of a mount point and the directories above it, deepest first."""
    missing: list[str] = []
    place = os.path.normpath("/" + destination)
    if place == "/":
        return missing
    try:
        path = resolve_in_root(root, place)
    except OSError:
        return missing
    while path != root and not _exists(path):
        missing.append(path)
        path = os.path.dirname(path)
    return missing


def remove_stubs(root: str, places: Sequence[str]) -> None:
    """Remove those of ``places`` that are still empty, and give their parents the times they had."""
    for place in places:
        try:
            inside = "/" + os.path.relpath(place, root)
            if resolve_in_root(root, os.path.dirname(inside)) != os.path.dirname(place):
                continue
            _remove_empty(place)
        except OSError:
            continue


def _remove_empty(path: str) -> None:
    parent, name = os.path.split(path)
    directory = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
        times = os.fstat(directory)
        if stat.S_ISDIR(found.st_mode):
            os.rmdir(name, dir_fd=directory)
        elif found.st_size == 0:
            os.unlink(name, dir_fd=directory)
        else:
            return
        os.utime(directory, ns=(times.st_atime_ns, times.st_mtime_ns))
    finally:
        os.close(directory)


def _exists(path: str) -> bool:
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True
