"""A runtime's process: its output as it comes, its end, and its killing."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
from pathlib import Path

from buildkit.executor.executor import Output

_CHUNK = 1 << 16
_PAUSE = 0.002
"""Seconds between two looks at a runtime that has no child yet to kill, or none that is gone already."""


class Child:
    """A running program whose stdout and stderr are pipes to us."""

    def __init__(self, command: list[str], env: dict[str, str]) -> None:
        """Start it; blocks until it has been executed. Call `watch` on the loop next."""
        self._pipes: dict[int, int] = {}
        ends: list[int] = []
        try:
            for stream in (1, 2):
                read_end, write_end = os.pipe()
                self._pipes[read_end] = stream
                ends.append(write_end)
                os.set_blocking(read_end, False)
            self.pid = os.posix_spawn(
                command[0],
                command,
                env,
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, ends[0], 1),
                    (os.POSIX_SPAWN_DUP2, ends[1], 2),
                ],
                setsid=True,
                setsigmask=(),
            )
            self._pidfd = os.pidfd_open(self.pid)
        except BaseException:
            for fd in self._pipes:
                os.close(fd)
            raise
        finally:
            for fd in ends:
                os.close(fd)

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
            if content:
                output(self._pipes[fd], content)
                return
            loop.remove_reader(fd)
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


def _children(pid: int) -> list[int]:
    """Processes that ``pid`` has made and not yet waited for. Their numbers stay theirs while it is stopped."""
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += map(int, path.read_text().split())
        except OSError:
            continue
    return found
