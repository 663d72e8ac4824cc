"""A gRPC server over one HTTP/2 connection; `serve_connection` ties it to any byte stream."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from buildkit.core.errors import BuildkitError, InvalidInput, Unsupported
from buildkit.core.values import dataclass
from buildkit.rpc import status
from buildkit.rpc.call import Call, headers_of, metadata_of
from buildkit.rpc.h2 import Connection
from buildkit.rpc.hpack import Headers
from buildkit.rpc.stream import Chunk, Stream

Unary: TypeAlias = Callable[[bytes, "ServerCall"], Awaitable[bytes]]
Streaming: TypeAlias = Callable[["ServerCall"], Awaitable[None]]

_RESPONSE: Headers = ((b":status", b"200"), (b"content-type", b"application/grpc"))
_LARGEST_TRAILERS = 1 << 20
"""Bytes of trailers for a peer that names no limit."""
_TRAILER_OVERHEAD = 512
_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}


@dataclass(frozen=True, slots=True)
class Method:
    """A handler: ``unary`` takes and gives one serialized message, ``streaming`` drives the call itself."""

    unary: Unary | None = None
    streaming: Streaming | None = None


class ServerCall(Call):
    """The server's side of a call."""

    def __init__(self, path: str, stream: Stream, headers: Headers) -> None:
        super().__init__(metadata_of(headers))
        self.path = path
        self._stream = stream
        self._headers_sent = False
        stream.events = self
        for name, value in headers:
            if name == b"grpc-encoding":
                self._reader.compression = value.decode("latin-1")

    def send_response_metadata(self, metadata: Mapping[str, list[str]]) -> None:
        """Send headers now, with these fields; must come before the first message."""
        self.response_metadata.update(metadata)
        self._before_first_message()

    def headers(self, headers: Headers, end: bool) -> None:
        """Events.headers: request trailers are allowed and ignored."""
        if end:
            self._finish(self._reader.finish())

    def _before_first_message(self) -> None:
        if not self._headers_sent and self._stream is not None:
            self._headers_sent = True
            self._stream.send_headers(_RESPONSE + headers_of(self.response_metadata))

    def finish(self, error: BaseException | None) -> None:
        """Send the trailers."""
        stream, self._cancel_task = self._stream, None
        if stream is None or stream.local_closed:
            return
        trailers: Headers = ((b"grpc-status", b"0"), (b"grpc-message", b""))
        if error is not None:
            trailers = _trailers_of(error, stream.connection.header_list or _LARGEST_TRAILERS)
        if not self._headers_sent:
            self._headers_sent = True
            trailers = _RESPONSE + headers_of(self.response_metadata) + trailers
        stream.finish(trailers)


def _trailers_of(error: BaseException, limit: int) -> Headers:
    """An error as trailers; details that make them larger than ``limit`` bytes are left out."""
    state = status.to_status(error)
    text = status.encode_message(state.message, min(8192, max(256, limit // 2)))
    trailers: Headers = ((b"grpc-status", str(state.code).encode()), (b"grpc-message", text))
    if state.details or len(text) < len(status.encode_message(state.message)):
        details = base64.b64encode(state.SerializeToString()).rstrip(b"=")
        if len(details) + len(text) + _TRAILER_OVERHEAD < limit:
            trailers += ((b"grpc-status-details-bin", details),)
    return trailers


class Server:
    """Methods by path (``/package.Service/Method``), served on any number of connections."""

    def __init__(self, methods: Mapping[str, Method]) -> None:
        self.methods = dict(methods)
        self._connections: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.draining = False

    def connect(self, write: Callable[[list[Chunk]], None], closed: Callable[[str], None]) -> Connection:
        """A connection in server role; feed it with `Connection.receive`."""

        def ended(reason: str) -> None:
            self._connections.discard(connection)
            closed(reason)

        connection = Connection(client=False, write=write, accept=self._accept, closed=ended)
        self._connections.add(connection)
        connection.start()
        if self.draining:
            connection.drain()
        return connection

    def _accept(self, stream: Stream, headers: Headers, end: bool) -> None:
        fields = dict(headers)
        path = fields.get(b":path", b"").decode("latin-1")
        call = ServerCall(path, stream, headers)
        if fields.get(b":method") != b"POST" or not fields.get(b"content-type", b"").startswith(b"application/grpc"):
            stream.finish(((b":status", b"415"),))
            return
        if end:
            call._finish(None)
        method = self.methods.get(path)
        if method is None:
            call.finish(_unknown(path, self.methods))
            return
        try:
            timeout = _parse_timeout(fields.get(b"grpc-timeout"))
        except InvalidInput as error:
            call.finish(error)
            return
        task = asyncio.create_task(self._run(method, call, timeout))
        call._cancel_task = lambda: _cancel(task)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, method: Method, call: ServerCall, seconds: float | None) -> None:
        error: BaseException | None = None
        try:
            async with asyncio.timeout(seconds):
                if method.unary is not None:
                    request = await call.receive()
                    if request is None:
                        raise InvalidInput("the request has no message")
                    call.send_all([await method.unary(request, call)])
                elif method.streaming is not None:
                    await method.streaming(call)
        except asyncio.CancelledError as cancelled:
            error = cancelled
        except TimeoutError:
            error = TimeoutError("context deadline exceeded")
        except Exception as failure:
            error = failure
        call.finish(error)

    async def drain(self) -> None:
        """Take no new calls on any connection and wait for those that run."""
        self.draining = True
        for connection in list(self._connections):
            connection.drain()
        while self._tasks:
            await asyncio.wait(self._tasks)

    def cancel(self) -> None:
        """Cancel every call that runs."""
        for task in self._tasks:
            task.cancel()


def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()


def _unknown(path: str, methods: Mapping[str, Method]) -> BuildkitError:
    service, _, name = path.strip("/").rpartition("/")
    if any(known.startswith(f"/{service}/") for known in methods):
        return Unsupported(f"unknown method {name} for service {service}")
    return Unsupported(f"unknown service {service}")


def _parse_timeout(value: bytes | None) -> float | None:
    if value is None:
        return None
    text = value.decode("latin-1")
    if len(text) < 2 or len(text) > 9 or text[-1] not in _UNITS or not (text.isascii() and text[:-1].isdigit()):
        raise InvalidInput(f"malformed grpc-timeout {text!r}")
    return int(text[:-1]) * _UNITS[text[-1]]
