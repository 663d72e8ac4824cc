"""Talking with systemd: readiness (``sd_notify``) and sockets that it hands over (``sd_listen_fds``)."""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping

from buildkit.core.errors import InvalidInput

FIRST = 3
"""The first descriptor that is handed over."""


def notify(state: str, environ: MutableMapping[str, str]) -> bool:
    """Tell the service manager ``READY=1`` or ``STOPPING=1``; whether there is one that listens."""
    address = environ.get("NOTIFY_SOCKET")
    if not address:
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
            out.sendto(state.encode(), address)
    except OSError:
        return False
    return True


def handed_over(name: str, environ: MutableMapping[str, str]) -> socket.socket:
    """The first socket that systemd gave us (``fd://``); raises `InvalidInput`."""
    ours = environ.pop("LISTEN_PID", "") == str(os.getpid())
    count = environ.pop("LISTEN_FDS", "0")
    environ.pop("LISTEN_FDNAMES", None)
    if not ours or not count.isdigit() or int(count) < 1:
        raise InvalidInput("no sockets found via socket activation: make sure the service was started by systemd")
    if name:
        raise InvalidInput(f"fd://{name}: not supported yet, only fd:// (the first socket)")
    for number in range(FIRST, FIRST + int(count)):
        os.set_inheritable(number, False)
    return socket.socket(fileno=FIRST)
