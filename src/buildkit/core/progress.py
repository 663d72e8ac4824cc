"""Progress: what happened to which vertex, as values, and a stream that late readers can join.

Times are integers: nanoseconds since the Unix epoch.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Protocol, TypeAlias

from buildkit.core.errors import SourceDetail
from buildkit.core.values import dataclass, replace


@dataclass(frozen=True, slots=True)
class ProgressGroup:
    """Vertices that a display may fold into one line."""

    id: str
    name: str
    weak: bool = False


@dataclass(frozen=True, slots=True)
class VertexUpdate:
    """The state of one vertex; replaces earlier updates of the same digest."""

    digest: str
    name: str
    inputs: tuple[str, ...] = ()
    started: int | None = None
    completed: int | None = None
    cached: bool = False
    error: str = ""
    group: ProgressGroup | None = None


@dataclass(frozen=True, slots=True)
class StatusUpdate:
    """A counter or sub-step of a vertex, identified by ``id`` within it."""

    vertex: str
    id: str
    name: str = ""
    current: int = 0
    total: int = 0
    timestamp: int = 0
    started: int | None = None
    completed: int | None = None


@dataclass(frozen=True, slots=True)
class LogUpdate:
    """Output of a vertex: stream 1 is stdout, 2 is stderr."""

    vertex: str
    stream: int
    content: bytes
    timestamp: int


@dataclass(frozen=True, slots=True)
class WarningUpdate:
    """A warning with its place in the source."""

    vertex: str
    level: int
    short: bytes
    detail: tuple[bytes, ...] = ()
    url: str = ""
    source: SourceDetail | None = None


Update: TypeAlias = VertexUpdate | StatusUpdate | LogUpdate | WarningUpdate


class Sink(Protocol):
    """Whoever takes updates. Never blocks, never raises."""

    def write(self, update: Update) -> None:
        """Take one update."""


_GATHERED = 0.01
"""Seconds that readers may be behind: each batch is a message to a client, and a quick build has dozens of updates.

Not with the first: clients draw that at once and then nothing for a while, and of a vertex that they drew as completed
they show no warning that comes later.
"""


class Stream:
    """A build's updates in order. Readers see all from the beginning, in batches, until it is closed."""

    def __init__(self) -> None:
        self._updates: list[Update] = []
        self._closed = False
        self._grown: list[asyncio.Future[None]] = []
        self._gathering: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._updates)

    def write(self, update: Update) -> None:
        """Append; ignored once closed."""
        if not self._closed:
            self._updates.append(update)
            if self._grown and self._gathering is None:
                delay = _GATHERED if len(self._updates) > 1 else 0
                self._gathering = self._grown[0].get_loop().call_later(delay, self._wake)

    @property
    def updates(self) -> list[Update]:
        """Everything so far."""
        return list(self._updates)

    def close(self) -> None:
        """No more will come; readers end after what is there."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None
        waiting, self._grown = self._grown, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def read(self) -> AsyncIterator[Sequence[Update]]:
        """Everything so far, then what comes, gathered for some milliseconds; the end is told at once."""
        at = 0
        while True:
            if at < len(self._updates):
                batch, at = self._updates[at:], len(self._updates)
                yield batch
            elif self._closed:
                return
            else:
                future = asyncio.get_running_loop().create_future()
                self._grown.append(future)
                await future


class Reporter:
    """Writes the progress of one vertex to every sink it was given; sinks may be added while it runs."""

    def __init__(self, vertex: VertexUpdate, sinks: list[Sink] | None = None) -> None:
        self.vertex = vertex
        self._sinks: list[Sink] = sinks if sinks is not None else []

    def join(self, sink: Sink) -> None:
        """From now on write here too; the current state is written at once."""
        self._sinks.append(sink)
        sink.write(self.vertex)

    def leave(self, sink: Sink) -> None:
        """Write here no more."""
        if sink in self._sinks:
            self._sinks.remove(sink)

    def _emit(self, update: Update) -> None:
        for sink in self._sinks:
            sink.write(update)

    def start(self) -> None:
        """The vertex begins (again)."""
        self.vertex = replace(self.vertex, started=time.time_ns(), completed=None, cached=False, error="")
        self._emit(self.vertex)

    def complete(self, *, error: str = "", cached: bool = False) -> None:
        """The vertex ends; one that never started starts and ends at this instant."""
        now = time.time_ns()
        self.vertex = replace(
            self.vertex,
            started=self.vertex.started or now,
            completed=now,
            error=error,
            cached=cached or self.vertex.cached,
        )
        self._emit(self.vertex)

    def log(self, stream: int, content: bytes) -> None:
        """Output of the running step."""
        self._emit(LogUpdate(self.vertex.digest, stream, content, time.time_ns()))

    def warn(self, warning: WarningUpdate) -> None:
        """A warning about this vertex."""
        self._emit(replace(warning, vertex=self.vertex.digest))

    def status(
        self,
        id: str,
        *,
        name: str = "",
        current: int = 0,
        total: int = 0,
        started: int | None = None,
        completed: int | None = None,
    ) -> None:
        """A counter of this vertex changed; give ``completed`` (nanoseconds) when it is done."""
        now = time.time_ns()
        self._emit(StatusUpdate(self.vertex.digest, id, name, current, total, now, started, completed))
