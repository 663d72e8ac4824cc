"""The system calls for mounts that the standard library lacks, by ctypes. They raise `OSError` with a path."""

from __future__ import annotations

import os
from functools import cache
from struct import pack
from typing import Any

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_SYNCHRONOUS = 1, 2, 4, 8, 16
MS_REMOUNT, MS_DIRSYNC, MS_NOSYMFOLLOW, MS_NOATIME, MS_NODIRATIME = 32, 128, 256, 1024, 2048
MS_BIND, MS_REC = 4096, 16384
MS_UNBINDABLE, MS_PRIVATE, MS_SLAVE, MS_SHARED = 1 << 17, 1 << 18, 1 << 19, 1 << 20
MS_RELATIME, MS_STRICTATIME = 1 << 21, 1 << 24

MNT_DETACH, UMOUNT_NOFOLLOW = 2, 8

AT_EMPTY_PATH, AT_RECURSIVE = 0x1000, 0x8000
OPEN_TREE_CLONE, OPEN_TREE_CLOEXEC = 1, os.O_CLOEXEC
MOVE_MOUNT_F_EMPTY_PATH = 4

_FSCONFIG_SET_FLAG, _FSCONFIG_SET_STRING, _FSCONFIG_CMD_CREATE = 0, 1, 6
_FSOPEN_CLOEXEC = _FSMOUNT_CLOEXEC = 1
_AT_FDCWD = -100
_OPEN_TREE, _MOVE_MOUNT, _FSOPEN, _FSCONFIG, _FSMOUNT, _OPENAT2, _MOUNT_SETATTR = 428, 429, 430, 431, 432, 437, 442
_PIDFD_GETFD = 438


@cache
def _libc() -> Any:
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    library.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)
    library.umount2.argtypes = (ctypes.c_char_p, ctypes.c_int)
    library.syscall.restype = ctypes.c_long
    return library


def _syscall(*arguments: int | bytes | None) -> int:
    return int(_libc().syscall(*arguments))


def mount(source: str, target: str, filesystem: str, flags: int, options: str) -> None:
    """mount(2)."""
    result = _libc().mount(
        os.fsencode(source), os.fsencode(target), os.fsencode(filesystem), flags, os.fsencode(options)
    )
    _check(result, target)


def umount(target: str, flags: int = 0) -> None:
    """umount2(2)."""
    _check(_libc().umount2(os.fsencode(target), flags), target)


def fsopen(filesystem: str) -> int:
    """fsopen(2): a descriptor of a file system being configured."""
    return _check(_syscall(_FSOPEN, os.fsencode(filesystem), _FSOPEN_CLOEXEC), filesystem)


def fsconfig(fd: int, key: str, text: str | None) -> None:
    """fsconfig(2): set a string (at most 255 bytes), or a flag when ``text`` is None."""
    command = _FSCONFIG_SET_FLAG if text is None else _FSCONFIG_SET_STRING
    value = None if text is None else os.fsencode(text)
    _check(_syscall(_FSCONFIG, fd, command, os.fsencode(key), value, 0), key)


def fsconfig_create(fd: int) -> None:
    """fsconfig(2): make the file system."""
    _check(_syscall(_FSCONFIG, fd, _FSCONFIG_CMD_CREATE, None, None, 0), "")


def fsmount(fd: int, attributes: int) -> int:
    """fsmount(2): a descriptor (as O_PATH) of a mount that is attached nowhere."""
    return _check(_syscall(_FSMOUNT, fd, _FSMOUNT_CLOEXEC, attributes), "")


def open_tree(path: str, flags: int, directory: int = _AT_FDCWD) -> int:
    """open_tree(2)."""
    return _check(_syscall(_OPEN_TREE, directory, os.fsencode(path), flags), path)


def mount_setattr(fd: int, attributes: int, *, recursive: bool) -> None:
    """mount_setattr(2): set ``MOUNT_ATTR_*`` on a detached mount."""
    change = pack("=4Q", attributes, 0, 0, 0)
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    _check(_syscall(_MOUNT_SETATTR, fd, b"", flags, change, len(change)), "")


def take_descriptor(pidfd: int, number: int) -> int:
    """pidfd_getfd(2): another process's open file, opened by nobody again."""
    return _check(_syscall(_PIDFD_GETFD, pidfd, number, 0), "")


def move_mount(fd: int, target: str) -> None:
    """move_mount(2): attach a detached mount."""
    _check(_syscall(_MOVE_MOUNT, fd, b"", _AT_FDCWD, os.fsencode(target), MOVE_MOUNT_F_EMPTY_PATH), target)


def openat2(directory: int, path: str, flags: int, mode: int, resolve: int) -> int:
    """openat2(2)."""
    how = pack("=3Q", flags | os.O_CLOEXEC, mode, resolve)
    return _check(_syscall(_OPENAT2, directory, os.fsencode(path), how, len(how)), path)


def _check(result: int, path: str) -> int:
    if result < 0:
        from ctypes import get_errno

        code = get_errno()
        raise OSError(code, os.strerror(code), path)
    return result
