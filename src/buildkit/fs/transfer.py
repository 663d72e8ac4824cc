"""Copying one file's content and attributes between descriptors."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable

from buildkit.core.errors import FailedPrecondition

_SMALL = 1 << 16
_CHUNK = 1 << 20
_PIECE = 64 << 20
"""Bytes that the kernel copies before anybody can interrupt it."""
_UNFIT = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF, errno.EPERM)


def copy_content(source: int, target: int, size: int, path: str, check: Callable[[], None] = lambda: None) -> None:
    """Copy ``size`` bytes, sharing blocks where the file system can; another size raises `FailedPrecondition`.

    An `OSError` names ``path``. ``check`` is called between pieces; what it raises ends the copy.
    """
    try:
        _copy_content(source, target, size, path, check)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from error


def _copy_content(source: int, target: int, size: int, path: str, check: Callable[[], None]) -> None:
    if size <= _SMALL:
        content = os.read(source, size + 1)
        if len(content) != size:
            raise FailedPrecondition(f"{path}: changed its size while it was copied")
        while content:
            content = content[os.write(target, content) :]
        return
    left = _copy_in_kernel(source, target, size, check)
    while left:
        check()
        chunk = os.read(source, min(left, _CHUNK))
        if not chunk:
            raise FailedPrecondition(f"{path}: changed its size while it was copied")
        left -= len(chunk)
        while chunk:
            chunk = chunk[os.write(target, chunk) :]
    if os.fstat(source).st_size != size:
        raise FailedPrecondition(f"{path}: changed its size while it was copied")


def _copy_in_kernel(source: int, target: int, size: int, check: Callable[[], None]) -> int:
    """Returns how many bytes are left for reading and writing."""
    left = size
    while left:
        check()
        try:
            done = os.copy_file_range(source, target, min(left, _PIECE))
        except OSError as error:
            if error.errno in _UNFIT:
                return left
            raise
        if not done:
            return left
        left -= done
    return left


def copy_xattrs(source: str | int, target: str | int, *, follow: bool) -> None:
    """Copy extended attributes as far as the target takes them; overlayfs' own are not content."""
    try:
        names = os.listxattr(source, follow_symlinks=follow)
    except OSError:
        return
    for name in names:
        if not name.startswith(("trusted.overlay.", "user.overlay.")):
            try:
                os.setxattr(target, name, os.getxattr(source, name, follow_symlinks=follow), follow_symlinks=follow)
            except OSError:
                continue


def make_special(name: str, dir_fd: int, status: os.stat_result, link: str) -> None:
    """Make a link, device, named pipe or socket like another."""
    if stat.S_ISLNK(status.st_mode):
        os.symlink(link, name, dir_fd=dir_fd)
    else:
        os.mknod(name, stat.S_IFMT(status.st_mode) | 0o600, status.st_rdev, dir_fd=dir_fd)
