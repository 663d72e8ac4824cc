"""The event loop that commands and the daemon run on: asyncio's, with `buildkit.core.threads` for what blocks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from buildkit.core.threads import Threads

T = TypeVar("T")
MOST_THREADS = 32


def run(main: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run` on a `Loop`."""
    with asyncio.Runner(loop_factory=Loop) as runner:
        return runner.run(main)


class Loop(asyncio.SelectorEventLoop):
    """`asyncio.to_thread` uses our threads here, without knowing."""

    def __init__(self) -> None:
        super().__init__()
        self._threads = Threads(self, MOST_THREADS, "work")

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]
        """Without an executor: by our threads."""
        if executor is not None:
            return super().run_in_executor(executor, func, *args)
        if self.is_closed():
            raise RuntimeError("Event loop is closed")
        return self._threads.call(func, *args)

    async def shutdown_default_executor(self) -> None:
        """Wait until the threads are done."""
        await self._threads.end()
        await super().shutdown_default_executor()
