"""Which engine a command talks to: the one in this process, or a daemon behind an address."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING

from buildkit.cli.flags import BadUsage, Flag, Parsed
from buildkit.client.options import Client
from buildkit.client.places import default_root, default_sockets

if TYPE_CHECKING:
    from buildkit.client.remote import RemoteClient
    from buildkit.client.tls import TLSFiles

GLOBAL_FLAGS = (
    Flag("debug", "show where errors come from", "bool"),
    Flag("addr", "address of a daemon (default $BUILDKIT_HOST)", metavar="ADDRESS"),
    Flag("log-format", "json or text", metavar="FORMAT"),
    Flag("tlsservername", "name that the daemon's certificate must have", metavar="NAME"),
    Flag("tlscacert", "certificates to trust", metavar="FILE"),
    Flag("tlscert", "certificate to show", metavar="FILE"),
    Flag("tlskey", "key of that certificate", metavar="FILE"),
    Flag("tlsdir", "directory with ca.pem, cert.pem and key.pem", metavar="DIR"),
    Flag("timeout", "seconds to wait for a connection (default 5)", metavar="SECONDS"),
    Flag("wait", "wait until the daemon answers", "bool"),
)
ROOT_FLAG = Flag("root", "build in this process, with this state directory", metavar="DIR")

_REMOTE_ONLY = ("tlsservername", "tlscacert", "tlscert", "tlskey", "tlsdir", "wait", "timeout")


def check_target(parsed: Parsed) -> None:
    """Refuse flags that contradict each other; raises `BadUsage`."""
    if parsed.given("root") and parsed.given("addr"):
        raise BadUsage("--root conflicts with --addr: the state directory is the daemon's own affair")
    if parsed.given("tlsdir") and parsed.given("tlscacert", "tlscert", "tlskey"):
        raise BadUsage("cannot specify tlsdir and tlscacert/tlscert/tlskey at the same time")
    if parsed.text("log-format", "text") not in ("text", "json"):
        raise BadUsage(f'unsupported log type "{parsed.text("log-format")}"')
    timeout = parsed.text("timeout", "5")
    if not timeout.isascii() or not timeout.isdigit():
        raise BadUsage(f"--timeout is a number of seconds: {timeout!r} is not")
    if parsed.given("root"):
        for name in parsed.given(*_REMOTE_ONLY):
            raise BadUsage(f"--{name} is for a daemon and conflicts with --root")
        if not parsed.text("root"):
            raise BadUsage("--root needs a directory")


BUILDING = "listing workers for Build: failed to list workers"
"""What has failed when the daemon of a build is not there."""


def find_daemon() -> str:
    """The address of a daemon at a default socket, or nothing."""
    for path in default_sockets():
        if os.path.exists(path):
            import socket

            with socket.socket(socket.AF_UNIX) as probe:
                try:
                    probe.connect(path)
                except OSError:
                    continue
            return f"unix://{path}"
    return ""


def address_of(parsed: Parsed) -> str:
    """The daemon that the flags, the environment or the machine point to; nothing when the engine is in here."""
    if parsed.text("root"):
        return ""
    return parsed.text("addr") or os.environ.get("BUILDKIT_HOST", "") or find_daemon()


def open_client(parsed: Parsed, task: str) -> AbstractAsyncContextManager[Client]:
    """The engine that the flags, the environment and the machine point to; ``task`` is for `open_daemon`."""
    if address_of(parsed):
        return open_daemon(parsed, task)
    for name in parsed.given(*_REMOTE_ONLY):
        raise BadUsage(f"--{name} is for a daemon: give its --addr")
    from pathlib import Path

    if task == BUILDING and os.geteuid() != 0:
        from buildkit.core.errors import Unsupported

        raise Unsupported("the engine in this command runs as root only: start as root, or name a daemon with --addr")
    from buildkit.client.embedded import open_embedded

    return open_embedded(Path(parsed.text("root") or default_root()), waiting=_tell_holder, last=True)


@asynccontextmanager
async def open_daemon(parsed: Parsed, task: str = "") -> AsyncIterator[RemoteClient]:
    """The daemon that the flags, the environment and the machine point to.

    ``task`` is what the error says has failed when nobody is there: ``failed to list workers``.
    """
    from contextlib import AsyncExitStack

    from buildkit.client.remote import open_remote
    from buildkit.core.errors import Unavailable

    async with AsyncExitStack() as scope:
        opening = open_remote(
            address_of(parsed) or f"unix://{default_sockets()[-1]}",
            tls=_tls_files(parsed),
            timeout=int(parsed.text("timeout", "5")),
            wait=parsed.on("wait"),
        )
        try:
            client = await scope.enter_async_context(opening)
        except Unavailable as error:
            raise error.prefixed(f"{task}: Unavailable: " if task else "Unavailable: ") from error.__cause__
        yield client


def _tls_files(parsed: Parsed) -> TLSFiles:
    from buildkit.client.tls import TLSFiles

    name = parsed.text("tlsservername")
    if directory := parsed.text("tlsdir"):
        return TLSFiles.of_directory(directory, name)
    return TLSFiles(parsed.text("tlscacert"), parsed.text("tlscert"), parsed.text("tlskey"), name)


def _tell_holder(holder: str) -> None:
    print(f"waiting for {holder} to finish with the state folder", file=sys.stderr, flush=True)
