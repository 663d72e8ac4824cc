"""Listeners: unix sockets, TCP with TLS, sockets from systemd."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import MutableMapping, Sequence
from logging import getLogger
from pathlib import Path
from typing import TYPE_CHECKING

from buildkit.core.errors import FailedPrecondition, InvalidInput
from buildkit.core.values import dataclass
from buildkit.daemon.config import DaemonConfig, TlsFiles
from buildkit.daemon.notify import handed_over
from buildkit.rpc.server import Server
from buildkit.rpc.transport import serve

if TYPE_CHECKING:
    import ssl

log = getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Listener:
    """An address that is served. ``path`` is a unix socket's file, removed at the end."""

    shown: str
    server: asyncio.Server
    path: Path | None = None

    def close(self) -> None:
        """Take no more connections."""
        self.server.close()
        if self.path is not None:
            self.path.unlink(missing_ok=True)


async def listen_all(config: DaemonConfig, server: Server, environ: MutableMapping[str, str]) -> Sequence[Listener]:
    """Listen on every address; all or none. Raises `InvalidInput` or `FailedPrecondition`."""
    if not config.addresses:
        raise InvalidInput("configuration must contain at least one address")
    made: list[Listener] = []
    try:
        for address in config.addresses:
            made.append(await _listen(address, config, server, environ))
    except BaseException:
        for one in made:
            one.close()
        raise
    return made


async def listen_for_steps(path: Path, server: Server) -> Listener:
    """A unix socket for processes of any user."""
    bound = bind_unix(path, None, None)
    path.chmod(0o666)
    return Listener(str(path), await asyncio.get_running_loop().create_unix_server(serve(server), sock=bound), path)


async def _listen(address: str, config: DaemonConfig, server: Server, environ: MutableMapping[str, str]) -> Listener:
    scheme, separator, name = address.partition("://")
    if not separator:
        raise InvalidInput(f"address {address} does not contain proto, you meant unix://{address} ?")
    loop = asyncio.get_running_loop()
    if scheme == "unix":
        if config.tls.certificate:
            log.warning("TLS is disabled for %s", address)
        path = Path(name)
        bound = bind_unix(path, config.uid, config.gid)
        return Listener(name, await loop.create_unix_server(serve(server), sock=bound), path)
    if scheme == "fd":
        given = handed_over(name, environ)
        if given.family == socket.AF_UNIX:
            return Listener(address, await loop.create_unix_server(serve(server), sock=given))
        return Listener(address, await loop.create_server(serve(server), sock=given, ssl=tls_context(config.tls)))
    if scheme == "tcp":
        context = tls_context(config.tls)
        if context is None:
            log.warning("TLS is not enabled for %s. enabling mutual TLS authentication is highly recommended", address)
        host, port = _host_and_port(name)
        try:
            made = await loop.create_server(serve(server), host, port, ssl=context)
        except OSError as error:
            raise FailedPrecondition(f"listen tcp {name}: {error.strerror or error}") from error
        ends = made.sockets[0].getsockname()
        return Listener(f"{ends[0]}:{ends[1]}", made)
    raise InvalidInput(f"addr {address} not supported")


def bind_unix(path: Path, uid: int | None, gid: int | None) -> socket.socket:
    """A listening unix socket that only its owner and its group can use; a dead one in its place is replaced."""
    path.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
    _remove_dead(path)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    before = os.umask(0o777)
    try:
        bound.bind(str(path))
    except OSError as error:
        bound.close()
        raise FailedPrecondition(f"listen unix {path}: {error.strerror or error}") from error
    finally:
        os.umask(before)
    os.chown(path, os.geteuid() if uid is None else uid, os.getegid() if gid is None else gid)
    path.chmod(0o660)
    bound.listen(1024)
    return bound


def _remove_dead(path: Path) -> None:
    if not path.is_socket():
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            path.unlink(missing_ok=True)
            return
    raise FailedPrecondition(f"listen unix {path}: address already in use")


def _host_and_port(name: str) -> tuple[str | None, int]:
    host, _, port = name.rpartition(":")
    if not port.isdigit() or int(port) > 65535:
        raise InvalidInput(f"tcp://{name}: missing port in address")
    return host.strip("[]") or None, int(port)


def tls_context(files: TlsFiles) -> ssl.SSLContext | None:
    """The server's side of TLS; None when no certificate is configured. Raises `InvalidInput`."""
    if not files.certificate and not files.key:
        if files.authority:
            raise InvalidInput("you must specify key and cert file if one is specified")
        return None
    if not files.certificate or not files.key:
        raise InvalidInput("you must specify key and cert file if one is specified")
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    try:
        context.load_cert_chain(files.certificate, files.key)
    except (OSError, ssl.SSLError) as error:
        raise InvalidInput(f"could not load server key pair {files.certificate}, {files.key}: {error}") from None
    if files.authority:
        try:
            context.load_verify_locations(files.authority)
        except (OSError, ssl.SSLError) as error:
            raise InvalidInput(f"could not read ca certificate {files.authority}: {error}") from None
        context.verify_mode = ssl.CERT_REQUIRED
    return context
