"""A vertex while jobs care for it: one op, one set of cache maps and one execution, whoever asks."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Generic, Protocol, TypeVar

from buildkit.core.digest import Digest
from buildkit.core.errors import BuildkitError, Canceled, FailedPrecondition, Internal, VertexDetail, from_os
from buildkit.core.progress import Reporter, Sink, VertexUpdate
from buildkit.solver.graph import CURRENT_COMPATIBILITY, CacheMap, Edge, Op, Vertex
from buildkit.solver.origins import Import
from buildkit.solver.work import Mover, Queue, Work, begin

R = TypeVar("R")


class Owner(Protocol[R]):
    """A job, as the vertices that it cares for see it."""

    session: str
    sink: Sink | None
    compatibility: int

    def hold(self, result: R) -> None:
        """Keep a result as long as the job lasts."""

    async def solve(self, edge: Edge[R], asker: VertexState[R]) -> R:
        """Solve an edge that a running op of ``asker`` leads to."""


class Output(Mover, Protocol[R]):
    """One output of a vertex, as far as the vertex knows it."""

    state: VertexState[R]

    @property
    def consumers(self) -> Iterable[Output[R]]:
        """The outputs that have this one as an input."""


class VertexState(Generic[R]):
    """The shared part of a vertex; also the `Step` that its op sees."""

    __slots__ = (
        "_iterator",
        "_map_work",
        "_op",
        "children",
        "content_works",
        "contents",
        "digest",
        "edges",
        "error",
        "events",
        "execution",
        "facts",
        "guests",
        "ignoring",
        "imports",
        "input_edges",
        "inputs",
        "limited",
        "mapped",
        "maps",
        "outcome",
        "outputs",
        "owners",
        "parents",
        "progress",
        "queue",
        "reason",
        "vertex",
    )

    def __init__(self, vertex: Vertex[R], digest: Digest, inputs: tuple[VertexState[R], ...], queue: Queue) -> None:
        """``digest`` names it among those that are active: the vertex's own, or that of its forced variant."""
        self.vertex = vertex
        self.digest = digest
        self.inputs = inputs
        self.queue = queue
        self.ignoring = vertex.options.ignore_cache
        self.limited: tuple[Vertex[R], ...] = ()
        """Vertices of other jobs that it stands for and that have limits of their own."""
        self.edges: dict[int, Output[R]] = {}
        self.input_edges: tuple[Output[R], ...] = ()
        self.owners: dict[Owner[R], None] = {}
        """The jobs that care for it, oldest first."""
        self.parents: tuple[VertexState[R], ...] = ()
        """The vertices whose running ops lead to it."""
        self.children: tuple[VertexState[R], ...] = ()
        """The vertices that its running op led to."""
        self.guests: Mapping[VertexState[R], list[Owner[R]]] = _NONE
        """Equal vertices that wait for its execution, with the jobs that only they bring."""
        self.imports: tuple[Import[R], ...] = ()
        self._op: Op[R] | None = None
        self.maps: tuple[CacheMap[R], ...] = ()
        self.mapped = False
        """Whether there are no more cache maps."""
        self._iterator: AsyncIterator[CacheMap[R]] | None = None
        self._map_work: Work[CacheMap[R]] | None = None
        self.contents: Mapping[int, Digest] = _NONE
        self.content_works: Mapping[int, Work[Digest]] = _NONE
        self.execution: Work[Sequence[R]] | None = None
        self.outputs: Sequence[R] | None = None
        """What the execution gave, one result for each output."""
        self.error: BaseException | None = None
        self.outcome = ""
        self.reason = ""
        self.facts: Mapping[str, object] = _NONE
        self.events: tuple[tuple[str, int], ...] = ()
        names = tuple([state.digest for state in inputs])
        self.progress = Reporter(VertexUpdate(digest, vertex.name, names, group=vertex.options.group))

    # -- what an op may use: graph.Step --

    def sessions(self) -> tuple[str, ...]:
        """Session ids of all jobs that care, its own jobs' first, then those of the vertices that lead here."""
        found: dict[str, None] = {}
        seen: set[VertexState[R]] = {self}
        states = [self]
        for state in states:
            found.update(dict.fromkeys(owner.session for owner in state.owners if owner.session))
            for parent in (*state.parents, *state.guests):
                if parent not in seen:
                    seen.add(parent)
                    states.append(parent)
        return tuple(found)

    def compatibility(self) -> int:
        """The rules to follow; raises `FailedPrecondition` when the jobs that care disagree."""
        versions = list(dict.fromkeys(owner.compatibility for owner in self.all_owners()))
        if len(versions) > 1:
            raise FailedPrecondition(
                f"conflicting compatibility versions in shared solve state: {versions[0]} != {versions[1]}"
            )
        return versions[0] if versions else CURRENT_COMPATIBILITY

    def limits(self) -> tuple[Any, ...]:
        """Of its own vertex, of those it stands for, and of equal ones that wait for it."""
        vertices = (self.vertex, *self.limited, *(guest.vertex for guest in self.guests))
        return tuple(one.options.limits for one in vertices if one.options.limits is not None)

    def note(self, **facts: object) -> None:
        """Add facts to the step's record."""
        self.facts = {**self.facts, **facts}

    def hold(self, result: R) -> None:
        """Keep a result as long as the jobs last that care for this vertex."""
        for owner in self.all_owners():
            owner.hold(result)

    async def build(self, edge: Edge[R]) -> R:
        """Solve an edge that belongs to this op's own work."""
        owner = next(iter(self.all_owners()), None)
        if owner is None:
            raise Internal(f"{self.vertex.name}: no job cares for it any more")
        return await owner.solve(edge, self)

    # -- for the solver --

    def all_owners(self) -> dict[Owner[R], None]:
        """Its jobs and those of the vertices that lead here."""
        found = dict(self.owners)
        seen: set[VertexState[R]] = {self}
        states = [*self.parents, *self.guests]
        for state in states:
            if state not in seen:
                seen.add(state)
                found.update(state.owners)
                states += (*state.parents, *state.guests)
        return found

    def above(self) -> Iterator[VertexState[R]]:
        """The vertices that may be waiting for it."""
        yield from self.parents
        yield from self.guests
        for edge in self.edges.values():
            for consumer in edge.consumers:
                yield consumer.state

    def event(self, name: str) -> None:
        """Note when something happened."""
        self.events += ((name, time.time_ns()),)

    def next_map(self, edge: Mover) -> bool:
        """Ask the op for one more cache map. False: it takes a while, ``edge`` is moved on then."""
        if self.error is not None:
            raise self.error
        if self._map_work is None:
            if self._iterator is None:
                maps = self.resolve().cache_maps(self)
                self._iterator = _skip(maps, len(self.maps)) if self.maps else maps
            work = begin(self.queue, self._iterator.__anext__(), self._take_map, self._map_ended)
            if work is None:
                if self.error is not None:
                    raise self.error
                return True
            self._map_work = work
            if not self.inputs:
                self.start("resolve")
        self._map_work.join(edge)
        return False

    def welcome(self, guest: VertexState[R]) -> None:
        """An equal vertex waits for this one's execution: its jobs lend their sessions and see the progress."""
        mine = self.all_owners()
        owners = [owner for owner in guest.all_owners() if owner not in mine]
        self.guests = {**self.guests, guest: owners}
        for owner in owners:
            if owner.sink is not None:
                self.progress.join(owner.sink)

    def run_ended(self, *, stopped: bool) -> None:
        """The execution is over."""
        for owners in self.guests.values():
            for owner in owners:
                if owner.sink is not None:
                    self.progress.leave(owner.sink)
        self.guests = _NONE
        if stopped and self.outputs is None:
            self.outcome = "canceled"
            self.complete(Canceled("context canceled"))

    def resolve(self) -> Op[R]:
        """The op, made at the first call."""
        if self._op is None:
            try:
                self._op = self.vertex.resolve()
            except Exception as error:
                raise self.blame(error) from None
        return self._op

    def _take_map(self, found: CacheMap[R] | None, error: BaseException | None) -> None:
        if found is not None:
            self.maps += (found,)
            if self.inputs:  # only roots have several
                self.mapped = True
        elif isinstance(error, StopAsyncIteration):
            self.mapped = True
            if not self.maps:
                self.error = self.blame(Internal("op gave no cache map"))
        elif error is not None:
            self.error = self.blame(error)
        if self.mapped:
            self._close_maps()
        shown = self.progress.vertex
        if self.error is not None or (not self.inputs and (self._map_work is not None or shown.started is None)):
            self.complete(self.error)
        if self.error is not None:
            self.error = self.blame(self.error, "failed to load cache key: ")

    def _map_ended(self) -> None:
        work, self._map_work = self._map_work, None
        if work is not None and work.stopping:
            self._iterator = None  # a generator that was stopped is spent
            self.complete(Canceled("context canceled"))

    def _close_maps(self) -> None:
        """End the op's generator where it stands, so that the event loop need not."""
        iterator, self._iterator = self._iterator, None
        close = getattr(iterator, "aclose", None)
        if close is not None:
            begin(self.queue, close(), _ignore, _nothing)

    def release(self) -> None:
        """No job cares any more."""
        if self._map_work is None:
            self._close_maps()

    def blame(self, error: BaseException, prefix: str = "") -> BaseException:
        """Say which vertex failed. What is neither of our error tree nor of the system is a fault of ours."""
        if not isinstance(error, BuildkitError):
            cause, error = error, _in_our_words(error)
            error.__cause__ = cause
        if prefix:
            error.prefixed(prefix)
        if not any(isinstance(detail, VertexDetail) for detail in error.details):
            error.detailed(VertexDetail(self.vertex.client_digest or self.vertex.digest))
        return error

    def start(self, event: str) -> None:
        """Real work begins; inputs that never had to start are shown as cached."""
        self.event(event)
        self._pass_inputs()
        self.progress.start()

    def complete(self, error: BaseException | None = None, *, cached: bool = False) -> None:
        """Real work ended."""
        self.event("failed" if error else "cached" if cached else "completed")
        if cached:
            self._pass_inputs()
        self.progress.complete(error=str(error) if error else "", cached=cached)

    def _pass_inputs(self) -> None:
        states = [*self.inputs]
        while states:
            state = states.pop()
            shown = state.progress.vertex
            if shown.completed is None and shown.started is None:
                state.progress.complete(cached=True)
                states.extend(state.inputs)


_NONE: Mapping[Any, Any] = MappingProxyType({})
"""Most vertices never need most of their collections: what is not made is not walked by the collector."""


async def _skip(maps: AsyncIterator[CacheMap[R]], count: int) -> AsyncIterator[CacheMap[R]]:
    async for found in maps:
        if count:
            count -= 1
        else:
            yield found


def _ignore(outcome: Any, error: BaseException | None) -> None:
    """How closing a generator ends is of no interest."""


def _nothing() -> None:
    """Nothing to clear."""


def _in_our_words(error: BaseException) -> BuildkitError:
    if isinstance(error, OSError):
        return from_os(error)
    return Internal(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)
