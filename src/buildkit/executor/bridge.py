"""A bridge of our own, for machines where nobody configured a network: private addresses, the world by NAT."""

from __future__ import annotations

import fcntl
import ipaddress
import os
import socket
from pathlib import Path

from buildkit.core.errors import FailedPrecondition, InvalidInput
from buildkit.executor.cni import Network
from buildkit.executor.netns import network_id, remove_bridge

LOCKS = Path("/run/buildkit")
"""Where processes agree about the machine's networks."""

_LONGEST_NAME = 15
_SIOCBRADDBR = 0x89A0


def bridge_network(bridge: str, subnet: str) -> Network:
    """The network on a bridge, which is its gateway; containers on it reach each other. Raises `InvalidInput`."""
    if not 0 < len(bridge) <= _LONGEST_NAME or bridge in (".", "..") or set(bridge) & set("/: \t\n"):
        raise InvalidInput(f"invalid bridge name {bridge!r}")
    try:
        ipaddress.ip_network(subnet)
    except ValueError as error:
        raise InvalidInput(f"invalid subnet of bridge {bridge}: {error}") from None
    plugins = (
        {
            "type": "bridge",
            "bridge": bridge,
            "isDefaultGateway": True,
            "ipMasq": True,
            "ipam": {"type": "host-local", "ranges": [[{"subnet": subnet}]]},
        },
        {"type": "firewall", "ingressPolicy": "same-bridge"},
    )
    return Network("buildkit", "1.0.0", plugins)


class Bridge:
    """The device. Every process that uses it holds a lock; the last one to leave removes it if one of them made it."""

    def __init__(self, name: str, locks: Path = LOCKS) -> None:
        self._name = name
        self._path = locks / f"{name}-{network_id()}.lock"
        self._lock = -1

    def hold(self) -> None:
        """Make the bridge where there is none, and keep it; blocks. Raises `FailedPrecondition`."""
        if self._lock >= 0:
            return
        self._path.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
        try:
            self._lock = self._locked()
        except OSError as error:
            raise FailedPrecondition(f"cannot make bridge {self._name}: {error.strerror}") from error

    def _locked(self) -> int:
        """A descriptor of the lock file, held together with others, while the bridge is there."""
        while True:
            lock = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                if not self._index():
                    self._make(lock)
                fcntl.flock(lock, fcntl.LOCK_SH)
                # meanwhile somebody else may have been the last to leave
                if self._index() and _is_file(lock, self._path):
                    return lock
            except BaseException:
                os.close(lock)
                raise
            os.close(lock)

    def leave(self) -> None:
        """Let go of the bridge; the last to do so removes it."""
        if self._lock < 0:
            return
        lock, self._lock = self._lock, -1
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            index = self._index()
            if index and os.pread(lock, 32, 0) == str(index).encode():
                remove_bridge(self._name)
            self._path.unlink()
        except OSError:
            pass
        finally:
            os.close(lock)

    def _index(self) -> int:
        """The device's number; 0 when there is none."""
        try:
            return socket.if_nametoindex(self._name)
        except OSError:
            return 0

    def _make(self, lock: int) -> None:
        """The bridge, and a note in the lock file that it is ours; no note where others still hold one that is gone."""
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            note = False
        else:
            note = True
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as control:
            try:
                fcntl.ioctl(control, _SIOCBRADDBR, self._name.encode() + b"\0")
            except FileExistsError:
                return
        if note:
            os.pwrite(lock, str(self._index()).encode(), 0)


def locked_file(path: Path) -> int:
    """A descriptor of a file that this process alone has locked, and that whoever has locked it may remove; blocks."""
    while True:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if _is_file(lock, path):
                return lock
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)


def _is_file(lock: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(lock), path.stat())
    except FileNotFoundError:
        return False
