"""Byte streams for connections: asyncio transports (sockets, TLS, pipes) and the session tunnel's messages."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from buildkit.rpc.h2 import Connection
from buildkit.rpc.stream import Chunk

if TYPE_CHECKING:
    from buildkit.rpc.client import Channel
    from buildkit.rpc.server import Server


_READ_SIZE = 256 << 10

_SILENCE = 300.0
"""Seconds without a byte from the far end of a network after which it is asked whether it is there: gRPC servers
take more frequent questions for abuse."""
_PATIENCE = 20.0
"""Seconds that it has for the answer."""
_TOKEN = b"buildkit"


class Wire(asyncio.BufferedProtocol):
    """An asyncio protocol that feeds a connection and stops it when the transport is full."""

    def __init__(self, connect: Callable[[Wire], Connection]) -> None:
        self._connect = connect
        self._buffer = memoryview(bytearray(_READ_SIZE))
        self.connection: Connection | None = None
        self.transport: asyncio.Transport | None = None
        self._heard = 0.0
        self._keeping: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The stream is there."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101
        transport.set_write_buffer_limits(high=1 << 20)
        self.transport = transport
        self.connection = self._connect(self)
        found = transport.get_extra_info("socket")
        if found is not None and found.family in (socket.AF_INET, socket.AF_INET6):
            self._keep_alive()

    def _keep_alive(self) -> None:
        """Ask the far end after a while of silence, again and again: a cable that was pulled says nothing."""
        loop = asyncio.get_running_loop()
        rest = self._heard + _SILENCE - loop.time() if self._heard else _SILENCE
        if rest > 0:
            self._keeping = loop.call_later(rest, self._keep_alive)
        elif self.connection is not None:
            self._keeping = loop.call_later(_PATIENCE, self._give_up)
            self.connection.ping(_TOKEN, self._answered)

    def _answered(self) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
        self._heard = asyncio.get_running_loop().time()
        self._keep_alive()

    def _give_up(self) -> None:
        if asyncio.get_running_loop().time() - self._heard < _PATIENCE:
            self._keep_alive()  # the answer waits behind other bytes
        elif self.transport is not None and self.connection is not None:
            self.connection.lost("the far end does not answer any more")
            self.transport.abort()

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
            if self._keeping is not None:
                self._heard = asyncio.get_running_loop().time()
            self.connection.receive(self._buffer[:nbytes])

    def connection_lost(self, error: Exception | None) -> None:
        """The stream ended."""
        if self._keeping is not None:
            self._keeping.cancel()
            self._keeping = None
        if self.connection is not None:
            reason = error.strerror if isinstance(error, OSError) else str(error or "")
            self.connection.lost((reason or "connection closed").lower())

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
