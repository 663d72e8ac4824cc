"""Any sequence of builds gives what building from nothing would give, and repeats nothing that is there."""

import asyncio
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.kit.graphs import FakeResults, World
from tests.kit.origins import import_keys

from buildkit.core.db import Database
from buildkit.core.digest import sha256_text
from buildkit.solver.graph import CacheInput, CacheMap, Edge, Vertex, VertexOptions
from buildkit.solver.keydb import DatabaseKeys
from buildkit.solver.origins import Import, Origin


def content(result):
    """A lossy view of a result: many results look alike."""
    return int(sha256_text(result)[-1], 16) % 3


@dataclass(eq=False)
class Pure:
    """An op whose outputs depend on its seed, on the content of some inputs, and on the others as they are."""

    seed: int
    looks: tuple[bool, ...]
    slow: bool
    runs: list = field(default_factory=list)

    async def cache_maps(self, step):
        if self.slow:
            await asyncio.sleep(0)
        yield CacheMap(sha256_text(f"op {self.seed} {self.looks}"), tuple(self.input(look) for look in self.looks))

    def input(self, look):
        return CacheInput(content=self.digest) if look else CacheInput()

    async def digest(self, result, step):
        return sha256_text(f"content {content(result)}")

    def value(self, inputs):
        seen = [content(one) if look else one for one, look in zip(inputs, self.looks, strict=True)]
        return [sha256_text(f"{self.seed} {self.looks} {seen} {number}") for number in (0, 1)]

    async def execute(self, inputs, step):
        if self.slow:
            await asyncio.sleep(0)
        self.runs.append(self.value(inputs)[0])
        return self.value(inputs)


NODE = st.tuples(
    st.integers(0, 2),
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 1), st.booleans()), max_size=3),
    st.booleans(),
    st.integers(0, 9),
)
GRAPH = st.lists(NODE, min_size=1, max_size=7)


def graph(nodes, runs, *, force=True):
    """The last vertex of a graph, and what it must give."""
    made, values = [], []
    for seed, inputs, slow, dice in nodes:
        picked = [(at % len(made), output, look) for at, output, look in inputs if made]
        op = Pure(seed, tuple(look for _, _, look in picked), slow, runs)
        edges = tuple(Edge(made[at], output) for at, output, _ in picked)
        digest = sha256_text(f"{seed} {slow} {op.looks} {[(e.vertex.digest, e.output) for e in edges]}")
        options = VertexOptions(ignore_cache=force and dice == 0)
        made.append(Vertex(digest, "v", lambda op=op: op, edges, options))
        values.append(op.value([values[at][output] for at, output, _ in picked]))
    return Edge(made[-1]), values[-1][0]


@pytest.mark.row("S20", "S22", "S24")
@settings(max_examples=150)
@given(st.lists(st.tuples(GRAPH, st.sets(st.integers(0, 15))), min_size=1, max_size=5), st.booleans())
def test_any_sequence_of_builds_is_right_and_repeats_nothing(builds, on_disk):
    async def run():
        db = Database(":memory:")
        keys = DatabaseKeys(db) if on_disk else None
        w = World(keys)
        for nodes, pruned in builds:
            edge, expected = graph(nodes, [])
            assert await w.build(edge) == expected
            runs = []
            edge, expected = graph(nodes, runs, force=False)
            assert await w.build(edge) == expected
            assert runs == [], "what was just built is there"
            if on_disk:
                w = World(DatabaseKeys(db), w.results)
            w.results.gone = {name for name in w.keys.names() if int(name[-1], 16) in pruned}
            w.keys.collect(w.results.exists)
            w.results.gone = set()
        assert w.solver.idle

    asyncio.run(run())


@pytest.mark.row("S36", "S37")
@settings(max_examples=150)
@given(st.lists(GRAPH, min_size=2, max_size=4))
def test_builds_at_once_are_right_and_equal_ones_run_once(graphs):
    async def run():
        w, runs = World(), []
        made = [graph(nodes, runs, force=False) for nodes in graphs for _ in range(2)]
        found = await asyncio.gather(*(w.build(edge) for edge, _ in made))
        assert found == [expected for _, expected in made]
        assert len(runs) == len(set(runs)), "equal work was done twice"
        assert w.solver.idle

    asyncio.run(run())


@pytest.mark.row("S39", "C26")
@settings(max_examples=100)
@given(GRAPH, GRAPH)
def test_an_import_of_any_chain_serves_the_same_build_without_running_it(nodes, others):
    async def run():
        here, there = World(), World()
        await here.build(graph(others, [], force=False)[0])
        edge, expected = graph(nodes, [], force=False)
        async with here.job() as job:
            await job.build(edge)
            chain = job.chain([edge])

        async def opened():
            return Origin(import_keys(chain.records), FakeResults())

        runs = []
        edge, expected = graph(nodes, runs, force=False)
        assert await there.build(edge, [Import("here", opened)]) == expected
        assert runs == []
        assert await there.build(graph(nodes, runs, force=False)[0]) == expected
        assert runs == [], "it was saved under local keys"

    asyncio.run(run())


@settings(max_examples=100)
@given(st.lists(GRAPH, min_size=1, max_size=3), st.lists(st.integers(0, 12), min_size=1, max_size=3))
def test_cancelling_at_any_moment_leaves_nothing_behind_and_the_next_build_is_right(graphs, turns):
    async def run():
        w = World()
        tasks = [asyncio.ensure_future(w.build(graph(nodes, [])[0])) for nodes in graphs]
        for task, after in zip(tasks, turns, strict=False):
            for _ in range(after):
                await asyncio.sleep(0)
            task.cancel()
        await asyncio.wait(tasks)
        assert w.solver.idle
        for nodes in graphs:
            edge, expected = graph(nodes, [])
            assert await w.build(edge) == expected

    asyncio.run(run())
