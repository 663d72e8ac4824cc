"""One output of an active vertex: asks its inputs, finds a record or executes, and tells who asked.

`EdgeState.advance` does what can be done at once and then asks: its inputs for a `decide.Level`, or work that
suspends. It is called again when an answer has come. Nothing here recurses over the graph.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, cast

from buildkit.core.digest import Digest
from buildkit.core.errors import BuildkitError, Canceled, Corrupt, Internal, InvalidInput, NotFound
from buildkit.solver.decide import Level, next_step
from buildkit.solver.graph import Op
from buildkit.solver.lookup import Candidate, Lookup
from buildkit.solver.origins import Home
from buildkit.solver.running import Call, Running
from buildkit.solver.vertex import VertexState
from buildkit.solver.work import Queue, Work, begin

R = TypeVar("R")

UNASKED, DEFINED, SETTLED, RESULT = Level
_NOBODY = (0, 0, 0, 0)


class Request(Protocol):
    """Someone outside of the graph who asked an edge."""

    def look(self) -> None:
        """The edge reached a level, or failed."""


class Parts(NamedTuple, Generic[R]):
    """What all edges of a solver share."""

    queue: Queue
    home: Home[R]
    running: Running[R]
    ended: Callable[[VertexState[R]], None]
    """Called when a vertex was executed or loaded, or failed to be."""


class EdgeState(Lookup[R]):
    """The shared, running evaluation of one edge."""

    __slots__ = ("_asked", "_counts", "_load", "consumers", "error", "goal", "parts", "queued", "requests", "works")

    inputs: tuple[EdgeState[R], ...]

    def __init__(self, state: VertexState[R], output: int, inputs: tuple[EdgeState[R], ...], parts: Parts[R]) -> None:
        super().__init__(state, output, inputs, parts.home)
        self.parts = parts
        self.queued = False
        self.works: tuple[Work[Any], ...] = ()
        self.goal = UNASKED
        """The most that anyone asks for."""
        self.error: BaseException | None = None
        self.consumers: dict[EdgeState[R], None] = {}
        self.requests: tuple[Request, ...] = ()
        self._counts = array("l", _NOBODY)
        self._asked = [UNASKED] * len(inputs)
        self._load: Work[R] | None = None
        for one in inputs:
            one.consumers[self] = None

    @property
    def asked(self) -> Sequence[Level]:
        """What was asked of each input."""
        return self._asked

    # -- being asked --

    def count(self, old: Level, new: Level) -> None:
        """Someone who asked for ``old`` now asks for ``new``."""
        counts = self._counts
        counts[old] -= 1
        counts[new] += 1
        goal = RESULT if counts[3] else SETTLED if counts[2] else DEFINED if counts[1] else UNASKED
        if goal is not self.goal:
            before, self.goal = self.goal, goal
            if self.level < goal and goal > before:
                self.parts.queue.push(self)
            elif self.level < before:
                self.parts.queue.push_last(self)

    def release(self) -> None:
        """No job cares any more."""
        self._want({})
        for one in self.inputs:
            one.consumers.pop(self, None)
        for work in self.works:
            work.leave(self)

    def retry(self) -> None:
        """A new job may have better luck than the one that saw the error."""
        self.error = None
        self.passed_over = frozenset()

    def tell(self) -> None:
        """Have consumers that still want something look again, and requests answered."""
        push = self.parts.queue.push
        for consumer in self.consumers:
            if consumer.level < consumer.goal:
                push(consumer)
        for request in self.requests:
            request.look()

    def fail(self, error: BaseException) -> None:
        """It cannot be had; for now."""
        self.error = error
        self.tell()

    def advance(self) -> None:
        """Move on as far as possible; never raises."""
        try:
            while self.level < self.goal and self.error is None:
                if self.state.error is not None:
                    raise self.state.error
                if self.level is UNASKED:
                    moved = self._define() if self.inputs else self._take_roots(self.known)
                elif self.level is DEFINED:
                    moved = self._learn() and self._rise(SETTLED)
                else:
                    moved = self._produce()
                if not moved:
                    return
        except Exception as error:
            self.fail(error if isinstance(error, BuildkitError) else self.state.blame(error))
        self._want({})
        for work in self.works:
            work.leave(self)

    def _rise(self, level: Level) -> bool:
        self.level = level
        self.tell()
        return True

    # -- asking --

    def _ask(self, i: int, level: Level) -> bool:
        """Whether input ``i`` has told as much; if not, ask it."""
        one = self.inputs[i]
        if one.level >= level:
            return True
        if one.error is not None:
            raise one.error
        asked = self._asked[i]
        if asked < level:
            self._asked[i] = level
            one.count(asked, level)
        return False

    def _want(self, wanted: Mapping[int, Level]) -> None:
        """Take back what was asked of inputs beyond what is wanted, and has not come."""
        for i, asked in enumerate(self._asked):
            if asked > self.inputs[i].level and asked > (want := wanted.get(i, UNASKED)):
                self._asked[i] = want
                self.inputs[i].count(asked, want)

    def _wait(self, work: Work[Any]) -> bool:
        for other in self.works:
            if other is not work:
                other.leave(self)
        work.join(self)
        return False

    # -- moving: True when there is more to do at once --

    def _take_roots(self, enough: Callable[[], object]) -> bool:
        """Take cache maps, each an alternative key, until one is enough or there are no more."""
        state = self.state
        self.take_maps()
        while not (enough() or state.mapped):
            if (state.maps and not self._opened()) or not state.next_map(self):
                return False
            self.take_maps()
        return self.level is not UNASKED or self._defined()

    def _define(self) -> bool:
        told = True
        for i, one in enumerate(self.inputs):
            if one.level is UNASKED and not self._ask(i, DEFINED):
                told = False
        if not self.state.maps and not self.state.next_map(self):
            told = False
        if not told:
            if self.goal is RESULT and self.state.maps:
                self._hurry()
            return False
        self.take_maps()
        self.probe()
        return self._defined()

    def _hurry(self) -> None:
        """While some inputs are not even defined, ask the others for what is needed in any case."""
        self.take_maps()
        hopeless = self.state.ignoring
        if not hopeless:
            self.probe()
            if not self._opened():
                return
            for i, probe in enumerate(self.probes()):
                if probe.level is not UNASKED and not probe.matches:
                    if probe.level >= probe.ceiling:
                        hopeless = True
                    else:
                        self._ask(i, Level(probe.level + 1))
        if hopeless:
            for i in range(len(self.inputs)):
                self._ask(i, RESULT)

    def _defined(self) -> bool:
        for one in self.state.imports:
            one.edges[self] = None
        return self._rise(DEFINED)

    def _opened(self) -> bool:
        """Whether all imports are open: nothing costly is asked before."""
        opened = [one.opened(self.parts.queue, self) for one in self.state.imports]
        return all(opened)

    def _learn(self) -> bool:
        """Learn keys until a record is found or nothing more can be learned."""
        if not self.inputs:
            return self._take_roots(self.candidates)
        while not self.state.ignoring:
            self.probe()
            if self.candidates():
                break
            if not self._opened():
                return False
            wanted = next_step(self.probes())
            if not wanted:
                break
            self._want(wanted)
            moved = [self._ask(i, level) and (level is not RESULT or self._digest(i)) for i, level in wanted.items()]
            if not any(moved):
                return False
        return True

    def _digest(self, i: int) -> bool:
        """Whether the content of input ``i``, whose result is there, is digested."""
        state = self.state
        if i in state.contents:
            return True
        content = state.maps[0].inputs[i].content
        if content is None:
            return True
        work = state.content_works.get(i)
        if work is None:

            def finish(digest: Digest | None, error: BaseException | None) -> None:
                if error is not None:
                    blamed = state.blame(error)
                    state.start("digest")
                    state.complete(blamed)
                    state.error = state.blame(blamed, "failed to compute cache key: ")
                else:
                    state.contents = {**state.contents, i: digest or ""}

            def ended() -> None:
                state.content_works = {k: one for k, one in state.content_works.items() if k != i}

            work = begin(
                self.parts.queue,
                content(cast(R, self.inputs[i].result), state),
                finish,
                ended,
            )
            if work is None:
                if state.error is not None:
                    raise state.error
                return True
            state.content_works = {**state.content_works, i: work}
        work.join(self)
        return False

    def _produce(self) -> bool:
        if self._load is not None:
            return self._wait(self._load)
        if not self._learn():
            return False
        if found := self.candidates():
            return self._load_record(found[0])
        return self._execute()

    def _load_record(self, found: Candidate[R]) -> bool:
        self._want({})

        def finish(result: R | None, error: BaseException | None) -> None:
            self._loaded(found, cast(R, result), error)

        self._load = begin(self.parts.queue, found.origin.results.load(found.record.name), finish, self._load_ended)
        if self._load is None:
            return True
        self.state.start("load")
        return self._wait(self._load)

    def _loaded(self, found: Candidate[R], result: R, error: BaseException | None) -> None:
        record, state = found.record, self.state
        if error is not None:
            if isinstance(error, NotFound | Corrupt) and found.origin is self.home:
                self.home.keys.forget(record.name)
            self.passed_over |= {record.name}
            state.reason = f"record could not be loaded: {error}"
            if self._load is not None:
                state.complete()
            state.event("passed over")
            return
        state.hold(result)
        state.outcome = "loaded"
        state.reason = f"recorded under {record.key}"
        state.complete(cached=True)
        if found.origin is self.home and self.inputs:
            self.saved = (record.key,)
            self.result = result
            self._rise(RESULT)
        else:
            self.finish(result, self.home.results.name(result), record.created_at)
        self.parts.ended(state)

    def _load_ended(self) -> None:
        work, self._load = self._load, None
        if work is not None and work.stopping and self.level < RESULT:
            self.state.complete(Canceled("context canceled"))

    def _execute(self) -> bool:
        state = self.state
        if state.outputs is not None:
            self.take_output(state.outputs, state)
            return True
        ready = True
        for i in range(len(self.inputs)):
            if not self._ask(i, RESULT) or not self._digest(i):
                ready = False
        if not ready:
            return False
        self.probe()
        if self.candidates():
            return True
        state.reason = state.reason or self.why_missed()
        work = state.execution
        if work is None:
            call = self._call()
            runner = self.parts.running.find(call)
            work = self._run(call) if runner is None else _join(state, runner)
        return self._wait(work)

    def _call(self) -> Call[R]:
        digests = frozenset(mapped.digest for mapped in self.state.maps[: None if not self.inputs else 1])
        ways = tuple(
            frozenset((link.selector, parent) for parent, link in self.ways(i)) for i in range(len(self.inputs))
        )
        return Call(self.state, digests, ways)

    def _run(self, call: Call[R]) -> Work[Sequence[R]]:
        state, parts = self.state, self.parts

        def finish(outputs: Sequence[R] | None, error: BaseException | None) -> None:
            waiting = [cast(EdgeState[R], edge) for edge in work.waiting]
            if outputs is None:
                error = state.blame(error or Internal("op gave no outputs"))
                state.outcome = "failed"
                state.complete(error)
                for edge in waiting:
                    edge.fail(error)
            else:
                for number in range(len(outputs)):
                    if number not in state.edges:  # what nobody asked for yet is there all the same
                        state.edges[number] = EdgeState(state, number, self.inputs, parts)
                mine = cast(Iterable[EdgeState[R]], state.edges.values())
                with parts.home.keys.transaction():
                    for edge in dict.fromkeys([*mine, *waiting]):
                        if edge.level < RESULT:
                            edge.take_output(outputs, state)
                state.complete()
            parts.ended(state)

        def ended() -> None:
            state.execution = None
            parts.running.remove(call)
            state.run_ended(stopped=work.stopping)

        parts.running.add(call)
        state.execution = work = Work(parts.queue, self._execution(state.resolve()), finish, ended)
        return work

    async def _execution(self, op: Op[R]) -> Sequence[R]:
        turn = self.state.vertex.turn
        async with nullcontext() if turn is None else turn():
            self.state.start("execute")
            return await op.execute([cast(R, one.result) for one in self.inputs], self.state)

    def take_output(self, outputs: Sequence[R], runner: VertexState[R]) -> None:
        """Take this edge's part of what ``runner``, its own vertex or an equal one, gave."""
        state = self.state
        if state.outputs is None:
            state.outputs = outputs
            for output in outputs:
                state.hold(output)
            state.outcome = "executed" if runner is state else "shared"
            if runner is not state:
                state.complete(cached=True)
        self.take_maps()
        if self.output >= len(outputs):
            self.fail(state.blame(InvalidInput(f"output {self.output} of {state.vertex.name}: it has {len(outputs)}")))
        else:
            self.finish(outputs[self.output], self.home.results.name(outputs[self.output]))


def _join(state: VertexState[R], runner: VertexState[R]) -> Work[Sequence[R]]:
    """Wait for the execution of an equal vertex, with all that it may use of this one's jobs."""
    work = runner.execution
    assert work is not None, "found among the running"  # noqa: S101
    if state not in runner.guests:
        runner.welcome(state)
    return work
