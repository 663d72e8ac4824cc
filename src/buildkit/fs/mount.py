"""Mount values and the system calls behind them: mount(2), the file descriptor API where it is needed, unmounting."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from buildkit.core.errors import BuildkitError, FailedPrecondition, PermissionDenied, Unsupported
from buildkit.core.values import dataclass
from buildkit.fs import overlay, syscalls

_FLAGS = {
    "ro": syscalls.MS_RDONLY,
    "nosuid": syscalls.MS_NOSUID,
    "nodev": syscalls.MS_NODEV,
    "noexec": syscalls.MS_NOEXEC,
    "sync": syscalls.MS_SYNCHRONOUS,
    "dirsync": syscalls.MS_DIRSYNC,
    "nosymfollow": syscalls.MS_NOSYMFOLLOW,
    "noatime": syscalls.MS_NOATIME,
    "nodiratime": syscalls.MS_NODIRATIME,
    "relatime": syscalls.MS_RELATIME,
    "strictatime": syscalls.MS_STRICTATIME,
    "bind": syscalls.MS_BIND,
    "rbind": syscalls.MS_BIND | syscalls.MS_REC,
}
_DEFAULTS = frozenset(("rw", "suid", "dev", "exec", "async", "atime", "diratime"))
_PROPAGATION = {
    f"{'r' if deep else ''}{name}": flag | (syscalls.MS_REC if deep else 0)
    for name, flag in (
        ("private", syscalls.MS_PRIVATE),
        ("slave", syscalls.MS_SLAVE),
        ("shared", syscalls.MS_SHARED),
        ("unbindable", syscalls.MS_UNBINDABLE),
    )
    for deep in (False, True)
}
_PAGE = 4095
"""Bytes of option text that mount(2) takes."""

_BIND_FLAGS = syscalls.MS_BIND | syscalls.MS_REC


@dataclass(frozen=True, slots=True)
class Mount:
    """What to mount, in the words of mount(8). ``target`` is a path below the place given when mounting."""

    type: str
    source: str
    target: str = ""
    options: tuple[str, ...] = ()

    @property
    def readonly(self) -> bool:
        """Whether nothing can be written through it."""
        if self.type == "overlay":
            return "ro" in self.options or not any(option.startswith("upperdir=") for option in self.options)
        return "ro" in self.options


def bind(source: str, *, readonly: bool = False, recursive: bool = True, target: str = "") -> Mount:
    """A bind mount of a directory or a file."""
    return Mount("bind", source, target, ("rbind" if recursive else "bind", "ro" if readonly else "rw"))


def overlay_of(
    lowers: Sequence[str], upper: str | None = None, work: str | None = None, extra: Sequence[str] = ()
) -> Mount:
    """An overlay of ``lowers`` (topmost first), writable into ``upper`` if given. In a user namespace: userxattr.

    One lower directory with nothing above it is a read-only bind: the kernel wants two for an overlay.
    """
    if len(lowers) == 1 and upper is None:
        return bind(lowers[0], readonly=True, recursive=False)
    options = ["lowerdir=" + ":".join(overlay.escape(lower) for lower in lowers)]
    if upper is not None and work is not None:
        options += ["upperdir=" + overlay.escape(upper), "workdir=" + overlay.escape(work)]
    if in_user_namespace():
        options.append("userxattr")
    return Mount("overlay", "overlay", "", (*options, *extra))


def in_user_namespace() -> bool:
    """Whether this process lives in a user namespace other than the first one."""
    try:
        with open("/proc/self/uid_map", encoding="ascii") as file:
            return file.read().split() != ["0", "0", "4294967295"]
    except OSError:
        return False


def mount(what: Mount, at: str) -> None:
    """Mount at the directory ``at`` (plus ``what.target``, that must exist and is not followed out of ``at``)."""
    target = at
    if what.target.strip("/"):
        from buildkit.fs.tree import resolve_in_root

        target = resolve_in_root(at, what.target)
    flags, propagation, rest = _parse(what)
    with _explained(what, target):
        if flags & syscalls.MS_BIND:
            _bind(what.source, target, flags)
        elif what.type == "overlay":
            _mount_overlay(what, target, flags, rest)
        else:
            syscalls.mount(what.source, target, what.type, flags, ",".join(rest))
        for flag in propagation:
            syscalls.mount("none", target, "", flag, "")


def mount_all(mounts: Sequence[Mount], at: str) -> None:
    """Mount in order; on failure what was mounted is taken away again."""
    done: list[str] = []
    try:
        for what in mounts:
            mount(what, at)
            done.append(os.path.join(at, what.target.lstrip("/")) if what.target else at)
    except BaseException:
        for path in reversed(done):
            unmount(path)
        raise


def unmount(path: str, *, lazy: bool = True) -> None:
    """Unmount the topmost mount at ``path``, which is not followed; busy ones are detached unless ``lazy`` is False."""
    try:
        try:
            syscalls.umount(path, syscalls.UMOUNT_NOFOLLOW)
        except OSError as error:
            if error.errno != errno.EBUSY or not lazy:
                raise
            syscalls.umount(path, syscalls.UMOUNT_NOFOLLOW | syscalls.MNT_DETACH)
    except OSError as error:
        raise FailedPrecondition(f"cannot unmount {path}: {error.strerror}") from error


def mounts_below(root: str) -> list[str]:
    """Mount points at or below ``root``, in the order to unmount them."""
    root = os.path.realpath(root)
    found = []
    with open("/proc/self/mountinfo", "rb") as file:
        for line in file:
            path = os.fsdecode(_unescape_octal(line.split(b" ", 5)[4]))
            if path == root or path.startswith(root.rstrip("/") + "/"):
                found.append(path)
    return found[::-1]


def _make_place() -> str:
    from tempfile import mkdtemp

    return mkdtemp(prefix="buildkit-mount-")


@contextmanager
def mounted(mounts: Sequence[Mount], at: str | None = None) -> Iterator[str]:
    """Mount for the length of the block, at ``at`` or at a temporary directory; yields the path."""
    place = at if at is not None else _make_place()
    try:
        mount_all(mounts, place)
        try:
            yield place
        finally:
            for what in reversed(mounts):
                unmount(os.path.join(place, what.target.lstrip("/")) if what.target else place)
    finally:
        if at is None:
            os.rmdir(place)


@contextmanager
def opened(what: Mount) -> Iterator[int]:
    """A directory descriptor into the mount, which appears in no mount table; gone when the descriptor closes.

    A plain bind needs no mount at all. Where the kernel lacks fsmount(2), the mount is made in a temporary place
    and detached at once.
    """
    flags, _, rest = _parse(what)
    with _explained(what, what.source):
        if flags & syscalls.MS_BIND:
            if flags & syscalls.MS_RDONLY and overlay.has_mount_api():
                detached = _clone(what.source, flags)
            else:
                detached = os.open(what.source, os.O_PATH | os.O_CLOEXEC)
        elif what.type == "overlay" and overlay.has_mount_api():
            detached = overlay.open_detached(rest, _attributes(flags))
        else:
            detached = -1
    if detached < 0:
        place = _make_place()
        try:
            mount(what, place)
            detached = os.open(place, os.O_PATH | os.O_CLOEXEC)
            syscalls.umount(place, syscalls.MNT_DETACH)
        finally:
            os.rmdir(place)
    try:
        directory = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=detached)
        try:
            yield directory
        finally:
            os.close(directory)
    finally:
        os.close(detached)


def _parse(what: Mount) -> tuple[int, list[int], list[str]]:
    """Flags of mount(2), propagation changes that follow, and what is left for the file system."""
    flags = syscalls.MS_BIND if what.type == "bind" else 0
    propagation, rest = [], []
    for option in what.options:
        if option in _FLAGS:
            flags |= _FLAGS[option]
        elif option in _PROPAGATION:
            propagation.append(_PROPAGATION[option])
        elif option not in _DEFAULTS:
            rest.append(option)
    return flags, propagation, rest


def _attributes(flags: int) -> int:
    # the four lowest flags of mount(2) are the same bits here
    return flags & 15


def _clone(source: str, flags: int) -> int:
    recursive = bool(flags & syscalls.MS_REC)
    deep = syscalls.AT_RECURSIVE if recursive else 0
    fd = syscalls.open_tree(source, syscalls.OPEN_TREE_CLONE | syscalls.OPEN_TREE_CLOEXEC | deep)
    try:
        syscalls.mount_setattr(fd, _attributes(flags), recursive=recursive)
    except OSError:
        os.close(fd)
        raise
    return fd


def _bind(source: str, target: str, flags: int) -> None:
    extra = flags & ~_BIND_FLAGS
    if extra and extra == _attributes(extra) and overlay.has_mount_api():
        try:
            fd = _clone(source, flags)
        except OSError as error:
            if error.errno != errno.ENOSYS:
                raise
        else:
            try:
                syscalls.move_mount(fd, target)
            finally:
                os.close(fd)
            return
    syscalls.mount(source, target, "", flags & _BIND_FLAGS, "")
    if extra:
        # flags that a user namespace has locked must be given again; statvfs uses the bits of mount(2) for these
        kept = os.statvfs(source).f_flag & (15 | syscalls.MS_NOATIME | syscalls.MS_NODIRATIME)
        try:
            syscalls.mount("", target, "", flags | kept | syscalls.MS_REMOUNT, "")
        except OSError:
            syscalls.umount(target, syscalls.UMOUNT_NOFOLLOW | syscalls.MNT_DETACH)
            raise


def _mount_overlay(what: Mount, target: str, flags: int, rest: list[str]) -> None:
    lowers = overlay.lowers_of(rest)
    if len(lowers) > overlay.MOST_LOWERS:
        raise FailedPrecondition(
            f"cannot mount an overlay of {len(lowers)} lower directories: "
            f"the kernel's limit is {overlay.MOST_LOWERS}; flatten some of the layers"
        )
    text = ",".join(rest)
    if len(os.fsencode(text)) <= _PAGE:
        syscalls.mount(what.source or "overlay", target, "overlay", flags, text)
    elif overlay.has_mount_api() and overlay.has_lowerdir_plus() and flags == _attributes(flags):
        fd = overlay.open_detached(rest, _attributes(flags))
        try:
            syscalls.move_mount(fd, target)
        finally:
            os.close(fd)
    else:
        overlay.mount_relative(rest, target, flags, _PAGE)


@contextmanager
def _explained(what: Mount, target: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        kinds: dict[int | None, Callable[[str], BuildkitError]] = {
            errno.EPERM: PermissionDenied,
            errno.EACCES: PermissionDenied,
            errno.ENODEV: Unsupported,
        }
        kind = kinds.get(error.errno, FailedPrecondition)
        source = f" {what.source}" if what.source != what.type else ""
        raise kind(f"cannot mount {what.type}{source} on {target}: {error.strerror}") from error


def _unescape_octal(text: bytes) -> bytes:
    if b"\\" not in text:
        return text
    for code in (0o40, 0o11, 0o12, 0o134):
        text = text.replace(b"\\%03o" % code, bytes((code,)))
    return text
