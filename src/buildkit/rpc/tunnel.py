"""A byte stream inside a gRPC stream of ``BytesMessage{bytes data = 1}``: how sessions travel (rows A42, A130).

The daemon is the HTTP/2 client inside the tunnel and the real client serves. Payloads are unwrapped and wrapped by
hand: their number, not their size, is what costs.
"""

from __future__ import annotations

from collections.abc import Callable

from buildkit.core.errors import BuildkitError, InvalidInput
from buildkit.rpc.call import Call
from buildkit.rpc.h2 import Connection
from buildkit.rpc.message import viewed
from buildkit.rpc.stream import Chunk

_TAG = 0x0A
_LARGEST_PAYLOAD = 1 << 20


def wrap(payload: bytes) -> bytes:
    """A ``BytesMessage`` around a payload."""
    size = len(payload)
    out = bytearray((_TAG,))
    while size > 0x7F:
        out.append(size & 0x7F | 0x80)
        size >>= 7
    out.append(size)
    out += payload
    return bytes(out)


def unwrap(message: Chunk) -> bytes:
    """The payload of a ``BytesMessage``; an empty message has an empty one."""
    return bytes(payload_of(message, 0, len(message)))


def payload_of(buffer: Chunk, start: int, end: int) -> Chunk:
    """The payload of the ``BytesMessage`` at a place in a buffer: a view of it if it is large."""
    if start == end:
        return b""
    if buffer[start] != _TAG:
        raise InvalidInput("tunnel: message is not a BytesMessage")
    size = shift = 0
    for at in range(start + 1, min(end, start + 6)):
        byte = buffer[at]
        size |= (byte & 0x7F) << shift
        if byte < 0x80:
            at += 1
            if at + size != end:
                raise InvalidInput("tunnel: message is cut short")
            return viewed(buffer, at, end)
        shift += 7
    raise InvalidInput("tunnel: message is malformed")


class Tunnel:
    """Ties an inner connection, in either role, to the call that carries it."""

    def __init__(
        self,
        call: Call,
        connect: Callable[[Callable[[list[Chunk]], None], Callable[[str], None]], Connection],
        ended: Callable[[BuildkitError | None], None],
    ) -> None:
        """``connect(write, closed)`` makes the inner connection; ``ended`` is told when the outer call ends."""
        self._call = call
        self._ended = ended
        self._over = False
        self.connection = connect(self._write, self._inner_closed)
        call.on_drained = self._drained
        call.consume(self._take, self._end, payload_of)

    def close(self, reason: str) -> None:
        """End the inner connection; the outer call is its owner's to end."""
        self._over = True
        self.connection.lost(reason)

    def _take(self, payloads: list[Chunk]) -> None:
        self.connection.receive(b"".join(payloads))

    def _write(self, chunks: list[Chunk]) -> None:
        if self._over:
            return
        content = b"".join(chunks)
        parts = [content[at : at + _LARGEST_PAYLOAD] for at in range(0, len(content), _LARGEST_PAYLOAD)]
        self._call.send_all([wrap(part) for part in parts])
        if self._call.crowded:
            self.connection.pause_writing()

    def _drained(self) -> None:
        self.connection.resume_writing()

    def _end(self, error: BuildkitError | None) -> None:
        if not self._over:
            self._over = True
            self.connection.lost(str(error) if error is not None else "session ended")
            self._ended(error)

    def _inner_closed(self, reason: str) -> None:
        if not self._over:
            self._over = True
            self._ended(None)
