"""HTTP/1.1 with kept connections: blocking sockets in threads, awaited from the loop.

Redirects are followed here and never carry ``Authorization`` to another scheme, host or port.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, BinaryIO, Protocol, TypeVar
from urllib.parse import SplitResult, urljoin, urlsplit

from buildkit.core.errors import Canceled, Corrupt, InvalidInput, Unavailable
from buildkit.core.threads import Threads
from buildkit.core.values import dataclass, field, replace
from buildkit.core.version import VERSION
from buildkit.oci.hosts import Tls, is_this_machine
from buildkit.oci.http1 import Answer, Connection, ProtocolError
from buildkit.oci.wire import Wire, shut

if TYPE_CHECKING:
    import ssl

T = TypeVar("T")

BLOCK = 256 << 10
"""Bytes read or sent at once."""
CONNECT_TIMEOUT = 30.0
IDLE_KEPT = 4
IDLE_SECONDS = 90.0
REDIRECT_LIMIT = 10
THREADS = 1_000
"""Requests at once, made as they are needed: one that gets no answer must not keep others from theirs."""
_MOST_DIGITS = 18
"""Of a length that is sane."""
_MOST_SAID = 1000
"""Characters that are shown of what a server says."""


class Unreachable(Unavailable):
    """A request got no answer. ``transient``: the same request may well succeed a moment later."""

    def __init__(self, message: str, *, transient: bool) -> None:
        super().__init__(message)
        self.transient = transient


class Sink(Protocol):
    """Where a blob goes; `buildkit.store.content.Ingest` is one."""

    offset: int
    """Bytes taken so far."""

    def write(self, content: bytes | bytearray | memoryview) -> int:
        """Take the next bytes."""

    def restart(self) -> None:
        """Forget what was taken: the server cannot continue there."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request. ``body`` opens the bytes to send, anew for each attempt; ``length`` is their number."""

    method: str
    url: str
    headers: Mapping[str, str]
    tls: Tls = field(default_factory=Tls)
    may_fall_back: bool = False
    body: Callable[[], BinaryIO] | None = None
    length: int = 0

    def __str__(self) -> str:
        return f'{self.method.capitalize()} "{_public(self.url)}"'


class Response:
    """An answer whose body is still to be read; `close` it, or read all of it, to give the connection back."""

    def __init__(self, transport: Transport, key: _Key, connection: Connection, raw: Answer, url: str) -> None:
        self._transport = transport
        self._key = key
        self._connection = connection
        self._raw = raw
        self.url = url
        """Where the answer came from, after redirects."""
        self.method = raw.method
        self.status = raw.status
        self.reason = raw.reason

    def header(self, name: str) -> str:
        """A header's value, or the empty string."""
        return self._raw.get(name) or ""

    def headers(self, name: str) -> list[str]:
        """All values of a header."""
        return self._raw.get_all(name)

    @property
    def length(self) -> int | None:
        """``Content-Length``, if it is given and sane."""
        text = self.header("Content-Length")
        return int(text) if text.isdecimal() and len(text) <= _MOST_DIGITS else None

    async def read(self, limit: int) -> bytes:
        """The body; raises `Corrupt` when it is longer than ``limit`` bytes, `Unreachable` when it breaks off."""

        def all_of_it() -> bytes:
            content = self._raw.read(limit + 1)
            if len(content) > limit:
                raise Corrupt(f"answer of {_public(self.url)} is longer than {limit} bytes")
            expected = self.length
            if self._raw.method != "HEAD" and expected is not None and len(content) < expected:
                raise _cut_off(self.url, len(content), expected)
            return content

        try:
            return await self._transport.in_thread(lambda: self._guard(all_of_it), self.abort)
        finally:
            self.close()

    async def copy_to(self, sink: Sink, *, limit: int) -> None:
        """Move the body into ``sink``, at most until it holds ``limit`` bytes; one thread for the whole body."""

        def copy() -> None:
            buffer = bytearray(BLOCK)
            view = memoryview(buffer)
            while sink.offset < limit:
                count = self._raw.readinto(view[: min(BLOCK, limit - sink.offset)])
                if not count:
                    return
                sink.write(view[:count])

        try:
            await self._transport.in_thread(lambda: self._guard(copy), self.abort)
        finally:
            self.close()

    async def skip(self, count: int) -> None:
        """Read ``count`` bytes and forget them."""

        def drop() -> None:
            left = count
            while left and (block := self._raw.read(min(BLOCK, left))):
                left -= len(block)

        await self._transport.in_thread(lambda: self._guard(drop), self.abort)

    def _guard(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except (OSError, ProtocolError) as error:
            self.abort()
            raise Unreachable(f"reading {_public(self.url)}: {_reason(error)}", transient=True) from error

    def abort(self) -> None:
        """Break the connection off; a thread that reads from it wakes up."""
        shut(self._connection)

    def close(self) -> None:
        """Keep the connection for the next request when the body is read, else close it."""
        if self._raw.isclosed():
            self._transport.keep(self._key, self._connection)
        else:
            self._raw.close()
            self._connection.close()


_Key = tuple[str, str, int, Tls]


class Transport:
    """Connections by scheme, host, port and TLS settings. Lives on one event loop."""

    def __init__(self) -> None:
        self._idle: dict[_Key, list[tuple[float, Connection]]] = {}
        self._lock = threading.Lock()
        self._plain: set[str] = set()
        self._contexts: dict[Tls, ssl.SSLContext] = {}
        self._threads: Threads | None = None

    async def send(self, request: Request) -> Response:
        """Send, follow redirects, and return the answer whatever its status; raises `Unreachable`."""
        for _ in range(REDIRECT_LIMIT + 1):
            response = await self._send_once(request)
            target = response.header("Location")
            if response.status not in (301, 302, 303, 307, 308) or not target:
                return response
            kept_method = response.status in (307, 308) or request.method in ("GET", "HEAD")
            response.close()
            if not kept_method:
                request = replace(request, method="GET", body=None, length=0)
            request = _redirected(request, urljoin(response.url, target))
        raise Unreachable(f"{request}: stopped after {REDIRECT_LIMIT} redirects", transient=False)

    async def _send_once(self, request: Request) -> Response:
        wire = Wire()
        return await self.in_thread(lambda: self._exchange(request, wire), wire.abort, lambda: wire.connecting)

    async def in_thread(
        self, work: Callable[[], T], abort: Callable[[], None], stuck: Callable[[], bool] = lambda: False
    ) -> T:
        """Run blocking I/O in one of our threads; when cancelled, ``abort`` it and wait for its end.

        Nobody waits for one that is ``stuck`` in what cannot be aborted, and that ends by itself then.
        """
        if self._threads is None:
            self._threads = Threads(asyncio.get_running_loop(), THREADS, "registry")
        begun: list[bool] = []
        over: list[bool] = []

        def begin() -> T:
            begun.append(True)
            if over:
                raise Canceled("context canceled")
            return work()

        future = self._threads.call(begin)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            over.append(True)
            if not begun:
                future.cancel()
                raise
            abort()
            future.add_done_callback(lambda done: done.cancelled() or done.exception())
            while not future.done() and not stuck():
                try:
                    await asyncio.wait([future])
                except asyncio.CancelledError:
                    abort()
            if (
                future.done()
                and not future.cancelled()
                and future.exception() is None
                and isinstance(left := future.result(), Response)
            ):
                left.abort()
                left.close()
            raise

    def _exchange(self, request: Request, wire: Wire) -> Response:
        parts = _split(request.url)
        while True:
            plain = request.may_fall_back and parts.netloc in self._plain
            key = _key(parts, request.tls, "http" if plain else parts.scheme)
            connection, fresh = self._take(key)
            wire.connection = connection
            try:
                wire.connect()
                raw = self._talk(connection, parts, request)
            except (OSError, ProtocolError) as error:
                connection.close()
                if wire.over:
                    raise Canceled("context canceled") from error
                if not fresh and _is_break(error):
                    continue
                if request.may_fall_back and not plain and _speaks_plain(error, parts):
                    self._plain.add(parts.netloc)
                    continue
                raise Unreachable(f"{request}: {_reason(error)}", transient=_is_transient(error)) from error
            return Response(self, key, connection, raw, request.url)

    def _talk(self, connection: Connection, parts: SplitResult, request: Request) -> Answer:
        headers = {
            "Host": _host_of(parts),
            "User-Agent": f"buildkit/{VERSION}",
            "Accept-Encoding": "identity",
            **request.headers,
        }
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        if request.method not in ("GET", "HEAD"):
            headers["Content-Length"] = str(request.length)
        if connection.through_proxy:
            target = request.url
        try:
            if request.body is None:
                connection.request(request.method, target, headers)
            else:
                with request.body() as body:
                    connection.request(request.method, target, headers, body)
        except (BrokenPipeError, ConnectionResetError):
            # A server may refuse an upload before it has all of it: then its answer is worth more than the break.
            if request.body is None:
                raise
            try:
                return connection.getresponse(request.method)
            except Exception:
                raise ConnectionResetError("connection reset by peer") from None
        return connection.getresponse(request.method)

    def _take(self, key: _Key) -> tuple[Connection, bool]:
        with self._lock:
            idle = self._idle.get(key, [])
            while idle:
                since, connection = idle.pop()
                if time.monotonic() - since < IDLE_SECONDS and not _is_stale(connection):
                    return connection, False
                connection.close()
        return self._connect(key), True

    def _connect(self, key: _Key) -> Connection:
        scheme, host, port, tls = key
        proxy = _proxy_for(scheme, host)
        place = proxy or (host, port)
        if scheme == "http":
            return Connection(place, timeout=CONNECT_TIMEOUT, through_proxy=proxy is not None)
        return Connection(place, timeout=CONNECT_TIMEOUT, context=self._context(tls), server=(host, port))

    def _context(self, tls: Tls) -> ssl.SSLContext:
        import ssl

        with self._lock:
            context = self._contexts.get(tls)
            if context is None:
                context = self._contexts[tls] = ssl.create_default_context()
                if not tls.verify:
                    context.check_hostname = False
                    context.verify_mode = ssl.CERT_NONE
                for path in tls.authorities:
                    try:
                        context.load_verify_locations(path)
                    except (OSError, ssl.SSLError) as error:
                        raise InvalidInput(f"failed to read {path}: {_reason(error)}") from error
                for pair in tls.key_pairs:
                    try:
                        context.load_cert_chain(pair.certificate, pair.key)
                    except (OSError, ssl.SSLError) as error:
                        raise InvalidInput(
                            f"failed to load keypair for {pair.certificate}: {_reason(error)}"
                        ) from error
            return context

    def keep(self, key: _Key, connection: Connection) -> None:
        """Take a connection back that is ready for another request."""
        with self._lock:
            idle = self._idle.setdefault(key, [])
            if connection.sock is not None and len(idle) < IDLE_KEPT:
                idle.append((time.monotonic(), connection))
                return
        connection.close()

    def close(self) -> None:
        """Close what is idle and let the threads go."""
        with self._lock:
            idle, self._idle = self._idle, {}
        for connections in idle.values():
            for _, connection in connections:
                connection.close()
        if self._threads is not None:
            self._threads.stop()
            self._threads = None


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return parts
    except ValueError:
        pass
    raise InvalidInput(f"invalid URL {_public(url)!r}")


def _host_of(parts: SplitResult) -> str:
    """The value of ``Host``."""
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    return f"{host}:{parts.port}" if parts.port not in (None, 443 if parts.scheme == "https" else 80) else host


def _key(parts: SplitResult, tls: Tls, scheme: str) -> _Key:
    port = parts.port or (443 if scheme == "https" else 80)
    return scheme, parts.hostname or "", port, tls if scheme == "https" else Tls()


def same_origin(one: str, other: str) -> bool:
    """Whether two URLs have the same scheme, host and port."""
    first, second = _split(one), _split(other)
    return _key(first, Tls(), first.scheme) == _key(second, Tls(), second.scheme)


def _redirected(request: Request, url: str) -> Request:
    if same_origin(request.url, url):
        return replace(request, url=url)
    headers = {k: v for k, v in request.headers.items() if k.lower() not in ("authorization", "cookie")}
    return replace(request, url=url, headers=headers, tls=replace(request.tls, key_pairs=()), may_fall_back=False)


def _proxy_for(scheme: str, host: str) -> tuple[str, int] | None:
    url = _variable(f"{scheme}_proxy")
    if not url or is_this_machine(host) or _goes_direct(host.lower(), _variable("no_proxy")):
        return None
    parts = urlsplit(url if "://" in url else "http://" + url)
    return (parts.hostname, parts.port or 80) if parts.hostname else None


def _variable(name: str) -> str:
    """An environment variable that is spelled in small letters, or else in capitals."""
    return os.environ.get(name, os.environ.get(name.upper(), ""))


def _goes_direct(host: str, exceptions: str) -> bool:
    """Whether ``no_proxy`` names the host or a domain that it is in."""
    names = [name.strip().lstrip(".").lower() for name in exceptions.split(",")]
    return exceptions.strip() == "*" or any(name and (host == name or host.endswith("." + name)) for name in names)


def _is_stale(connection: Connection) -> bool:
    """Whether an idle connection has been closed, or has said something unasked."""
    import select

    if connection.sock is None:
        return True
    poll = select.poll()
    poll.register(connection.sock, select.POLLIN | select.POLLHUP)
    return bool(poll.poll(0))


def _public(url: str) -> str:
    """The URL without the signatures that storage servers put into queries."""
    base, mark, _ = url.partition("?")
    return base + ("?…" if mark and ("ignature" in url or "oken" in url) else url[len(base) :])


def _cut_off(url: str, got: int, expected: int) -> Unreachable:
    return Unreachable(f"reading {_public(url)}: connection closed after {got} of {expected} bytes", transient=True)


def _is_break(error: Exception) -> bool:
    return isinstance(error, ConnectionError | ProtocolError) and not isinstance(error, ConnectionRefusedError)


def _is_transient(error: Exception) -> bool:
    if isinstance(error, ConnectionRefusedError):
        return False
    if isinstance(error, ConnectionError | TimeoutError | ProtocolError):
        return True
    ssl = sys.modules.get("ssl")
    return ssl is not None and isinstance(error, ssl.SSLEOFError)


def _speaks_plain(error: Exception, parts: SplitResult) -> bool:
    ssl = sys.modules.get("ssl")  # who has not imported it has no errors of its kinds
    if ssl is not None and isinstance(error, ssl.SSLError):
        return error.reason in (
            "WRONG_VERSION_NUMBER",
            "HTTP_REQUEST",
            "RECORD_LAYER_FAILURE",
            "PACKET_LENGTH_TOO_LONG",
        )
    return isinstance(error, ConnectionRefusedError | TimeoutError) and parts.port is None


def _reason(error: Exception) -> str:
    import socket

    ssl = sys.modules.get("ssl")
    if ssl is not None and isinstance(error, ssl.SSLCertVerificationError):
        return f"tls: failed to verify certificate: {error.verify_message}"
    if ssl is not None and isinstance(error, ssl.SSLError):
        return f"tls: {(error.reason or str(error)).lower().replace('_', ' ')}"
    if isinstance(error, socket.gaierror):
        return f"no such host ({error.strerror})"
    if isinstance(error, TimeoutError):
        return "i/o timeout"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[0].lower() + error.strerror[1:]
    return printable(str(error)) or type(error).__name__


def printable(text: str) -> str:
    """What a server says, on one line that steers no terminal, cut short."""
    return "".join(char if char.isprintable() else " " for char in text[:_MOST_SAID]).strip()
