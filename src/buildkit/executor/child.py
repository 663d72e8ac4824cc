"""A runtime's process: its input, its output as it comes, signals, its end, and its killing."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import resource
import signal
import struct
import termios
from pathlib import Path
from typing import Any

from buildkit.executor.executor import Output
from buildkit.fs import syscalls

_CHUNK = 1 << 16
_PAUSE = 0.002
"""Seconds between two looks at a runtime that has no child yet to kill, or none that is gone already."""


class Child:
    """A running program whose stdout and stderr are pipes to us, or one terminal."""

    def __init__(self, command: list[str], env: dict[str, str], *, terminal: bool = False, stdin: bool = False) -> None:
        """Start it; blocks until it has been executed. Call `watch` on the loop next."""
        self._pipes: dict[int, int] = {}
        self._terminal = -1
        self.input = -1
        """Where to write what it reads; -1 for nowhere."""
        self._room: asyncio.Future[None] | None = None
        self._runtime = os.fsencode(command[0])
        ends: list[int] = []
        try:
            wires = self._open_terminal(ends, stdin=stdin) if terminal else self._open_pipes(ends, stdin=stdin)
            self.pid = os.posix_spawn(command[0], command, env, file_actions=wires, setsid=True, setsigmask=())
            self._pidfd = os.pidfd_open(self.pid)
        except BaseException:
            for fd in self._pipes:
                os.close(fd)
            self.close_input()
            raise
        finally:
            for fd in ends:
                os.close(fd)

    def _open_pipes(self, ends: list[int], *, stdin: bool) -> list[tuple[int, ...]]:
        wires: list[Any] = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)]
        if stdin:
            read_end, self.input = os.pipe()
            ends.append(read_end)
            os.set_blocking(self.input, False)
            wires = [(os.POSIX_SPAWN_DUP2, read_end, 0)]
        for stream in (1, 2):
            read_end, write_end = os.pipe()
            self._pipes[read_end] = stream
            ends.append(write_end)
            os.set_blocking(read_end, False)
            wires.append((os.POSIX_SPAWN_DUP2, write_end, stream))
        return wires

    def _open_terminal(self, ends: list[int], *, stdin: bool) -> list[tuple[int, ...]]:
        """One for the runtime, which copies between it and the container's own."""
        self._terminal, inner = os.openpty()
        self._pipes[self._terminal] = 1
        ends.append(inner)
        os.set_blocking(self._terminal, False)
        if stdin:
            self.input = os.dup(self._terminal)
        return [(os.POSIX_SPAWN_DUP2, inner, fd) for fd in (0, 1, 2)]

    def watch(self, output: Output) -> asyncio.Future[tuple[int, resource.struct_rusage]]:
        """Deliver output until both streams end and the process is gone; then its exit code and what it used."""
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[tuple[int, resource.struct_rusage]] = loop.create_future()
        status: list[tuple[int, resource.struct_rusage]] = []

        def settle() -> None:
            if status and not self._pipes and not ended.done():
                ended.set_result(status[0])

        def read(fd: int) -> None:
            try:
                content = os.read(fd, _CHUNK)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.EIO:  # how a terminal says that nobody is left at its other end
                    raise
                content = b""
            if content:
                output(self._pipes[fd], content)
                return
            loop.remove_reader(fd)
            if fd == self._terminal:
                self._terminal = -1
            os.close(fd)
            del self._pipes[fd]
            settle()

        def reap() -> None:
            loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            _, code, used = os.wait4(self.pid, 0)
            status.append((os.waitstatus_to_exitcode(code), used))
            settle()

        for fd in self._pipes:
            loop.add_reader(fd, read, fd)
        loop.add_reader(self._pidfd, reap)
        return ended

    async def writable(self) -> None:
        """Wait until there is room for more input, or nobody to read it."""
        loop = asyncio.get_running_loop()
        self._room = room = loop.create_future()
        loop.add_writer(self.input, self._make_room)
        try:
            await room
        finally:
            self._make_room()

    def _make_room(self) -> None:
        if self._room is not None:
            asyncio.get_running_loop().remove_writer(self.input)
            if not self._room.done():
                self._room.set_result(None)
            self._room = None

    def end_input(self) -> None:
        """Let it read the end of its input; a terminal has none."""
        if self._terminal < 0:
            self.close_input()

    def close_input(self) -> None:
        """Nothing more will be written."""
        self._make_room()
        if self.input >= 0:
            os.close(self.input)
            self.input = -1

    def resize(self, rows: int, columns: int) -> bool:
        """Set the size of its terminal; False while there is no process yet, whose terminal is another one.

        Not every runtime copies a change from ours to that, so it is set there; a process that has let go of it has
        to be content with what its runtime does.
        """
        if self._terminal < 0:
            return True
        size = struct.pack("HHHH", rows, columns, 0, 0)
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, size)
        pid = self.process()
        if pid is None:
            return False
        if not _resize_terminal(pid, size):
            self._signal(signal.SIGWINCH)
        return True

    def process(self) -> int | None:
        """The process in the container, by its number here; None while the runtime has not executed it yet."""
        for pid in _children(self.pid):
            try:
                program = Path(f"/proc/{pid}/cmdline").read_bytes().partition(b"\0")[0]
            except OSError:
                continue
            if program not in (b"", self._runtime):
                return pid
        return None

    def signal_process(self, number: int) -> bool:
        """Send a signal to the process in the container; False while there is none yet."""
        pid = self.process()
        if pid is None:
            return False
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass
        return True

    async def kill(self, ended: asyncio.Future[tuple[int, resource.struct_rusage]]) -> None:
        """Kill the container, and with it the runtime, and wait until both are gone.

        The runtime is stopped first, so that no process of the container can appear between looking and killing;
        its children are the container's init, whose end is that of everything in it. The runtime then cleans up
        after itself, unless it had not come far enough to have a child.
        """
        while not ended.done():
            self._signal(signal.SIGSTOP)
            children = _children(self.pid)
            for child in children:
                try:
                    os.kill(child, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            if not children:
                self._signal(signal.SIGKILL)
            self._signal(signal.SIGCONT)
            await asyncio.wait([ended], timeout=_PAUSE)

    def _signal(self, number: int) -> None:
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            pass


def _resize_terminal(pid: int, size: bytes) -> bool:
    """Set the size of the terminal that a process has as its input or output; False when it has none.

    The process may have put anything in their places, so nothing is opened: only what it has open is asked.
    """
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        for number in (0, 1, 2):
            try:
                fd = syscalls.take_descriptor(process, number)
            except OSError:
                continue
            try:
                fcntl.ioctl(fd, termios.TIOCSWINSZ, size)
                return True
            except OSError:
                continue
            finally:
                os.close(fd)
    finally:
        os.close(process)
    return False


def _children(pid: int) -> list[int]:
    """Processes that ``pid`` has made and not yet waited for. Their numbers stay theirs while it is stopped."""
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += map(int, path.read_text().split())
        except OSError:
            continue
    return found
