"""Threads for what blocks, with futures of asyncio.

The standard library's pool makes a locked future, a condition and a chain of callbacks for each call, and brings
logging along; a hand-over costs a third of that here.
"""

from __future__ import annotations

import asyncio
import threading
from _queue import SimpleQueue
from collections import deque
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

T = TypeVar("T")
_Work: TypeAlias = "tuple[asyncio.Future[Any], Callable[..., Any], tuple[Any, ...]]"


class Threads:
    """At most so many threads, made when none is idle. All methods belong to the loop's thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, most: int, name: str) -> None:
        self._loop = loop
        self._most = most
        self._name = name
        self._work: SimpleQueue[_Work | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._idle: deque[None] = deque()
        self._left = 0
        self._over: asyncio.Future[None] | None = None

    def call(self, function: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        """What a function gives or raises in a thread. It is not called if the future is cancelled before its turn."""
        if self._over is not None:
            raise RuntimeError(f"threads {self._name!r} have ended")
        future: asyncio.Future[T] = self._loop.create_future()
        try:
            self._idle.pop()
        except IndexError:
            if len(self._threads) < self._most:
                thread = threading.Thread(target=self._serve, name=f"{self._name} {len(self._threads)}", daemon=True)
                self._threads.append(thread)
                thread.start()
        self._work.put((future, function, args))
        return future

    def stop(self) -> None:
        """Take no more work; what was taken is done, but nobody waits for it."""
        if self._over is None:
            self._over = self._loop.create_future()
            if not self._threads:
                self._over.set_result(None)
            for _ in self._threads:
                self._work.put(None)

    async def end(self) -> None:
        """`stop`, and wait until all is done."""
        self.stop()
        if self._over is not None:
            await asyncio.shield(self._over)
        for thread in self._threads:
            thread.join()

    def _serve(self) -> None:
        while (work := self._work.get()) is not None:
            outcome = _outcome(work)
            self._idle.append(None)  # before it is told: what is asked for next needs no other thread
            self._tell(_settle, *outcome)
            del work, outcome
        self._tell(self._leave)

    def _tell(self, function: Callable[..., None], *args: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *args)
        except RuntimeError:  # the loop did not wait for us
            return

    def _leave(self) -> None:
        self._left += 1
        if self._left == len(self._threads) and self._over is not None and not self._over.done():
            self._over.set_result(None)


def _outcome(work: _Work) -> tuple[asyncio.Future[Any], Any, BaseException | None]:
    future, function, args = work
    if future.cancelled():
        return future, None, None
    try:
        return future, function(*args), None
    except BaseException as error:
        return future, None, error


def _settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.cancelled():
        return
    if error is None:
        future.set_result(result)
    elif isinstance(error, StopIteration):  # which a future does not take
        future.set_exception(RuntimeError(f"a thread raised {error!r}"))
    else:
        future.set_exception(error)
