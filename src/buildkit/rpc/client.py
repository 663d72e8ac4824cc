"""A gRPC client over one HTTP/2 connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from buildkit.core.errors import BuildkitError, Canceled, Internal, Unavailable
from buildkit.rpc import frames, status
from buildkit.rpc.call import Call, Metadata, decode_binary, headers_of, metadata_of
from buildkit.rpc.h2 import Connection
from buildkit.rpc.hpack import Headers
from buildkit.rpc.stream import Chunk


class ClientCall(Call):
    """The client's side of a call."""

    def __init__(self, metadata: Metadata) -> None:
        super().__init__(metadata)
        self.started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the response's headers are there."""

    def headers(self, headers: Headers, end: bool) -> None:
        """Events.headers: the response's headers or trailers."""
        fields = dict(headers)
        if not self.started.done():
            self.response_metadata.update(metadata_of(headers))
            self._reader.compression = fields.get(b"grpc-encoding", b"").decode("latin-1")
            self.started.set_result(None)
        if b"grpc-status" in fields:
            self._finish(_error_of_trailers(fields) or self._reader.finish())
        elif fields.get(b":status", b"200") != b"200":
            code = fields[b":status"].decode("latin-1")
            self._finish(Unavailable(f"unexpected HTTP status code received from server: {code}"))
        elif end:
            self._finish(Internal("server closed the stream without sending trailers"))

    def _finish(self, error: BuildkitError | None) -> None:
        super()._finish(error)
        if not self.started.done():
            self.started.set_result(None)

    def end(self) -> None:
        """We send no more messages."""
        if self._stream is not None:
            self._stream.send([], end=True)

    def cancel(self) -> None:
        """Abandon the call."""
        self.fail(Canceled("context canceled"))
        if self._stream is not None:
            self._stream.reset(frames.CANCEL)


class Channel:
    """Calls on one connection; feed `connection.receive` with what is read."""

    def __init__(
        self, write: Callable[[list[Chunk]], None], *, authority: str = "localhost", closed: Callable[[str], None]
    ) -> None:
        self.connection = Connection(client=True, write=write, closed=closed)
        self._fixed: Headers = (
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":authority", authority.encode()),
            (b"te", b"trailers"),
            (b"content-type", b"application/grpc"),
            (b"user-agent", b"pybuildkit"),
            (b"grpc-accept-encoding", b"gzip"),
        )

    def start(self) -> None:
        """Send the preface."""
        self.connection.start()

    def call(self, path: str, metadata: Metadata | None = None, *, seconds: float | None = None) -> ClientCall:
        """Open a streaming call; raises `Unavailable` when the connection is gone.

        ``seconds`` is the deadline that the server is told; keeping it on this side is up to the caller.
        """
        call = ClientCall(metadata or {})
        headers = (*self._fixed[:2], (b":path", path.encode()), *self._fixed[2:], *headers_of(call.metadata))
        if seconds is not None:
            headers += ((b"grpc-timeout", f"{max(1, int(seconds * 1000))}m".encode()),)
        try:
            call._stream = self.connection.open(headers, call)
        except ConnectionError as error:
            raise Unavailable(f"{path}: {error}") from error
        return call

    async def unary(
        self,
        path: str,
        request: bytes,
        metadata: Mapping[str, Sequence[str]] | None = None,
        *,
        seconds: float | None = None,
    ) -> bytes:
        """Send one message and return the one that answers; raises the server's error, or `TimeoutError`."""
        if seconds is not None:
            async with asyncio.timeout(seconds):
                return await self._unary(self.call(path, metadata, seconds=seconds), path, request)
        return await self._unary(self.call(path, metadata), path, request)

    async def _unary(self, call: ClientCall, path: str, request: bytes) -> bytes:
        try:
            call.send_all([request])
            call.end()
            response = await call.receive()
            if response is None:
                raise Internal(f"{path}: the server sent no message")
            await call.receive()
        except BaseException:
            call.cancel()
            raise
        return response


def _error_of_trailers(fields: Mapping[bytes, bytes]) -> BuildkitError | None:
    text = fields[b"grpc-status"]
    code = int(text) if text.isdigit() and len(text) < 10 else status.UNKNOWN
    if code == status.OK:
        return None
    if packed := fields.get(b"grpc-status-details-bin"):
        try:
            return status.unpack(decode_binary(packed))
        except ValueError:
            pass
    return status.error_of(code, status.decode_message(fields.get(b"grpc-message", b"")))
