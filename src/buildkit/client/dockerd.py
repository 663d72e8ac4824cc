"""The BuildKit inside Docker's daemon: its socket speaks HTTP/1 until it is asked to change to gRPC (row A133)."""

from __future__ import annotations

import asyncio
import socket

from buildkit.core.errors import Unavailable

SOCKET = "/var/run/docker.sock"
"""Where ``dockerd://`` without a path leads."""
_REQUEST = b"POST /grpc HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 0\r\n\r\n"
_LONGEST = 16 << 10


async def open_builder(path: str) -> socket.socket:
    """A connected socket on which the builder behind the unix socket ``path`` speaks HTTP/2.

    Raises `OSError`, and `Unavailable` for a daemon without a builder.
    """
    loop = asyncio.get_running_loop()
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        await loop.sock_connect(made, path)
        await loop.sock_sendall(made, _REQUEST)
        head = bytearray()
        while not head.endswith(b"\r\n\r\n") and len(head) < _LONGEST:
            byte = await loop.sock_recv(made, 1)  # what comes after the answer is not ours to read
            if not byte:
                break
            head += byte
        status = head.partition(b"\r\n")[0].decode("latin-1")
        if status.split()[1:2] != ["101"]:
            shown = "".join(character if character.isprintable() else "?" for character in status[:100])
            raise Unavailable(f"dockerd://{path} gives no access to its builder: {shown or 'it hung up'}")
    except BaseException:
        made.close()
        raise
    return made
