"""The solver: one graph of active vertices for all jobs, and a job as one client's interest in it."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from buildkit.core.digest import Digest, sha256_text
from buildkit.core.errors import AlreadyExists, BuildkitError, InvalidInput
from buildkit.core.progress import Sink
from buildkit.core.values import replace
from buildkit.solver.decide import Level
from buildkit.solver.edge import EdgeState, Parts
from buildkit.solver.graph import CURRENT_COMPATIBILITY, Edge, Results, Vertex
from buildkit.solver.keys import KeyId, KeyWriter
from buildkit.solver.origins import Home, Import
from buildkit.solver.record import StepRecord, StepRecords, step_record
from buildkit.solver.running import Running
from buildkit.solver.vertex import VertexState
from buildkit.solver.work import WATCH, Queue

if TYPE_CHECKING:
    from buildkit.solver.chains import Chain

R = TypeVar("R")

_AT_ONCE = 100
"""Results that are looked for between two turns of the loop."""

Imports = Sequence[Import[R]]


def _open_queue() -> Queue:
    """A new queue; one that logs if the environment says so."""
    if not any(name in os.environ for name in WATCH):
        return Queue()
    from buildkit.solver.watched import watched_queue

    return watched_queue()


class Solver(Generic[R]):
    """Vertices that jobs care for, each there once: equal work is done once, whoever asks."""

    def __init__(self, keys: KeyWriter, results: Results[R], steps: StepRecords | None = None) -> None:
        """``keys`` remember what ``results`` keep; ``steps`` take the record of each step that did something."""
        self.home = Home(keys, results)
        self._steps = steps
        self._queue = _open_queue()
        self._parts = Parts(self._queue, self.home, Running[R](), self._step_ended)
        self._active: dict[Digest, VertexState[R]] = {}
        self._forced: dict[Digest, VertexState[R]] = {}
        self._jobs: dict[str, Job[R]] = {}

    def job(
        self,
        id: str,
        *,
        session: str = "",
        progress: Sink | None = None,
        hold: Callable[[R], None] | None = None,
        compatibility: int = CURRENT_COMPATIBILITY,
    ) -> Job[R]:
        """A scope for building: ``async with solver.job(…) as job``.

        ``session`` is lent to the ops that the job waits for. ``hold`` is called with every result that the job
        depends on, before anyone else could drop it: put it under the job's lease.
        """
        return Job(self, id, session, progress, hold, compatibility)

    @property
    def idle(self) -> bool:
        """Whether no job is there and nothing is active."""
        return not (self._jobs or self._active or self._forced)

    async def forget_lost(self) -> None:
        """Forget the keys of results that are gone, as after pruning; other work goes on in between."""
        keys, exists = self.home.keys, self.home.results.exists
        names = tuple(keys.names())
        for start in range(0, len(names), _AT_ONCE):
            keys.collect(exists, names[start : start + _AT_ONCE])
            await asyncio.sleep(0)

    def _step_ended(self, state: VertexState[R]) -> None:
        if self._steps is not None:
            self._steps.save(step_record(state))

    # -- the active graph --

    def enter(self, job: Job[R]) -> None:
        """The job begins; raises `AlreadyExists` if its id is taken."""
        if job.id in self._jobs:
            raise AlreadyExists(f"job ID {job.id} exists")
        self._jobs[job.id] = job

    async def leave(self, job: Job[R]) -> None:
        """The job is over: release what only it cared for, and wait until that has stopped."""
        del self._jobs[job.id]
        for state in reversed(job.states):
            del state.owners[job]
            if job.sink is not None:
                _close_progress(state, job.sink)
            self._release(state)
        await self._queue.stopped()
        if self.idle:
            self.home.keys.rest()

    def load(
        self, top: Vertex[R], job: Job[R] | None, parent: VertexState[R] | None, imports: Imports[R]
    ) -> dict[Vertex[R], VertexState[R]]:
        """Make the graph under ``top`` active for a job, or for a vertex whose op leads to it."""
        loaded: dict[Vertex[R], VertexState[R]] = {} if job is None else job.loaded
        todo = [top]
        while todo:
            vertex = todo[-1]
            if vertex in loaded:
                todo.pop()
                continue
            missing = [edge.vertex for edge in vertex.inputs if edge.vertex not in loaded]
            if missing:
                todo += missing
                continue
            todo.pop()
            state = self._activate(vertex, loaded)
            loaded[vertex] = state
            if imports:
                known = {one.id for one in state.imports}
                state.imports += tuple(one for one in imports if one.id not in known)
            if job is not None:
                job.care(state)
            if parent is not None and parent not in state.parents:
                state.parents += (parent,)
                parent.children += (state,)
                state.imports += tuple(one for one in parent.imports if one not in state.imports)
                for owner in parent.all_owners():
                    if owner not in state.owners and owner.sink is not None:
                        state.progress.join(owner.sink)
        return loaded

    def _activate(self, vertex: Vertex[R], loaded: dict[Vertex[R], VertexState[R]]) -> VertexState[R]:
        digest = vertex.digest
        state = self._forced.get(digest) or self._active.get(digest)
        if state is not None and (state.ignoring or not vertex.options.ignore_cache):
            if vertex.options.limits is not None:
                state.limited += (vertex,)
            return state
        if state is not None:  # what is not forced does not serve who forces
            digest = sha256_text(f"{digest}-ignorecache")
        inputs = tuple([loaded[edge.vertex] for edge in vertex.inputs])
        state = VertexState(vertex, digest, inputs, self._queue)
        if digest is vertex.digest:
            self._active[digest] = state
        else:
            self._forced[vertex.digest] = state
        state.input_edges = tuple([self.edge(loaded[one.vertex], one.output) for one in vertex.inputs])
        return state

    def edge(self, state: VertexState[R], output: int) -> EdgeState[R]:
        """The shared state of one output."""
        edge = state.edges.get(output)
        if edge is None:
            inputs = cast(tuple[EdgeState[R], ...], state.input_edges)
            state.edges[output] = edge = EdgeState(state, output, inputs, self._parts)
        return cast(EdgeState[R], edge)

    def _release(self, state: VertexState[R]) -> None:
        todo = [state]
        while todo:
            state = todo.pop()
            if state.owners or state.parents:
                continue
            for edge in state.edges.values():
                cast(EdgeState[R], edge).release()
            state.release()
            for child in state.children:
                child.parents = tuple([one for one in child.parents if one is not state])
                todo.append(child)
            active = self._active if state.digest == state.vertex.digest else self._forced
            active.pop(state.vertex.digest, None)

    async def ask(self, edge: EdgeState[R], level: Level) -> None:
        """Wait until the edge has reached ``level``; raises its error."""
        request = _Request(edge, level)
        edge.requests += (request,)
        edge.count(Level.UNASKED, level)
        request.look()
        try:
            await request.future
        finally:
            edge.requests = tuple([one for one in edge.requests if one is not request])
            edge.count(level, Level.UNASKED)


class _Request(Generic[R]):
    def __init__(self, edge: EdgeState[R], level: Level) -> None:
        self._edge = edge
        self._level = level
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def look(self) -> None:
        if self.future.done():
            return
        if self._edge.level >= self._level:
            self.future.set_result(None)
        elif self._edge.error is not None:
            error = self._edge.error
            self.future.set_exception(error.twin() if isinstance(error, BuildkitError) else error)


class Job(Generic[R]):
    """One client's interest in the graph; ends with its ``async with``."""

    def __init__(
        self,
        solver: Solver[R],
        id: str,
        session: str,
        sink: Sink | None,
        hold: Callable[[R], None] | None,
        compatibility: int,
    ) -> None:
        self.id = id
        self.session = session
        self.sink = sink
        self.compatibility = compatibility
        self.loaded: dict[Vertex[R], VertexState[R]] = {}
        self.states: list[VertexState[R]] = []
        """What it cares for, inputs before consumers."""
        self._solver = solver
        self._hold = hold

    async def __aenter__(self) -> Job[R]:
        self._solver.enter(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._solver.leave(self)

    async def build(self, edge: Edge[R], imports: Imports[R] = ()) -> R:
        """The result of an edge, loaded or executed. ``imports`` are asked too, for every vertex under it."""
        state = self._edge(edge, imports)
        await self._solver.ask(state, Level.RESULT)
        return cast(R, state.result)

    async def key(self, edge: Edge[R], imports: Imports[R] = ()) -> KeyId | None:
        """The key of a record that `build` would load; None if it would have to execute. Loads nothing itself."""
        state = self._edge(edge, imports)
        if state.level is not Level.RESULT:
            await self._solver.ask(state, Level.SETTLED)
        found = state.candidates()
        return found[0].record.key if found else None

    def chain(self, edges: Iterable[Edge[R]], *, roots: bool = False, backlinks: bool = True) -> Chain:
        """The records that lead to edges that this job built (`chains.export_chain`)."""
        from buildkit.solver.chains import export_chain

        return export_chain([self._edge(edge, ()) for edge in edges], roots=roots, backlinks=backlinks)

    @property
    def records(self) -> list[StepRecord]:
        """What each vertex did and why, inputs before consumers; may be read when the job is over."""
        return [step_record(state) for state in self.states]

    def did(self, *outcomes: str) -> bool:
        """Whether any vertex that is no source has one of these outcomes."""
        return any(state.outcome in outcomes and state.facts.get("kind") != "source" for state in self._all_states())

    @property
    def all_records(self) -> list[StepRecord]:
        """`records`, and those of what running ops led to."""
        return [step_record(state) for state in self._all_states()]

    @property
    def ordinals(self) -> dict[Digest, int]:
        """For each vertex, how many before it have its name."""
        seen: Counter[str] = Counter()
        found = {}
        for state in self._all_states():
            found[state.digest] = seen[state.vertex.name]
            seen[state.vertex.name] += 1
        return found

    def ended(self, *outcomes: str) -> list[StepRecord]:
        """Of `all_records` those with one of these outcomes."""
        return [step_record(state) for state in self._all_states() if state.outcome in outcomes]

    def _all_states(self) -> list[VertexState[R]]:
        """What it cares for, each with what its op led to before it."""
        found: dict[VertexState[R], None] = {}
        opened: set[VertexState[R]] = set()
        todo = self.states[::-1]
        while todo:
            state = todo.pop()
            if state.children and state not in opened:
                opened.add(state)
                todo += [state, *reversed(state.children)]
            else:
                found[state] = None
        return list(found)

    def _edge(self, edge: Edge[R], imports: Imports[R]) -> EdgeState[R]:
        state = self._solver.load(edge.vertex, self, None, imports)[edge.vertex]
        return self._solver.edge(state, edge.output)

    async def solve(self, edge: Edge[R], asker: VertexState[R]) -> R:
        """Solve an edge that a running op of ``asker`` leads to; it lives as long as ``asker``."""
        loaded = self._solver.load(edge.vertex, None, asker, ())
        states = set(loaded.values())
        above = [asker]
        for one in above:
            if one in states:
                raise InvalidInput(f"{one.vertex.name}: its own op asks for it")
            above += [parent for parent in one.parents if parent not in above]
        state = self._solver.edge(loaded[edge.vertex], edge.output)
        await self._solver.ask(state, Level.RESULT)
        return cast(R, state.result)

    # -- called by the solver --

    def hold(self, result: R) -> None:
        """Keep a result under the job's lease; there is nothing to keep of an empty one (None)."""
        if self._hold is not None and result is not None:
            self._hold(result)

    def care(self, state: VertexState[R]) -> None:
        """The job wants this vertex from now on; an error that others saw is tried again."""
        if self in state.owners:
            return
        state.owners[self] = None
        self.states.append(state)
        state.error = None
        for one in state.edges.values():
            edge = cast(EdgeState[R], one)
            edge.retry()
            if edge.level is Level.RESULT:
                self.hold(cast(R, edge.result))
        if self.sink is not None:
            state.progress.join(self.sink)
            for child in state.children:
                child.progress.join(self.sink)


def _close_progress(state: VertexState[R], sink: Sink) -> None:
    """Whoever reads this sink will hear no more of the vertex."""
    shown = state.progress.vertex
    if shown.started is not None and shown.completed is None:
        sink.write(replace(shown, completed=time.time_ns(), error=shown.error or "context canceled"))
    state.progress.leave(sink)
