"""The digest of one file as BuildKit's cache keys use it: a tarsum header without separators, then the content.

Times do not count; names do not either (directories add them).
"""

from __future__ import annotations

import os
import stat
import time
from typing import TYPE_CHECKING, Protocol, TypeAlias

from buildkit.core.digest import Digest, hasher, sha256
from buildkit.core.errors import FailedPrecondition
from buildkit.fs.tree import read_xattrs

if TYPE_CHECKING:
    from hashlib import _Hash

Stamp: TypeAlias = tuple[int, ...]
"""What makes a file the same one without reading it: device, inode, size, times in ns, mode, owner."""


class Memory(Protocol):
    """Digests of regular files by their stamps, for the next time."""

    def get(self, stamp: Stamp) -> Digest | None:
        """The digest of the file that had this stamp, if it is remembered."""
        ...

    def put(self, stamp: Stamp, digest: Digest) -> None:
        """Remember a digest, at the latest from `save` on."""
        ...

    def save(self) -> None:
        """Make sure that what was put is remembered."""
        ...


_CHUNK = 1 << 20
_SETTLED = 2_000_000_000
"""Nanoseconds after which a change would get another time."""

_KINDS = {
    stat.S_IFDIR: "5",
    stat.S_IFLNK: "2",
    stat.S_IFCHR: "3",
    stat.S_IFBLK: "4",
    stat.S_IFIFO: "6",
}
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def hash_file(
    name: str,
    dir_fd: int,
    status: os.stat_result,
    link: str,
    *,
    owner: tuple[int, int] | None = None,
    memory: Memory | None = None,
) -> Digest:
    """Digest anything but a directory; ``owner`` stands for the real one.

    ``memory`` is asked and told about regular files, unless they changed in the last seconds.
    A file that changes meanwhile raises `FailedPrecondition`.
    """
    mode = status.st_mode
    if not stat.S_ISREG(mode) or not status.st_size:
        return _sum(_header(status, link, owner), read_xattrs(name, dir_fd), ())
    stamp = stamp_of(status, owner)
    if memory is not None:
        known = memory.get(stamp)
        if known is not None:
            return known
    fd = os.open(name, _OPEN, dir_fd=dir_fd)
    try:
        digest = _read(fd, name, status, owner)
    finally:
        os.close(fd)
    if memory is not None and time.time_ns() - max(status.st_ctime_ns, status.st_mtime_ns) > _SETTLED:
        memory.put(stamp, digest)
    return digest


def stamp_of(status: os.stat_result, owner: tuple[int, int] | None = None) -> Stamp:
    """The stamp of a regular file; ``owner`` stands for the real one."""
    return (
        status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns,
        status.st_mode, *(owner or (status.st_uid, status.st_gid)),
    )  # fmt: skip


def begin_file(permissions: int, uid: int, gid: int, size: int) -> _Hash:
    """A hash to be fed the content of a regular file without extended attributes; its digest is `hash_file`'s."""
    text = f"namemode{permissions}uid{uid}gid{gid}size{size}typeflag0linknameunamegnamedevmajor0devminor0"
    return hasher(content=text.encode())


def hash_directory_header(fd: int, status: os.stat_result, *, owner: tuple[int, int] | None = None) -> Digest:
    """Digest a directory's own mode, owner and attributes."""
    return _sum(_header(status, "", owner), read_xattrs(fd) if os.listxattr(fd) else {}, ())


def _read(fd: int, name: str, status: os.stat_result, owner: tuple[int, int] | None) -> Digest:
    size = status.st_size
    xattrs = read_xattrs(fd) if os.listxattr(fd) else {}
    header = _header(status, "", owner)
    if size <= _CHUNK:
        content = os.read(fd, size + 1)
        if len(content) != size:
            raise FailedPrecondition(f"{name}: changed while it was read")
        if not xattrs:
            return sha256(header + content)
        return _sum(header, xattrs, (content,))
    running = hasher(content=header + _attributes(xattrs))
    left = size
    while left:
        content = os.read(fd, min(left, _CHUNK))
        if not content:
            break
        left -= len(content)
        running.update(content)
    if left or os.read(fd, 1):
        raise FailedPrecondition(f"{name}: changed while it was read")
    return "sha256:" + running.hexdigest()


def _header(status: os.stat_result, link: str, owner: tuple[int, int] | None) -> bytes:
    mode = status.st_mode
    kind = _KINDS.get(stat.S_IFMT(mode), "0")  # sockets count as files
    permissions = 0o777 if kind == "2" else mode & 0o7777
    uid, gid = owner or (status.st_uid, status.st_gid)
    size = status.st_size if kind == "0" else 0
    # device numbers stay 0: the original never fills them in either
    return os.fsencode(
        f"namemode{permissions}uid{uid}gid{gid}size{size}typeflag{kind}linkname{link}unamegnamedevmajor0devminor0"
    )


def _attributes(xattrs: dict[str, bytes]) -> bytes:
    counted = [
        key
        for key in xattrs
        if key == "security.capability"
        or not key.startswith(("security.", "system.", "trusted.overlay.", "user.overlay."))
    ]
    counted.sort(key=os.fsencode)
    return b"".join(os.fsencode(key) + xattrs[key] for key in counted)


def _sum(header: bytes, xattrs: dict[str, bytes], contents: tuple[bytes, ...]) -> Digest:
    return sha256(b"".join((header, _attributes(xattrs), *contents)))
