"""Taking away what a runtime had to create in the root as places for mounts.

A runtime makes an empty file or directory for each mount point that is missing. Those are no part of the step's
result, and neither is the change of their parents' times.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence

from buildkit.core.errors import FailedPrecondition, InvalidInput
from buildkit.fs.places import make_directories, parent_of
from buildkit.fs.tree import resolve_in_root, resolve_parts

_ROOT = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_PROC_FILES = (
    "cpuinfo diskstats loadavg meminfo net/dev slabinfo stat swaps uptime sys/crypto/fips_enabled "
    "sys/kernel/ns_last_pid"
).split()
"""What may be replaced: files that tell about the machine, as runc has them."""

ALWAYS = ("/etc/resolv.conf", "/etc/hosts")
"""Files that every container gets."""


def check_places(root: str, destinations: Sequence[str]) -> None:
    """Raises `InvalidInput` for a mount that would stand in for what the kernel says about processes.

    crun would let it happen, runc would not say it as clearly.
    """
    root_fd = os.open(root, _ROOT)
    try:
        for destination in destinations:
            parts = resolve_parts(root_fd, destination)
            if parts[:1] == ["proc"] and "/".join(parts[1:]) not in _PROC_FILES:
                raise InvalidInput(f"cannot mount on {destination}: nothing may stand in for what is in /proc")
    finally:
        os.close(root_fd)


def missing_places(root: str, destinations: Sequence[str], *, recursive: bool) -> list[str]:
    """Paths in ``root`` that do not exist yet and that mounts on ``destinations`` will create, deepest first.

    With ``recursive`` missing parents count too.
    """
    missing: list[str] = []
    for destination in (*ALWAYS, *destinations):
        above = _missing(root, destination)
        missing += above if recursive else above[:1]
    return missing


def make_parents(root: str, destinations: Sequence[str]) -> None:
    """Make the directories that mount points lack above them, with mode 0755: crun would make them sticky."""
    root_fd = os.open(root, _ROOT)
    try:
        for destination in destinations:
            make_directories(root_fd, resolve_parts(root_fd, destination)[:-1], 0o755, None, None)
    except (OSError, FailedPrecondition):
        return  # the root is read-only, or something is in the way: the runtime says so
    finally:
        os.close(root_fd)


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
    root_fd = os.open(root, _ROOT)
    try:
        for place in places:
            try:
                with parent_of(root_fd, os.path.relpath(place, root).split("/")) as (directory, name):
                    _remove_empty(directory, name)
            except OSError:
                continue
    finally:
        os.close(root_fd)


def _remove_empty(directory: int, name: str) -> None:
    found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    times = os.fstat(directory)
    if stat.S_ISDIR(found.st_mode):
        os.rmdir(name, dir_fd=directory)
    elif found.st_size == 0:
        os.unlink(name, dir_fd=directory)
    else:
        return
    os.utime(directory, ns=(times.st_atime_ns, times.st_mtime_ns))


def _exists(path: str) -> bool:
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True
