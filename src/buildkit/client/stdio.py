"""A daemon behind a program's standard streams."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import suppress
from typing import IO, TYPE_CHECKING

from buildkit.core.errors import Unavailable
from buildkit.rpc.transport import Wire

if TYPE_CHECKING:
    from ssl import SSLContext

    from buildkit.rpc.h2 import Connection

_GRACE = 2.0
_MOST_WORDS = 4096


class CommandWire(Wire):
    """A wire whose other end is a program. What that said on standard error explains a connection that broke."""

    def __init__(
        self,
        connect: Callable[[Wire], Connection],
        command: list[str],
        process: subprocess.Popen[bytes],
        words: IO[bytes],
    ) -> None:
        super().__init__(connect)
        self._command = command
        self._process = process
        self._words = words

    def connection_lost(self, error: Exception | None) -> None:
        """The stream ended: most likely the program did."""
        if self.connection is None:
            return
        self.connection.lost(self._why() or str(error or "connection closed"))

    def _why(self) -> str:
        try:
            status = self._process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            return ""
        if not status:
            return ""
        self._words.seek(0)
        words = self._words.read(_MOST_WORDS).decode(errors="replace").strip()
        ended = f"exit status {status}" if status > 0 else f"signal {-status}"
        return f"command {self._command} has exited with {ended}: stderr={words}"

    def finish(self) -> None:
        """End the program; it has a moment to do so by itself. Blocks."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                self._process.wait(_GRACE)
                break
            except subprocess.TimeoutExpired:
                self._process.send_signal(number)
        else:
            self._process.wait()
        self._words.close()


async def start(
    command: list[str],
    connect: Callable[[Wire], Connection],
    context: SSLContext | None,
    server_name: str | None,
) -> CommandWire:
    """Run ``command`` and speak to it on its standard streams; raises `Unavailable` if it can not be run."""
    words: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
    ours, theirs = socket.socketpair()
    try:
        process = _run(command, theirs.fileno(), words.fileno())
    except OSError as error:
        ours.close()
        words.close()
        reason = "executable file not found in $PATH" if isinstance(error, FileNotFoundError) else error.strerror
        what = f'transport: Error while dialing: exec: "{command[0]}": {reason}'
        raise Unavailable(f'connection error: desc = "{what}"') from None
    finally:
        theirs.close()
    wire = CommandWire(connect, command, process, words)
    try:
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: wire, sock=ours, ssl=context, server_hostname=server_name)
    except BaseException:
        with suppress(OSError):
            ours.close()
        await asyncio.to_thread(wire.finish)
        raise
    return wire


def _run(command: list[str], stream: int, words: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdin=stream, stdout=stream, stderr=words, start_new_session=True)
