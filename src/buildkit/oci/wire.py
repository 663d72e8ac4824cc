"""A request on its way to a server: it can be broken off from another thread, at any moment."""

from __future__ import annotations

from buildkit.core.errors import Canceled
from buildkit.oci.http1 import Connection

STALL_TIMEOUT = 120.0
"""Seconds without a byte after which a connection is given up."""


class Wire:
    """A request on its way, and how to break it off."""

    def __init__(self) -> None:
        self.connection: Connection | None = None
        self.connecting = False
        self.over = False

    def connect(self) -> None:
        """Open the connection unless it is; raises `OSError`, and `Canceled` if it was broken off meanwhile."""
        connection = self.connection
        if connection is None or connection.sock is not None:
            return
        self.connecting = True
        try:
            connection.connect()
        finally:
            self.connecting = False
        _settle(connection)
        if self.over:
            connection.close()
            raise Canceled("context canceled")

    def abort(self) -> None:
        """Break it off: it ends soon, unless it is connecting, which takes as long as it takes."""
        self.over = True
        if self.connection is not None:
            shut(self.connection)


def _settle(connection: Connection) -> None:
    if connection.sock is not None:
        connection.sock.settimeout(STALL_TIMEOUT)


def shut(connection: Connection) -> None:
    """Break a connection off; a thread that waits for it wakes up."""
    import socket

    try:
        if connection.sock is not None:
            connection.sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
