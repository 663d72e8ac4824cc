"""Applying layer tars to a directory. No entry leaves it, whatever names, links and devices the archive holds.

Names are taken relative to the root; links that stand in the way of a parent directory are followed inside the root,
as image layers expect (``bin/sh`` below ``bin -> usr/bin``). Everything is done through directory descriptors.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, TypeAlias

from buildkit.core.errors import Corrupt, Exhausted, PermissionDenied, Unsupported
from buildkit.fs.removal import remove
from buildkit.fs.tarread import Member, Readable, TarReader
from buildkit.fs.tree import open_in_root, resolve_parts, set_mode
from buildkit.fs.wildcard import clean

Whiteouts: TypeAlias = Literal["apply", "overlay", "none"]

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OVERLAY_XATTRS = ("trusted.overlay.", "user.overlay.")


def apply_layer(
    stream: Readable,
    root: str | int,
    *,
    whiteouts: Whiteouts = "apply",
    userxattr: bool = False,
    parent_status: Callable[[str], os.stat_result | None] | None = None,
    skip_devices: bool = False,
    owner: tuple[int, int] | None = None,
    most_bytes: int | None = None,
    most_entries: int | None = None,
) -> int:
    """Unpack an uncompressed tar and return the bytes of file content; the stream is read to its end.

    ``whiteouts``: "apply" deletes what they name, "overlay" makes them what overlayfs reads (opaque directories by
    ``user.overlay.*`` if ``userxattr``), "none" takes them as plain files. ``owner`` replaces all
    owners. ``parent_status`` tells mode and owner for
    directories that the archive uses but does not hold (else 0755 root). Raises `Corrupt` for damaged archives and
    names that leave the root, `Exhausted` beyond the limits, `PermissionDenied` for devices that may not be made.
    """
    root_fd = os.open(root, _DIRECTORY) if isinstance(root, str) else os.open(".", _DIRECTORY, dir_fd=root)
    unpacking = _Unpacking(root_fd, whiteouts, userxattr, parent_status, skip_devices)
    reader = TarReader(stream)
    size = count = 0
    try:
        for member in reader:
            count += 1
            size += member.size
            if owner is not None:
                member.uid, member.gid = owner
            if most_entries is not None and count > most_entries:
                raise Exhausted(f"archive holds more than {most_entries} entries")
            if most_bytes is not None and size > most_bytes:
                raise Exhausted(f"{member.name}: archive unpacks to more than {most_bytes} bytes")
            unpacking.add(member, reader)
        unpacking.finish()
        reader.drain()
    finally:
        unpacking.close()
        os.close(root_fd)
    return size


class _Unpacking:
    def __init__(
        self,
        root_fd: int,
        whiteouts: Whiteouts,
        userxattr: bool,
        parent_status: Callable[[str], os.stat_result | None] | None,
        skip_devices: bool,
    ) -> None:
        self._root_fd = root_fd
        self._whiteouts = whiteouts
        self._opaque = "user.overlay.opaque" if userxattr else "trusted.overlay.opaque"
        self._parent_status = parent_status
        self._skip_devices = skip_devices
        self._parent = ("", os.dup(root_fd))  # the directory last used, open
        self._directories: dict[str, int] = {}  # times, set when nothing changes any more
        self._made: set[tuple[int, int]] = set()  # inodes that came from this layer

    def close(self) -> None:
        os.close(self._parent[1])

    def add(self, member: Member, reader: TarReader) -> None:
        path = _inside(member.name, "an entry")
        if not path:
            if member.kind == b"5":
                self._finish_file(self._root_fd, member)
                self._directories[""] = member.mtime
            return
        directory, _, name = path.rpartition("/")
        if member.kind not in b"0123456" or not member.kind:
            raise Unsupported(f"{path}: archive member of type {member.kind!r} is not supported")
        with _named(path):
            dir_fd = self._open_parent(directory)
            if self._whiteouts != "none" and name.startswith(_WHITEOUT):
                self._white_out(name, dir_fd, path)
                return
            self._clear(name, dir_fd, merge=member.kind == b"5")
            self._make(member, path, name, dir_fd, reader)

    def finish(self) -> None:
        for path, mtime in self._directories.items():
            try:
                fd = open_in_root(self._root_fd, path, _DIRECTORY | os.O_NOFOLLOW)
            except OSError:
                continue  # replaced by a later entry
            try:
                os.utime(fd, ns=(mtime, mtime))
            finally:
                os.close(fd)

    def _open_parent(self, directory: str) -> int:
        if self._parent[0] == directory:
            return self._parent[1]
        try:
            fd = open_in_root(self._root_fd, directory, _DIRECTORY)
        except FileNotFoundError:
            fd = self._make_parents(resolve_parts(self._root_fd, directory))
        os.close(self._parent[1])
        self._parent = (directory, fd)
        return fd

    def _make_parents(self, parts: list[str]) -> int:
        """The directory that ``parts`` lead to without links, which may have pointed at what is not there yet."""
        fd = os.dup(self._root_fd)
        done = ""
        for name in parts:
            done = f"{done}/{name}" if done else name
            try:
                child = self._enter(name, fd, done)
            finally:
                os.close(fd)
            fd = child
        return fd

    def _enter(self, name: str, dir_fd: int, path: str) -> int:
        try:
            return os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=dir_fd)
        except FileNotFoundError:
            os.mkdir(name, 0o755, dir_fd=dir_fd)
        fd = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=dir_fd)
        self._dress_parent(fd, path)
        return fd

    def _dress_parent(self, fd: int, path: str) -> None:
        known = self._parent_status(path) if self._parent_status else None
        if known is not None:
            os.fchown(fd, known.st_uid, known.st_gid)
            os.fchmod(fd, known.st_mode & 0o7777)
            self._directories.setdefault(path, known.st_mtime_ns)
        else:
            os.fchmod(fd, 0o755)

    def _forget_parent(self) -> None:
        """The open parent may be gone by name; its descriptor is still in use."""
        self._parent = ("\0", self._parent[1])

    def _clear(self, name: str, dir_fd: int, *, merge: bool) -> None:
        """Make room for an entry; a directory stays where another one comes."""
        try:
            found = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
        except FileNotFoundError:
            return
        if stat.S_ISDIR(found.st_mode):
            if merge:
                return
            remove(name, dir_fd)
        else:
            os.unlink(name, dir_fd=dir_fd)
            if not stat.S_ISLNK(found.st_mode):
                return
        self._forget_parent()

    def _white_out(self, name: str, dir_fd: int, path: str) -> None:
        if name == _OPAQUE:
            if self._whiteouts == "overlay":
                os.setxattr(dir_fd, self._opaque, b"y")
            else:
                self._empty(os.open(".", _DIRECTORY, dir_fd=dir_fd))
                self._forget_parent()
            return
        hidden = name.removeprefix(_WHITEOUT)
        if hidden in ("", ".", ".."):
            raise Corrupt(f"{path}: archive has an invalid whiteout name")
        if remove(hidden, dir_fd):
            self._forget_parent()
        if self._whiteouts == "overlay":
            os.mknod(hidden, stat.S_IFCHR, os.makedev(0, 0), dir_fd=dir_fd)

    def _empty(self, fd: int) -> None:
        """Remove what a directory held before this layer."""
        try:
            for name in os.listdir(fd):
                status = os.stat(name, dir_fd=fd, follow_symlinks=False)
                if (status.st_dev, status.st_ino) not in self._made:
                    remove(name, fd)
                elif stat.S_ISDIR(status.st_mode):
                    self._empty(os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=fd))
        finally:
            os.close(fd)

    def _make(self, member: Member, path: str, name: str, dir_fd: int, reader: TarReader) -> None:
        kind = member.kind
        if kind == b"0":
            fd = os.open(name, _CREATE, 0o600, dir_fd=dir_fd)
            try:
                for piece in reader.content():
                    while piece:
                        piece = piece[os.write(fd, piece) :]
                self._remember(self._finish_file(fd, member))
                os.utime(fd, ns=(member.mtime, member.mtime))
            finally:
                os.close(fd)
        elif kind == b"5":
            try:
                os.mkdir(name, 0o700, dir_fd=dir_fd)
            except FileExistsError:
                pass
            fd = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=dir_fd)
            try:
                self._remember(self._finish_file(fd, member))
            finally:
                os.close(fd)
            self._directories[path] = member.mtime
        elif kind == b"1":
            self._link(member, name, dir_fd)
        else:
            if kind == b"2":
                os.symlink(member.link, name, dir_fd=dir_fd)
            elif kind == b"6":
                os.mkfifo(name, 0o600, dir_fd=dir_fd)
            elif not self._make_device(member, name, dir_fd):
                return
            self._finish_special(member, name, dir_fd)

    def _make_device(self, member: Member, name: str, dir_fd: int) -> bool:
        if self._skip_devices:
            return False
        kind = stat.S_IFCHR if member.kind == b"3" else stat.S_IFBLK
        os.mknod(name, kind | 0o600, member.device, dir_fd=dir_fd)
        return True

    def _link(self, member: Member, name: str, dir_fd: int) -> None:
        target = _inside(member.link, "a hard link")
        directory, _, last = target.rpartition("/")
        try:
            target_fd = open_in_root(self._root_fd, directory, os.O_PATH | os.O_DIRECTORY)
        except (FileNotFoundError, NotADirectoryError):
            raise Corrupt(f"{member.name}: hard link to {member.link}, which does not exist") from None
        try:
            os.link(last or ".", name, src_dir_fd=target_fd, dst_dir_fd=dir_fd, follow_symlinks=False)
        except FileNotFoundError:
            raise Corrupt(f"{member.name}: hard link to {member.link}, which does not exist") from None
        except PermissionError:
            raise Corrupt(f"{member.name}: hard link to {member.link}, which is no file") from None
        finally:
            os.close(target_fd)
        status = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
        self._remember(status)
        if stat.S_ISREG(status.st_mode):
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)
            try:
                self._finish_file(fd, member)
                os.utime(fd, ns=(member.mtime, member.mtime))
            finally:
                os.close(fd)

    def _finish_file(self, fd: int, member: Member) -> os.stat_result:
        """Owner first: changing it takes away set-id bits and capabilities. Returns the status from before."""
        status = os.fstat(fd)
        if (member.uid, member.gid) != (status.st_uid, status.st_gid):
            os.fchown(fd, member.uid, member.gid)
        os.fchmod(fd, member.mode)
        if member.xattrs:
            _set_xattrs(fd, member, follow=True)
        return status

    def _finish_special(self, member: Member, name: str, dir_fd: int) -> None:
        status = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
        self._remember(status)
        if (member.uid, member.gid) != (status.st_uid, status.st_gid):
            os.chown(name, member.uid, member.gid, dir_fd=dir_fd, follow_symlinks=False)
        if member.kind != b"2":
            set_mode(name, member.mode, dir_fd)
        if member.xattrs:
            _set_xattrs(f"/proc/self/fd/{dir_fd}/{name}", member, follow=False)
        os.utime(name, ns=(member.mtime, member.mtime), dir_fd=dir_fd, follow_symlinks=False)

    def _remember(self, status: os.stat_result) -> None:
        if self._whiteouts == "apply":
            self._made.add((status.st_dev, status.st_ino))


def _inside(name: str, what: str) -> str:
    """A name relative to the root; empty for the root itself."""
    path = clean(name.lstrip("/")) if name.strip("/") else ""
    if path == ".." or path.startswith("../"):
        raise Corrupt(f"{name}: archive has {what} that leaves its root")
    return "" if path == "." else path


def _set_xattrs(place: str | int, member: Member, *, follow: bool) -> None:
    for key, content in member.xattrs.items():
        if key.startswith(_OVERLAY_XATTRS):
            continue  # what overlayfs keeps for itself is never content
        try:
            os.setxattr(place, key, content, follow_symlinks=follow)
        except OSError as error:
            # file systems without them, and namespaces that no plain user may write
            if error.errno not in (errno.ENOTSUP, errno.EPERM):
                raise


@contextmanager
def _named(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        if error.errno in (errno.EPERM, errno.EACCES):
            raise PermissionDenied(f"{path}: cannot unpack: {reason}") from error
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EMFILE):
            raise Exhausted(f"{path}: cannot unpack: {reason}") from error
        raise Corrupt(f"{path}: cannot unpack: {reason}") from error
