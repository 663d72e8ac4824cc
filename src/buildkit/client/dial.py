"""Reach a daemon by its address: a channel for calls, for as long as a scope lasts.

``unix://PATH``, ``tcp://HOST:PORT`` (with TLS when files are given), ``dockerd://PATH`` for the builder inside Docker's
daemon, and the addresses of `buildkit.client.commands`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from buildkit.client.commands import command_of
from buildkit.client.tls import TLSFiles, tls_context
from buildkit.core.errors import BuildkitError, InvalidInput, Unavailable
from buildkit.rpc.client import Channel
from buildkit.rpc.transport import Wire

if TYPE_CHECKING:
    from ssl import SSLContext

    from buildkit.rpc.h2 import Connection

TIMEOUT = 5.0
"""Seconds that connecting may take, if nobody says otherwise."""
NO_TLS = TLSFiles()

_PAUSE = 0.1
_INFO = "/moby.buildkit.v1.Control/Info"


@asynccontextmanager
async def dial(
    address: str,
    tls: TLSFiles = NO_TLS,
    *,
    timeout: float = TIMEOUT,  # noqa: ASYNC109
    wait: bool = False,
) -> AsyncIterator[Channel]:
    """A connection to the daemon at ``address``; ``timeout`` in seconds is for connecting only, 0 is none.

    With ``wait`` it is tried again until a daemon answers or the time is over. Raises `Unavailable`, and
    `InvalidInput` for an address or TLS files that make no sense.
    """
    context = tls_context(tls) if tls.wanted and not address.startswith("dockerd://") else None
    try:
        async with asyncio.timeout(timeout or None):
            wire, channel = await _connect_until(address, tls, context, wait)
    except TimeoutError:
        raise Unavailable(f"{address}: context deadline exceeded") from None
    try:
        yield channel
    finally:
        await _hang_up(wire)


async def _connect_until(address: str, tls: TLSFiles, context: SSLContext | None, wait: bool) -> tuple[Wire, Channel]:
    while True:
        try:
            wire, channel = await _connect(address, tls, context)
            if wait:
                await _answered(channel)
            return wire, channel
        except Unavailable:
            if not wait:
                raise
        await asyncio.sleep(_PAUSE)


async def _answered(channel: Channel) -> None:
    """Raises `Unavailable` when nothing answers; any other answer is one."""
    try:
        await channel.unary(_INFO, b"")
    except Unavailable:
        raise
    except BuildkitError:
        return


async def _connect(address: str, tls: TLSFiles, context: SSLContext | None) -> tuple[Wire, Channel]:
    command = command_of(address)
    scheme, separator, rest = address.partition("://")
    if not separator:
        raise InvalidInput(f"invalid address {address}: it is unix://PATH or tcp://HOST:PORT")
    name = tls.server_name or _host_of(rest)
    authority = name if context is not None else rest.partition("/")[0].rpartition("@")[2]
    channels: list[Channel] = []

    def connect(wire: Wire) -> Connection:
        channel = Channel(wire.write, authority=authority or "localhost", closed=wire.close)
        channels.append(channel)
        channel.start()
        return channel.connection

    server_name = (name or "localhost") if context is not None else None
    loop = asyncio.get_running_loop()
    try:
        if command is not None:
            from buildkit.client.stdio import start

            return await start(command, connect, context, server_name), channels[0]
        if scheme == "unix":
            if not rest:
                raise _dialing("dial unix: missing address")
            opening = loop.create_unix_connection(lambda: Wire(connect), rest, ssl=context, server_hostname=server_name)
            _, wire = await opening
        elif scheme == "tcp":
            host, port = _split_port(rest)
            _, wire = await loop.create_connection(
                lambda: Wire(connect), host, port, ssl=context, server_hostname=server_name
            )
        elif scheme == "dockerd":
            from buildkit.client.dockerd import SOCKET, open_builder

            made = await open_builder(rest or SOCKET)
            _, wire = await loop.create_unix_connection(lambda: Wire(connect), sock=made)
        else:
            raise InvalidInput(f"invalid address {address}: {scheme}:// is unknown")
    except OSError as error:
        raise _explain(error, scheme, rest) from error
    if context is not None:
        _check_protocol(wire)
    return wire, channels[0]


def _host_of(rest: str) -> str:
    """The host of ``user@HOST:PORT/path``."""
    host = rest.partition("/")[0].rpartition("@")[2]
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]


def _split_port(rest: str) -> tuple[str, int]:
    target = rest.partition("/")[0]
    host, colon, port = target.rpartition(":")
    if not colon or host.endswith(":"):
        raise _dialing(f"dial tcp: address {target}: missing port in address")
    if not (port.isascii() and port.isdigit() and int(port) < 1 << 16):
        raise _dialing(f"dial tcp: lookup tcp/{port}: unknown port")
    return host.strip("[]") or "localhost", int(port)


def _dialing(what: str) -> Unavailable:
    return Unavailable(f'connection error: desc = "transport: Error while dialing: {what}"')


def _explain(error: OSError, scheme: str, rest: str) -> Unavailable:
    import socket

    if isinstance(error, socket.gaierror):
        return _dialing(f"dial {scheme}: lookup {_host_of(rest)}: no such host")
    kind = type(error).__name__
    if kind.startswith("SSL"):
        reason = getattr(error, "verify_message", "") or getattr(error, "reason", "") or str(error)
        what = f"transport: authentication handshake failed: tls: {reason}"
        return Unavailable(f'connection error: desc = "{what}"')
    reason = (error.strerror or str(error)).lower()
    if error.errno is not None and "connect call failed" in reason:
        import os

        reason = os.strerror(error.errno).lower()
    return _dialing(f"dial {scheme} {rest}: connect: {reason}")


def _check_protocol(wire: Wire) -> None:
    """The other side has agreed to speak HTTP/2."""
    secured = wire.transport.get_extra_info("ssl_object") if wire.transport is not None else None
    if secured is not None and secured.selected_alpn_protocol() != "h2":
        wire.close()
        what = (
            "transport: authentication handshake failed: credentials: cannot check peer: missing selected ALPN property"
        )
        raise Unavailable(f'connection error: desc = "{what}"')


async def _hang_up(wire: Wire) -> None:
    wire.close()
    finish: Callable[[], object] | None = getattr(wire, "finish", None)
    if finish is not None:
        await asyncio.to_thread(finish)
