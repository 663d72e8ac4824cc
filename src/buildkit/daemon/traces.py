"""Spans of clients and steps, sent on to the collector that OpenTelemetry's environment variables name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from logging import getLogger
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from buildkit.core.errors import BuildkitError, InvalidInput, Unavailable, Unsupported
from buildkit.core.values import dataclass, field

if TYPE_CHECKING:
    from buildkit.rpc.client import Channel

log = getLogger(__name__)

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_MOST_WAITING = 1024
_PORTS = {"grpc": "4317", "http/protobuf": "4318"}


@dataclass(frozen=True, slots=True)
class Destination:
    """A collector. ``address`` is ``host:port`` for gRPC, a URL for HTTP; ``timeout`` in seconds."""

    protocol: str
    address: str
    encrypted: bool = False
    authority: str = ""
    """A PEM file of certificates to trust in place of the system's."""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    timeout: float = 10.0


def find_destination(environ: Mapping[str, str]) -> Destination | None:
    """Where the environment wants traces; None for nowhere. Raises `InvalidInput`, and `Unsupported` by name."""

    def setting(name: str) -> str:
        return environ.get(f"OTEL_EXPORTER_OTLP_TRACES_{name}") or environ.get(f"OTEL_EXPORTER_OTLP_{name}") or ""

    if environ.get("JAEGER_TRACE") or environ.get("OTEL_TRACES_EXPORTER") == "jaeger":
        raise Unsupported("sending traces to Jaeger's agent is not supported: use OTEL_EXPORTER_OTLP_ENDPOINT")
    exporter = environ.get("OTEL_TRACES_EXPORTER") or ("otlp" if setting("ENDPOINT") else "none")
    if exporter == "none":
        return None
    if exporter != "otlp":
        raise InvalidInput(f"unsupported opentelemetry exporter {exporter}")
    protocol = setting("PROTOCOL") or "grpc"
    if protocol not in _PORTS:
        raise InvalidInput(f"unsupported otlp protocol {protocol}")
    if setting("COMPRESSION") not in ("", "none"):
        raise Unsupported(f"compression of traces ({setting('COMPRESSION')}) is not supported yet")
    if setting("CLIENT_CERTIFICATE") or setting("CLIENT_KEY"):
        raise Unsupported("client certificates for traces are not supported yet")
    timeout = setting("TIMEOUT") or "10000"
    if not timeout.isdigit():
        raise InvalidInput(f"OTEL_EXPORTER_OTLP_TIMEOUT: {timeout} is not a number of milliseconds")
    given = setting("ENDPOINT") or f"http://localhost:{_PORTS[protocol]}"
    secure = setting("INSECURE").lower() != "true"
    address, encrypted = _address(protocol, given, whole="OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" in environ, secure=secure)
    return Destination(
        protocol, address, encrypted, setting("CERTIFICATE"), _headers(setting("HEADERS")), int(timeout) / 1000
    )


def _address(protocol: str, given: str, *, whole: bool, secure: bool) -> tuple[str, bool]:
    """Where to send to, and whether that is encrypted. ``whole``: the path is not to be added."""
    if "://" not in given:
        given = f"{'https' if secure else 'http'}://{given}"
    parts = urlsplit(given)
    try:
        port = parts.port
    except ValueError:
        port = -1
    if parts.scheme not in ("http", "https") or not parts.hostname or port == -1:
        raise InvalidInput(f"OTEL_EXPORTER_OTLP_ENDPOINT: {given} is not http://HOST:PORT or https://HOST:PORT")
    encrypted = parts.scheme == "https"
    if protocol == "grpc":
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        return f"{host}:{port or _PORTS['grpc']}", encrypted
    return (given if whole else given.rstrip("/") + "/v1/traces"), encrypted


def _headers(text: str) -> dict[str, str]:
    """``name=value,name=value``, values escaped as in addresses."""
    pairs = (part.partition("=") for part in text.split(",") if part.strip())
    return {name.strip().lower(): unquote(value.strip()) for name, _, value in pairs}


class Forwarder:
    """Takes spans at once and sends them when it can; what nobody takes is lost, and that is logged."""

    def __init__(self, destination: Destination) -> None:
        self._destination = destination
        self._waiting: asyncio.Queue[bytes] = asyncio.Queue(_MOST_WAITING)
        self._channel: Channel | None = None
        self._stack = AsyncExitStack()

    def take(self, content: bytes) -> None:
        """An ``ExportTraceServiceRequest``."""
        try:
            self._waiting.put_nowait(content)
        except asyncio.QueueFull:
            log.warning("spans are lost: %s does not take them fast enough", self._destination.address)

    async def work(self) -> None:
        """Send what comes, until cancelled."""
        try:
            while True:
                await self._send(await self._waiting.get())
                self._waiting.task_done()
        finally:
            await self._stack.aclose()

    async def flush(self) -> None:
        """Wait until everything that was taken is sent or lost."""
        await self._waiting.join()

    async def _send(self, content: bytes) -> None:
        try:
            async with asyncio.timeout(self._destination.timeout):
                if self._destination.protocol == "grpc":
                    channel = await self._connected()
                    fields = {name: [value] for name, value in self._destination.headers.items()}
                    await channel.unary(EXPORT, content, fields)
                else:
                    await asyncio.to_thread(_post, self._destination, content)
        except (BuildkitError, TimeoutError, OSError, ValueError) as error:
            log.warning("spans are lost: %s: %s", self._destination.address, error or "it takes too long")
            await self._stack.aclose()
            self._channel = None

    async def _connected(self) -> Channel:
        if self._channel is None:
            from buildkit.client.dial import dial
            from buildkit.client.tls import TLSFiles

            to = self._destination
            authority = to.authority or (_system_authorities() if to.encrypted else "")
            scope = dial(f"tcp://{to.address}", TLSFiles(authority), timeout=to.timeout)
            self._channel = await self._stack.enter_async_context(scope)
        return self._channel


def _system_authorities() -> str:
    import ssl

    found = ssl.get_default_verify_paths().cafile
    if found is None:
        raise Unavailable("this system has no certificates to trust: set OTEL_EXPORTER_OTLP_CERTIFICATE")
    return found


def _post(to: Destination, content: bytes) -> None:
    import ssl
    from http.client import HTTPConnection, HTTPException, HTTPSConnection

    parts = urlsplit(to.address)
    host = parts.netloc.rpartition("@")[2]
    if to.encrypted:
        context = ssl.create_default_context(cafile=to.authority or None)
        connection: HTTPConnection = HTTPSConnection(host, timeout=to.timeout, context=context)
    else:
        connection = HTTPConnection(host, timeout=to.timeout)
    try:
        connection.request("POST", parts.path or "/", content, {"content-type": "application/x-protobuf", **to.headers})
        answer = connection.getresponse()
        answer.read()
    except HTTPException as error:
        raise Unavailable(str(error)) from error
    finally:
        connection.close()
    if answer.status >= 300:
        raise Unavailable(f"{answer.status} {answer.reason}")


@asynccontextmanager
async def forwarding(destination: Destination, *, flush_seconds: float) -> AsyncIterator[Forwarder]:
    """A forwarder for a scope; in the end it has some seconds for what still waits."""
    forwarder = Forwarder(destination)
    working = asyncio.create_task(forwarder.work())
    try:
        yield forwarder
        with suppress(TimeoutError):
            async with asyncio.timeout(flush_seconds):
                await forwarder.flush()
    finally:
        working.cancel()
        await asyncio.wait([working])
