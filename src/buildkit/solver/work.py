"""A queue of edges to move on, and the tasks they wait for.

The queue runs inside one callback of the event loop, outside of any task: what never suspends costs no task.
Coroutines are begun there by hand and become a task only if they suspend, so code before the first suspension
has no current task: `asyncio.timeout` and `asyncio.TaskGroup` refuse to start there.
"""

from __future__ import annotations

import asyncio
import types
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, Generic, Protocol, TypeVar

from buildkit.core.errors import Canceled

T = TypeVar("T")

WATCH = ("BUILDKIT_SCHEDULER_DEBUG", "BUILDKIT_SCHEDULER_DEBUG_STEPS")
"""Variables that have the moves of edges logged: `buildkit.solver.watched`."""

Finish = Callable[[T | None, BaseException | None], None]
"""Takes the outcome of a computation: a value, or an error and None."""


class Mover(Protocol):
    """What the queue moves on: an edge."""

    queued: bool
    works: tuple[Work[Any], ...]

    def advance(self) -> None:
        """Do what can be done now; never raises."""


class Queue:
    """Edges whose situation changed, in order."""

    def __init__(self) -> None:
        self._edges: deque[Mover] = deque()
        self._left: deque[Mover] = deque()
        self._scheduled = False
        self._works: dict[asyncio.Task[None], Work[Any]] = {}

    def push(self, edge: Mover) -> None:
        """Have ``edge`` moved on soon; once, however often it is pushed before."""
        if not edge.queued:
            edge.queued = True
            self._edges.append(edge)
            self._schedule()

    def push_last(self, edge: Mover) -> None:
        """Have ``edge`` moved on when nothing else can be: who asked less of it may yet ask more."""
        self._left.append(edge)
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._run)

    def _run(self) -> None:
        edges = self._edges
        while edges or self._left:
            if edges:
                edge = edges.popleft()
                edge.queued = False
            else:
                edge = self._left.popleft()
            edge.advance()
        self._scheduled = False

    def own(self, task: asyncio.Task[None], work: Work[Any]) -> None:
        """Keep a task until it ends."""
        self._works[task] = work
        task.add_done_callback(self._works.pop)

    async def stopped(self) -> None:
        """Wait for everything that was told to stop, and no longer."""
        while dying := [task for task, work in self._works.items() if work.stopping]:
            await asyncio.wait(dying)


class Work(Generic[T]):
    """One running computation and the edges that wait for it; stopped when the last of them leaves."""

    def __init__(
        self, queue: Queue, coroutine: Coroutine[Any, Any, T], finish: Finish[T], ended: Callable[[], None]
    ) -> None:
        """``finish`` takes the outcome inside the task; ``ended`` is called after it, also when it was stopped."""
        self._queue = queue
        self._finish = finish
        self._ended = ended
        self._over = False
        self.waiting: dict[Mover, None] = {}
        self.stopping = False
        """Whether it was told to stop; who joins now is moved on when it has, and may begin anew."""
        self._task = asyncio.get_running_loop().create_task(self._run(coroutine))
        self._task.add_done_callback(self._end)
        queue.own(self._task, self)

    async def _run(self, coroutine: Coroutine[Any, Any, T]) -> None:
        try:
            outcome = await coroutine
        except asyncio.CancelledError:
            if not self.stopping:
                self._settle(None, Canceled("context canceled"))
        except Exception as error:
            if not self.stopping:
                self._settle(None, error)
        else:
            self._settle(outcome, None)

    def _end(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._settle(None, error)
        self._ended()
        for edge in self.waiting:
            self._drop(edge)
            self._queue.push(edge)
        self.waiting.clear()

    def _settle(self, outcome: T | None, error: BaseException | None) -> None:
        self._over = True
        self._finish(outcome, error)

    def join(self, edge: Mover) -> None:
        """Wait for the end: the edge is pushed then."""
        if edge not in self.waiting:
            self.waiting[edge] = None
            edge.works += (self,)

    def _drop(self, edge: Mover) -> None:
        edge.works = tuple([work for work in edge.works if work is not self])

    def leave(self, edge: Mover) -> None:
        """Wait no more."""
        self.waiting.pop(edge, None)
        self._drop(edge)
        if not (self.waiting or self.stopping or self._over):
            self.stopping = True
            # not before its first step, which is scheduled already: what was begun must see the cancellation
            asyncio.get_running_loop().call_soon(self._task.cancel)


def begin(queue: Queue, awaitable: Awaitable[T], finish: Finish[T], ended: Callable[[], None]) -> Work[T] | None:
    """Run until the first suspension. None: it is over and ``finish`` has its outcome; else it goes on as work."""
    iterator: Any = awaitable if hasattr(awaitable, "send") else awaitable.__await__()
    try:
        first = iterator.send(None)
    except StopIteration as stop:
        finish(stop.value, None)
    except asyncio.CancelledError:
        finish(None, Canceled("context canceled"))
    except Exception as error:
        finish(None, error)
    else:
        return Work(queue, _rest(iterator, first), finish, ended)
    return None


async def _rest(iterator: Any, first: Any) -> Any:
    return await _resume(iterator, first)


@types.coroutine
def _resume(iterator: Any, yielded: Any) -> Generator[Any, Any, Any]:
    """Go on with what was begun by hand and is suspended at ``yielded``."""
    try:
        while True:
            try:
                sent = yield yielded
            except BaseException as error:
                yielded = iterator.throw(error)
            else:
                yielded = iterator.send(sent)
    except StopIteration as stop:
        return stop.value
