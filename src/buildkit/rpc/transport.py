"""Byte streams for connections: asyncio transports (sockets, TLS, pipes) and the session tunnel's messages."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from buildkit.rpc.h2 import Connection
from buildkit.rpc.stream import Chunk

if TYPE_CHECKING:
    from buildkit.rpc.client import Channel
    from buildkit.rpc.server import Server


_READ_SIZE = 256 << 10


class Wire(asyncio.BufferedProtocol):
    """An asyncio protocol that feeds a connection and stops it when the transport is full."""

    def __init__(self, connect: Callable[[Wire], Connection]) -> None:
        self._connect = connect
        self._buffer = memoryview(bytearray(_READ_SIZE))
        self.connection: Connection | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The stream is there."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101
        transport.set_write_buffer_limits(high=1 << 20)
        self.transport = transport
        self.connection = self._connect(self)

    def write(self, chunks: list[Chunk]) -> None:
        """Write for the connection."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.writelines(chunks)

    def close(self, reason: str = "") -> None:
        """Close after what is written."""
        if self.transport is not None:
            self.transport.close()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where to read: always the same place, since making it anew costs more than reading."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes came."""
        if self.connection is not None:
            self.connection.receive(self._buffer[:nbytes])

    def connection_lost(self, error: Exception | None) -> None:
        """The stream ended."""
        if self.connection is not None:
            self.connection.lost(str(error or "connection closed"))

    def pause_writing(self) -> None:
        """The transport is full."""
        if self.connection is not None:
            self.connection.pause_writing()

    def resume_writing(self) -> None:
        """The transport has room."""
        if self.connection is not None:
            self.connection.resume_writing()


def serve(server: Server) -> Callable[[], Wire]:
    """A protocol factory for ``loop.create_unix_server`` and its relatives."""
    return lambda: Wire(lambda wire: server.connect(wire.write, wire.close))


def attach(channel_of: Callable[[Wire], Channel]) -> Callable[[], Wire]:
    """A protocol factory for ``loop.create_unix_connection`` and its relatives."""
    return lambda: Wire(lambda wire: channel_of(wire).connection)
