"""What somebody does to a process while it runs: its input, the size of its terminal, signals."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable
from typing import Protocol

from buildkit.core.values import dataclass

_PAUSE = 0.005
"""Seconds between two looks whether the runtime has started the process that a signal is for."""


@dataclass(frozen=True, slots=True)
class Size:
    """Of a terminal, in characters."""

    rows: int
    columns: int


class Child(Protocol):
    """The process as the executor holds it; see `buildkit.executor.child.Child`."""

    input: int

    async def writable(self) -> None:
        """Wait for room."""

    def end_input(self) -> None:
        """No more input."""

    def resize(self, rows: int, columns: int) -> bool:
        """Set the size of the terminal; False when it is too early."""

    def signal_process(self, number: int) -> bool:
        """Send a signal; False when it is too early."""


class Interaction:
    """One process's other end. Made by whoever wants it, given to `run` or `execute`, used on the event loop.

    Everything waits until the process is there, and does nothing once it is gone.
    """

    def __init__(self, *, stdin: bool = False) -> None:
        """``stdin``: `write` is what the process reads; without it the process reads the end of a file at once."""
        self.stdin = stdin
        self._child: Child | None = None
        self._settled = asyncio.Event()
        self._gone = asyncio.Event()

    async def started(self) -> bool:
        """Wait until the process has been started; False when it never will be."""
        await self._settled.wait()
        return self._child is not None

    async def write(self, content: bytes) -> None:
        """Give it to the process; returns when everything is on its way."""
        await self._settled.wait()
        view = memoryview(content)
        while view and not self._gone.is_set() and self._child is not None and self._child.input >= 0:
            try:
                view = view[os.write(self._child.input, view) :]
            except BlockingIOError:
                await self._child.writable()
            except OSError as error:
                if error.errno not in (errno.EPIPE, errno.EIO):
                    raise
                return

    async def end(self) -> None:
        """No more input. A terminal has no such thing, so on one this does nothing."""
        await self._settled.wait()
        if self._child is not None:
            self._child.end_input()

    async def resize(self, size: Size) -> None:
        """Change the size of the terminal; without one it does nothing."""
        await self._until(lambda child: child.resize(size.rows, size.columns))

    async def signal(self, number: int) -> None:
        """Send a signal to the process, as soon as the runtime has made it."""
        await self._until(lambda child: child.signal_process(number))

    async def _until(self, done: Callable[[Child], bool]) -> None:
        await self._settled.wait()
        while self._child is not None and not self._gone.is_set() and not done(self._child):
            try:
                await asyncio.wait_for(self._gone.wait(), _PAUSE)
            except TimeoutError:
                continue

    def attach(self, child: Child) -> None:
        """The process is there. For the executor."""
        self._child = child
        self._settled.set()

    def close(self) -> None:
        """The process is gone, or never was. For the executor."""
        self._gone.set()
        self._settled.set()
