"""``buildctl dial-stdio``: standard streams as a connection to the daemon; other machines run this over ssh or exec."""

from __future__ import annotations

import os

from buildkit.cli.flags import Command, Parsed
from buildkit.cli.target import address_of
from buildkit.client.places import default_sockets
from buildkit.core.errors import InvalidInput, Unavailable

COMMAND = Command(
    "dial-stdio", "Connect standard input and output to the daemon's socket. Programs run this, not people.", ()
)
_PIECE = 1 << 18


def run(parsed: Parsed) -> None:
    """Copy both ways until the daemon has said its last; the end of standard input closes our half only."""
    import socket
    import threading

    path = _path(address_of(parsed) or f"unix://{default_sockets()[-1]}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(int(parsed.text("timeout", "5")) or None)
        try:
            connection.connect(path)
        except OSError as error:
            reason = "i/o timeout" if isinstance(error, TimeoutError) else (error.strerror or str(error)).lower()
            raise Unavailable(f"dial unix {path}: connect: {reason}") from None
        connection.settimeout(None)

        def send() -> None:
            try:
                while piece := os.read(0, _PIECE):
                    connection.sendall(piece)
                connection.shutdown(socket.SHUT_WR)
            except OSError:
                return

        threading.Thread(target=send, daemon=True).start()
        while piece := connection.recv(_PIECE):
            _write(piece)


def _write(piece: bytes) -> None:
    rest = memoryview(piece)
    while rest:
        rest = rest[os.write(1, rest) :]


def _path(address: str) -> str:
    scheme, separator, path = address.partition("://")
    if not separator:
        raise InvalidInput(f"invalid address {address}")
    if scheme != "unix":
        raise InvalidInput(f"invalid address {address} (expected unix://, got {scheme}://)")
    if not path:
        raise Unavailable("dial unix: missing address")
    return path
