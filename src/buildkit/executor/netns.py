"""Network namespaces: made by a thread that goes back to its own, kept by a mount in the enclosure.

The kernel drops a namespace with the last thing that holds it, so a mount in the enclosure lasts as long as this
process and no longer.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import socket
import struct
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from buildkit.core.errors import Internal, PermissionDenied
from buildkit.core.values import dataclass
from buildkit.fs import syscalls

_CLONE_NEWNET = 0x40000000
_SIOCGSKNS, _SIOCGIFFLAGS, _SIOCSIFFLAGS, _SIOCBRDELBR = 0x894C, 0x8913, 0x8914, 0x89A1
_IFF_UP = 1
_SO_NETNS_COOKIE = 71
_INTERFACE = struct.Struct("16sh22x")


@dataclass(frozen=True, slots=True)
class StandIn:
    """An interface with addresses (``10.10.0.2/16``) where one of the same name was."""

    interface: str
    addresses: tuple[str, ...]


def make_namespace(path: str, stand_ins: Sequence[StandIn] = ()) -> None:
    """Mount a new network namespace with its loopback device up on the file ``path``, which is created.

    With ``stand_ins`` it gets interfaces that lead nowhere. Called inside of the enclosure; raises `OSError`, or
    `PermissionDenied` where none can be made.
    """
    fd = _in_new_namespace(lambda: _furnish(stand_ins))
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        try:
            flags = syscalls.OPEN_TREE_CLONE | syscalls.OPEN_TREE_CLOEXEC | syscalls.AT_EMPTY_PATH
            tree = syscalls.open_tree("", flags, directory=fd)
            try:
                syscalls.move_mount(tree, path)
            finally:
                os.close(tree)
        except BaseException:
            os.unlink(path)
            raise
    finally:
        os.close(fd)


def drop_namespace(path: str) -> None:
    """Unmount and remove what `make_namespace` made, as far as it is there; called inside of the enclosure."""
    try:
        syscalls.umount(path, syscalls.MNT_DETACH)
    except OSError:
        pass
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def network_id() -> str:
    """What tells this thread's network from every other since the machine started; inode numbers come again."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as control:
        try:
            number = int.from_bytes(control.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8), sys.byteorder)
        except OSError:  # before Linux 5.14
            number = os.stat("/proc/thread-self/ns/net").st_ino
    return f"{boot}-{number}"


def set_up(interface: str, *, up: bool = True) -> None:
    """Bring an interface of this thread's network up or down; raises `OSError`."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as control:
        asked = _INTERFACE.pack(interface.encode(), 0)
        name, flags = _INTERFACE.unpack(fcntl.ioctl(control, _SIOCGIFFLAGS, asked))
        flags = flags | _IFF_UP if up else flags & ~_IFF_UP
        fcntl.ioctl(control, _SIOCSIFFLAGS, _INTERFACE.pack(name, flags))


def remove_bridge(name: str) -> None:
    """Remove a bridge of this thread's network; raises `OSError`."""
    set_up(name, up=False)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as control:
        fcntl.ioctl(control, _SIOCBRDELBR, name.encode() + b"\0")


def _furnish(stand_ins: Sequence[StandIn]) -> None:
    set_up("lo")
    program = shutil.which("ip") or shutil.which("ip", path="/usr/sbin:/sbin")
    if program is None:
        return
    for number, one in enumerate(stand_ins):
        words = ["link", "add", one.interface, "type", "veth", "peer", "name", f"nowhere{number}"]
        _spawn([program, *words])
        for address in one.addresses:
            _spawn([program, "address", "add", address, "dev", one.interface])


def _spawn(command: list[str]) -> None:
    quiet = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1, 2)]
    os.waitpid(os.posix_spawn(command[0], command, {}, file_actions=quiet), 0)


def _in_new_namespace(furnish: Callable[[], None]) -> int:
    """A descriptor of a new namespace in which ``furnish`` has run; this thread is back in its own afterwards."""
    libc = ctypes.CDLL(None, use_errno=True)
    home = _namespace_of_thread()
    try:
        if libc.unshare(_CLONE_NEWNET):
            raise PermissionDenied(f"cannot make a network namespace: {os.strerror(ctypes.get_errno())}")
        try:
            furnish()
            return _namespace_of_thread()
        finally:
            if libc.setns(home, _CLONE_NEWNET):
                raise Internal("a thread cannot leave the network that it made")
    finally:
        os.close(home)


def _namespace_of_thread() -> int:
    """A descriptor, got without ``/proc``: in the enclosure that does not show this thread."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as one:
        return fcntl.ioctl(one, _SIOCGSKNS, 0)
