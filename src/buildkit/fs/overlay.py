"""Overlay mounts beyond one page of options: the file descriptor API, and relative names in a helper process."""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from functools import cache

from buildkit.core.errors import FailedPrecondition
from buildkit.fs import syscalls

MOST_LOWERS = 500
"""A constant of the kernel."""

_LONGEST_STRING = 255
"""Bytes of a string that fsconfig(2) takes."""

_RELATIVE = """
import ctypes, os, sys
directory, target, flags, options = sys.argv[1:]
os.chdir(directory)
libc = ctypes.CDLL(None, use_errno=True)
name = b"overlay"
if libc.mount(name, os.fsencode(target), name, ctypes.c_ulong(int(flags)), os.fsencode(options)):
    sys.exit(ctypes.get_errno() or 255)
"""


def escape(path: str) -> str:
    """A path as one element of ``lowerdir=``; also valid in ``upperdir=`` and ``workdir=``."""
    return re.sub(r"([\\:,])", r"\\\1", path)


def unescape(text: str) -> str:
    """The reverse of `escape`."""
    return re.sub(r"\\(.)", r"\1", text)


def lowers_of(options: Sequence[str]) -> list[str]:
    """The lower directories that overlay options name, topmost first, unescaped."""
    found: list[str] = []
    for option in options:
        key, _, text = option.partition("=")
        if key == "lowerdir":
            found += [unescape(part) for part in re.findall(r"((?:\\.|[^:\\])+)", text)]
        elif key == "lowerdir+":
            found.append(text)
    return found


@cache
def has_mount_api() -> bool:
    """Whether fsopen(2) and its family work for overlay (and are not filtered away)."""
    try:
        os.close(syscalls.fsopen("overlay"))
    except OSError:
        return False
    return True


@cache
def has_lowerdir_plus() -> bool:
    """Whether the kernel takes lower directories one by one."""
    try:
        fd = syscalls.fsopen("overlay")
    except OSError:
        return False
    try:
        syscalls.fsconfig(fd, "lowerdir+", "/")
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


def open_detached(options: Sequence[str], attributes: int) -> int:
    """An overlay that is attached nowhere, as an O_PATH descriptor. Raises `OSError` with the kernel's own words."""
    one_by_one = has_lowerdir_plus()
    with ExitStack() as open_files:
        fd = syscalls.fsopen("overlay")
        open_files.callback(os.close, fd)
        try:
            syscalls.fsconfig(fd, "source", "overlay")
            for option in options:
                key, separator, text = option.partition("=")
                if key in ("lowerdir", "lowerdir+") and one_by_one:
                    for lower in lowers_of([option]):
                        syscalls.fsconfig(fd, "lowerdir+", lower if _fits(lower) else _by_descriptor(lower, open_files))
                elif key in ("upperdir", "workdir"):
                    # kernels differ in whether they unescape here
                    path = unescape(text)
                    plain = _fits(path) and "\\" not in path
                    syscalls.fsconfig(fd, key, path if plain else _by_descriptor(path, open_files))
                elif key == "lowerdir" and not _fits(text):
                    parts = [_by_descriptor(lower, open_files) for lower in lowers_of([option])]
                    syscalls.fsconfig(fd, key, ":".join(parts))
                else:
                    syscalls.fsconfig(fd, key, text if separator else None)
            syscalls.fsconfig_create(fd)
            return syscalls.fsmount(fd, attributes)
        except OSError as error:
            raise OSError(error.errno, _complaint(fd) or error.strerror, error.filename) from error


def mount_relative(options: Sequence[str], target: str, flags: int, page: int) -> None:
    """mount(2) by names relative to what the lower directories share, in a process of its own: chdir is per process."""
    import subprocess

    lowers = lowers_of(options)
    shared = os.path.commonpath(lowers)
    names = ":".join(escape(os.path.relpath(lower, shared)) for lower in lowers)
    rest = [option for option in options if not option.startswith(("lowerdir=", "lowerdir+="))]
    text = ",".join([f"lowerdir={names}", *rest])
    if len(os.fsencode(text)) > page:
        raise FailedPrecondition(
            f"cannot mount an overlay of {len(lowers)} lower directories: their names fill {len(os.fsencode(text))} "
            f"bytes and this kernel takes {page}; flatten some of the layers"
        )
    command = [sys.executable, "-I", "-S", "-c", _RELATIVE, shared, os.path.abspath(target), str(flags), text]
    code = subprocess.run(command, check=False).returncode
    if code:
        code = code if code in errno.errorcode else errno.EIO
        raise OSError(code, os.strerror(code), target)


def _fits(text: str) -> bool:
    return len(os.fsencode(text)) <= _LONGEST_STRING


def _by_descriptor(path: str, open_files: ExitStack) -> str:
    """A short name for any path, good as long as the files are open."""
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    open_files.callback(os.close, fd)
    return f"/proc/self/fd/{fd}"


def _complaint(fd: int) -> str:
    """What the kernel logged about a file system being configured."""
    lines = []
    try:
        while True:
            lines.append(os.read(fd, 1024).decode(errors="replace").rstrip("\n"))
    except OSError:
        return "; ".join(line.removeprefix("e ").removeprefix("w ") for line in lines)
