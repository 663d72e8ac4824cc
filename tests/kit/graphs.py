"""Graphs whose results are strings, and ops that count what is asked of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Any

from buildkit.core.digest import sha256_text
from buildkit.core.errors import NotFound
from buildkit.core.values import dataclass, field
from buildkit.solver.graph import CacheInput, CacheMap, Edge, Step, Vertex, VertexOptions
from buildkit.solver.job import Solver
from buildkit.solver.keys import MemoryKeys


@dataclass(eq=False)
class FakeOp:
    """Gives a cache map for each seed and fixed outputs."""

    seeds: tuple[str, ...]
    outputs: tuple[str, ...]
    count: int
    content: frozenset[int] = frozenset()
    selectors: dict[int, str] = field(default_factory=dict)
    before: Callable[[], Awaitable[Any]] | None = None
    before_maps: Callable[[], Awaitable[Any]] | None = None
    during: Callable[[Step], Awaitable[Any]] | None = None
    error: Exception | None = None
    maps_error: Exception | None = None
    content_error: Exception | None = None
    mapped: int = 0
    digested: int = 0
    executed: int = 0
    got: Sequence[str] = ()

    async def cache_maps(self, step: Step) -> AsyncIterator[CacheMap[str]]:
        for seed in self.seeds:
            self.mapped += 1
            if self.before_maps is not None:
                await self.before_maps()
            if self.maps_error is not None:
                raise self.maps_error
            yield CacheMap(
                seed if seed.startswith("random:") else sha256_text("seed " + seed),
                tuple(
                    CacheInput(self.selectors.get(i, ""), self.digest if i in self.content else None)
                    for i in range(self.count)
                ),
            )

    async def digest(self, result: str, step: Step) -> str:
        self.digested += 1
        if self.content_error is not None:
            raise self.content_error
        return sha256_text("content " + result)

    async def execute(self, inputs: Sequence[str], step: Step) -> Sequence[str]:
        self.got = inputs
        if self.before is not None:
            await self.before()
        if self.during is not None:
            await self.during(step)
        self.executed += 1
        if self.error is not None:
            raise self.error
        return self.outputs


def vertex(
    name: str,
    seed: str | tuple[str, ...],
    value: str | tuple[str, ...],
    *inputs: Edge[str],
    content: Sequence[int] = (),
    ignore_cache: bool = False,
    export_cache: bool | None = None,
    **rest: Any,
) -> Edge[str]:
    """The first output of a new vertex; ``seed`` makes its cache map digests, ``value`` its outputs."""
    op = FakeOp(
        (seed,) if isinstance(seed, str) else seed,
        (value,) if isinstance(value, str) else value,
        len(inputs),
        frozenset(content),
        **rest,
    )
    options = VertexOptions(ignore_cache=ignore_cache, export_cache=export_cache)
    return Edge(Vertex(sha256_text(name), name, lambda: op, tuple(inputs), options))


def output(edge: Edge[str], number: int) -> Edge[str]:
    """Another output of the same vertex."""
    return Edge(edge.vertex, number)


def op_of(edge: Edge[str]) -> FakeOp:
    """The op behind an edge."""
    op = edge.vertex.resolve()
    assert isinstance(op, FakeOp)
    return op


def ops(edge: Edge[str]) -> Iterator[FakeOp]:
    """All ops of a graph, each once."""
    seen = {edge.vertex: None}
    for one in list(seen):
        seen[one] = None
    todo = [edge.vertex]
    while todo:
        one = todo.pop()
        yield one.resolve()  # type: ignore[misc]
        for inner in one.inputs:
            if inner.vertex not in seen:
                seen[inner.vertex] = None
                todo.append(inner.vertex)


def counts(edge: Edge[str]) -> tuple[int, int]:
    """How many cache maps were asked for, and how many executions there were."""
    found = list(ops(edge))
    return sum(op.mapped for op in found), sum(op.executed for op in found)


async def settled() -> None:
    """Let everything move that can: until only what waits for the test is left."""
    for _ in range(50):
        await asyncio.sleep(0)


class FakeResults:
    """Results that live under their own text until they are dropped."""

    def __init__(self, *, slow: bool = False) -> None:
        self.gone: set[str] = set()
        self.unloadable: set[str] = set()
        self.loads: list[str] = []
        self.slow = slow

    def name(self, result: str) -> str:
        return result

    def exists(self, name: str) -> bool:
        return name not in self.gone

    async def load(self, name: str) -> str:
        self.loads.append(name)
        if self.slow:
            await asyncio.sleep(0)
        if name in self.gone or name in self.unloadable:
            raise NotFound(f"result {name}: not found")
        return name


class World:
    """A solver with stores that outlive it."""

    def __init__(self, keys: Any = None, results: FakeResults | None = None) -> None:
        self.keys = MemoryKeys() if keys is None else keys
        self.results = FakeResults() if results is None else results
        self.solver = Solver[str](self.keys, self.results)
        self._number = 0

    def job(self, **rest: Any) -> Any:
        self._number += 1
        return self.solver.job(f"job{self._number}", **rest)

    async def build(self, edge: Edge[str], imports: Any = (), **rest: Any) -> str:
        """Build in a job of its own."""
        async with self.job(**rest) as job:
            return await job.build(edge, imports)

    def restart(self) -> World:
        """A new solver on the same stores."""
        return World(self.keys, FakeResults())
