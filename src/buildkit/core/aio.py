"""Tasks with owners: one shared computation for many waiters, and a gather that fails as its first failure."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from functools import partial
from typing import Any, Generic, ParamSpec, TypeVar

from buildkit.core.errors import BuildkitError, Canceled
from buildkit.core.threads import Threads

T = TypeVar("T")
P = ParamSpec("P")


class Shared(Generic[T]):
    """One computation, any number of waiters; cancelled when the last waiter leaves, then startable anew."""

    def __init__(self, compute: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._compute = compute
        self._task: asyncio.Task[T] | None = None
        self._waiters = 0

    @property
    def done(self) -> bool:
        """Whether a result (not an error) is at hand."""
        task = self._task
        return task is not None and task.done() and not task.cancelled() and task.exception() is None

    async def wait(self) -> T:
        """Start the computation if need be and wait for it; its error is every waiter's, each a twin of it."""
        if self._task is None or self._task.cancelled() or self._task.cancelling():
            self._task = asyncio.create_task(self._compute())
            self._waiters = 0
        task = self._task
        self._waiters += 1
        try:
            return await asyncio.shield(task)
        except BuildkitError as error:
            raise error.twin() from None
        finally:
            if task is self._task:
                self._waiters -= 1
                if not self._waiters and not task.done():
                    task.cancel()


async def gather_all(work: Iterable[Awaitable[T]]) -> list[T]:
    """Run everything at once; on the first failure cancel and await the rest, then raise that failure itself."""
    tasks: list[asyncio.Future[T]] = [asyncio.ensure_future(one) for one in work]
    if not tasks:
        return []
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    except asyncio.CancelledError:
        await _drop(tasks)
        raise
    failed = next((t for t in tasks if t in done and (t.cancelled() or t.exception())), None)
    if failed is not None:
        await _drop(tasks)
        return [failed.result()]
    return [task.result() for task in tasks]


async def outlast(task: asyncio.Future[Any]) -> asyncio.CancelledError | None:
    """Wait until ``task`` is done whatever happens; the cancellation that came meanwhile is for the caller to raise."""
    left = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            left = error
    return left


async def finish_in_thread(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """`asyncio.to_thread` that does not leave the thread behind: when cancelled, it waits for it first.

    For threads that use what their caller closes.
    """
    task = asyncio.ensure_future(asyncio.to_thread(function, *args, **kwargs))
    cancelled = await outlast(task)
    if cancelled is not None:
        raise cancelled
    return task.result()


class Interrupt:
    """Tells a thread that nobody waits for it any more."""

    def __init__(self) -> None:
        self.over = False

    def check(self) -> None:
        """Raises `Canceled` once it is so; to be called between pieces of long work."""
        if self.over:
            raise Canceled("context canceled")


async def interruptible(function: Callable[[Interrupt], T]) -> T:
    """`finish_in_thread` for long work: when cancelled, its interrupt ends it soon."""
    interrupt = Interrupt()
    task = asyncio.ensure_future(asyncio.to_thread(function, interrupt))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        interrupt.over = True
        await outlast(task)
        if not task.cancelled():
            task.exception()
        raise


async def run_apart(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """`asyncio.to_thread` in a thread of its own: for what waits for someone far away, who may let it wait for ever.

    The loop's own threads are few, and everybody needs them.
    """
    threads = Threads(asyncio.get_running_loop(), 1, "apart")
    try:
        return await threads.call(partial(function, *args, **kwargs))
    finally:
        threads.stop()


async def _drop(tasks: list[asyncio.Future[T]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
