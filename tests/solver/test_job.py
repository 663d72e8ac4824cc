"""What the solver does, one scenario a test; results and costs."""

import asyncio

import pytest
from tests.kit.graphs import FakeResults, World, counts, op_of, output, settled, vertex

from buildkit.core.errors import BuildkitError, Internal
from buildkit.solver.edge import EdgeState


@pytest.mark.row("S37")
async def test_the_same_vertex_is_shared_between_jobs():
    w = World()
    a, b = vertex("v0", "s", "first"), vertex("v0", "s", "second")
    async with w.job() as one, w.job() as two:
        assert (await one.build(a), await two.build(b)) == ("first", "first")
    assert counts(a) == (1, 1)
    assert counts(b) == (0, 0)


async def test_a_root_with_a_record_is_loaded():
    w = World()
    assert await w.build(vertex("v0", "s0", "r0")) == "r0"
    again = vertex("v1", "s0", "other")
    assert await w.build(again) == "r0"
    assert counts(again) == (1, 0)
    assert w.results.loads == ["r0"]
    assert await w.build(vertex("v2", "s2", "r2")) == "r2"


@pytest.mark.row("S36")
async def test_equal_keys_execute_once_in_parallel():
    w = World()
    release = asyncio.Event()
    g0 = vertex("v0", "s0", "r0", vertex("v0c", "s0c", "c", before=release.wait), before=release.wait)
    g1 = vertex("v1", "s0", "r0", vertex("v1c", "s0c", "c", before=release.wait), before=release.wait)
    both = asyncio.gather(w.build(g0), w.build(g1))
    await settled()
    release.set()
    assert await both == ["r0", "r0"]
    assert counts(g0)[1] + counts(g1)[1] == 2


@pytest.mark.row("S23")
async def test_equal_content_of_another_input_is_a_hit():
    w = World()
    await w.build(vertex("v0", "s0", "r0", vertex("v1", "s1", "r1"), content=[0]))
    g = vertex("v2", "s0", "not-cached", vertex("v3", "s3", "r1"), content=[0])
    assert await w.build(g) == "r0"
    assert counts(g) == (2, 1)


@pytest.mark.row("S24")
async def test_a_content_match_teaches_the_definition():
    w = World()

    def g(seed):
        return vertex("v0", "s0", "r0", vertex("v1", seed, "r1"), content=[0])

    await w.build(g("s1"))
    assert await w.build(h := g("s3")) == "r0"
    assert counts(h) == (2, 1)
    assert len(w.results.loads) == 1
    assert await w.build(h := g("s3")) == "r0"
    assert counts(h) == (2, 0)
    assert len(w.results.loads) == 2


async def test_only_the_input_that_changed_is_executed():
    w = World()
    await w.build(vertex("v0", "s0", "r0", vertex("v1", "s1", "r1"), vertex("v2", "s2", "r2"), content=[1]))
    g = vertex("v0", "s0", "no", vertex("v1", "s1", "no"), vertex("v2x", "s2x", "r2"), content=[1])
    assert await w.build(g) == "r0"
    assert counts(g) == (3, 1)
    assert len(w.results.loads) == 1


async def test_with_two_content_inputs_the_matching_one_is_left_alone():
    w = World()
    await w.build(vertex("v0", "s0", "r0", vertex("v1", "s1", "r1"), vertex("v2", "s2", "r2"), content=[0, 1]))
    g = vertex("v0", "s0", "no", vertex("v1", "s1", "r1"), vertex("v2x", "s2x", "r2"), content=[0, 1])
    assert await w.build(g) == "r0"
    assert counts(g) == (3, 1)
    assert len(w.results.loads) == 1
    g = vertex("v0", "s0", "no", vertex("v1", "s1y", "r1"), vertex("v2x", "s2y", "r2"), content=[0, 1])
    assert await w.build(g) == "r0"
    assert counts(g) == (3, 2)
    assert len(w.results.loads) == 2


@pytest.mark.row("S24")
async def test_content_is_not_digested_when_definitions_match():
    w = World()

    def g():
        inner = vertex("v1", "s1", "r1", vertex("v2", "s2", "r2"), selectors={0: "sel"}, content=[0])
        return vertex("v0", "s0", "r0", inner)

    await w.build(g())
    assert await w.build(h := g()) == "r0"
    assert counts(h) == (3, 0)
    assert w.results.loads == ["r0"]


async def test_a_content_match_deep_down_loads_only_the_top():
    w = World()

    def g(seed3):
        v1 = vertex("v1", "s1", "r1", vertex("v3", seed3, "r3"), content=[0])
        return vertex("vmain", "smain", "rmain", vertex("v0", "s0", "r0", v1, vertex("v2", "s2", "r2"), content=[1]))

    await w.build(g("s3"))
    assert await w.build(h := g("s3-new")) == "rmain"
    assert counts(h) == (5, 1)
    assert w.results.loads == ["rmain"]


@pytest.mark.row("S20")
async def test_the_selector_is_part_of_the_key():
    w = World()

    def g(selector):
        return vertex("v0", "s0", f"r-{selector}", vertex("v1", "s1", "r1"), selectors={0: selector})

    await w.build(g("sel0"))
    assert await w.build(h := g("sel0")) == "r-sel0"
    assert counts(h) == (2, 0)
    assert await w.build(h := g("sel1")) == "r-sel1"
    assert counts(h) == (2, 1)
    assert w.results.loads == ["r-sel0", "r1"]


@pytest.mark.row("S35")
async def test_ignoring_the_cache_looks_nothing_up_but_saves():
    w = World()

    def g(result, top, child):
        return vertex("v0", "s0", result, vertex("v1", "s1", "r1", ignore_cache=child), ignore_cache=top)

    await w.build(g("r0", False, False))
    assert await w.build(h := g("r1", True, True)) == "r1"
    assert counts(h) == (2, 2)
    assert await w.build(h := g("r2", False, True)) == "r2"
    assert counts(h) == (2, 2)
    assert await w.build(h := g("r3", False, False)) == "r2"
    assert counts(h) == (2, 0)


@pytest.mark.row("S35")
async def test_who_ignores_the_cache_is_not_served_by_who_does_not():
    w = World()
    plain, forced = vertex("v0", "s", "plain"), vertex("v0", "s", "forced", ignore_cache=True)
    async with w.job() as one, w.job() as two, w.job() as three:
        assert await one.build(plain) == "plain"
        assert await two.build(forced) == "forced"
        assert await three.build(vertex("v0", "s", "third")) == "forced"


@pytest.mark.row("S25")
async def test_a_root_is_asked_for_maps_until_one_matches():
    w = World()
    await w.build(vertex("v0", "seed1", "r0"))
    assert await w.build(g := vertex("v1", ("seed1", "seed3"), "no")) == "r0"
    assert counts(g) == (1, 0)
    assert await w.build(g := vertex("v2", ("seed4", "seed1"), "no")) == "r0"
    assert counts(g) == (2, 0)
    assert await w.build(g := vertex("v3", ("seed4", "seed5"), "no")) == "r0", "the first map was learned"
    assert counts(g) == (1, 0)


async def test_inputs_run_in_parallel():
    w = World()
    barrier = asyncio.Barrier(2)
    v1, v2 = (vertex(f"v{i}", f"s{i}", f"r{i}", before=barrier.wait) for i in (1, 2))
    g = vertex("v0", "s0", "r0", v1, v2)
    assert await w.build(g) == "r0"
    assert counts(g) == (3, 3)
    assert op_of(g).got == ["r1", "r2"]


async def test_crossing_partial_matches_end():
    w = World()

    def g(a, b, c, content=()):
        return vertex("v0", a, "r0", vertex("v1", b, "r1"), vertex("v2", c, "r2"), content=content)

    await w.build(g("s0", "s1", "s2"))
    await w.build(g("s0-1", "s1-1", "s2-1"))
    assert await w.build(g("s0-1", "s1", "s2-1", content=[1])) == "r0"


@pytest.mark.row("S41")
async def test_one_of_two_askers_may_leave():
    w, gate, begun = World(), asyncio.Event(), asyncio.Event()

    async def wait():
        begun.set()
        await gate.wait()

    g = vertex("v0", "s0", "r0", before=wait)
    async with w.job() as one, w.job() as two:
        a, b = asyncio.ensure_future(one.build(g)), asyncio.ensure_future(two.build(g))
        await begun.wait()
        a.cancel()
        await asyncio.sleep(0)
        gate.set()
        assert await b == "r0"
        assert a.cancelled()
    assert counts(g) == (1, 1)


@pytest.mark.row("S41")
async def test_when_the_last_asker_leaves_the_execution_stops_before_the_job_ends():
    w, begun, log = World(), asyncio.Event(), []

    async def hang():
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            log.append("stopped")

    task = asyncio.ensure_future(w.build(vertex("v0", "s0", "r0", vertex("v1", "s1", "r1", before=hang))))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert log == ["stopped"]
    assert await w.build(vertex("v0", "s0", "r0", vertex("v1", "s1", "r1"))) == "r0"


@pytest.mark.row("S42", "A63")
async def test_an_error_is_raised_as_itself_and_not_cached():
    w = World()
    with pytest.raises(BuildkitError) as caught:
        await w.build(vertex("v0", "s0", "r0", vertex("v1", "s1", "r1", error=Internal("boom"))))
    assert str(caught.value) == "boom"
    assert caught.value.details[0].digest == vertex("v1", "", "").vertex.digest
    assert await w.build(vertex("v0", "s0", "r0", vertex("v1", "s1", "r1"))) == "r0"


@pytest.mark.row("S42")
async def test_a_failure_stops_the_other_branches_of_the_build():
    w, begun, log = World(), asyncio.Event(), []

    async def hang():
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            log.append("stopped")

    bad = vertex("v1", "s1", "r1", before=begun.wait, error=Internal("boom"))
    with pytest.raises(Internal, match="boom"):
        await w.build(vertex("v0", "s0", "r0", bad, vertex("v2", "s2", "r2", before=hang)))
    assert log == ["stopped"]


@pytest.mark.row("S42")
async def test_a_failing_vertex_fails_only_the_jobs_that_need_it():
    w = World()
    good = vertex("good", "g", "fine")
    bad = vertex("bad", "b", "r", vertex("good", "g", "fine"), error=Internal("boom"))
    failed, fine = await asyncio.gather(w.build(bad), w.build(good), return_exceptions=True)
    assert str(failed) == "boom"
    assert fine == "fine"


@pytest.mark.row("S38")
async def test_a_vanished_record_is_forgotten_and_made_again():
    w = World()
    await w.build(vertex("v0", "s0", "r0"))
    w.results.unloadable.add("r0")
    assert await w.build(g := vertex("v1", "s0", "again")) == "again"
    assert counts(g) == (1, 1)
    assert w.results.loads == ["r0"]
    assert not w.keys.keys_of("r0")


@pytest.mark.row("S38")
async def test_the_newest_record_is_loaded_first_then_the_next():
    w = World()
    await w.build(vertex("v0", "s0", "old"))
    await w.build(vertex("v0", "s0", "new", ignore_cache=True))
    assert await w.build(vertex("v1", "s0", "no")) == "new"
    w.results.unloadable.add("new")
    assert await w.build(vertex("v1", "s0", "no")) == "old"


async def test_outputs_of_one_vertex_share_one_execution_and_are_cached_apart():
    w = World()
    both = vertex("v0", "s0", ("a", "b"))
    top = vertex("top", "t", "r", both, output(both, 1))
    assert await w.build(top) == "r"
    assert counts(top) == (2, 2)
    assert op_of(top).got == ["a", "b"]
    assert await w.build(output(vertex("v1", "s0", ()), 1)) == "b"


async def test_an_output_asked_later_in_the_job_needs_no_second_execution():
    w = World()
    both = vertex("v0", "s0", ("a", "b"))
    async with w.job() as job:
        assert await job.build(both) == "a"
        assert await job.build(output(both, 1)) == "b"
    assert counts(both) == (1, 1)


async def test_a_graph_of_5000_vertices_needs_no_recursion():
    w = World(results=FakeResults(slow=True))

    def chain():
        edge = vertex("v", "s", "r")
        for i in range(5000):
            edge = vertex(f"v{i}", f"s{i}", f"r{i}", edge)
        return edge

    assert await w.build(chain()) == "r4999"
    assert await w.build(g := chain()) == "r4999"
    assert counts(g) == (5001, 0)
    assert w.results.loads == ["r4999"]


async def test_cached_vertices_make_no_tasks(monkeypatch):
    w = World()

    def chain():
        edge = vertex("v", "s", "r")
        for i in range(20):
            edge = vertex(f"v{i}", f"s{i}", f"r{i}", edge)
        return edge

    await w.build(chain())
    made = []
    with monkeypatch.context() as patch:
        patch.setattr(asyncio.get_running_loop(), "create_task", lambda *a, **k: made.append(a))
        assert await w.build(chain()) == "r19"
    assert made == []


@pytest.mark.parametrize("cached", [False, True])
async def test_every_edge_moves_a_constant_number_of_times(monkeypatch, cached):
    def lattice(depth):  # 2 ** depth paths, each vertex with two inputs and two consumers
        left, right = vertex("l", "l", "l"), vertex("r", "r", "r")
        for i in range(depth):
            left, right = (vertex(f"{s}{i}", f"{s}{i}", f"{s}{i}", left, right, content=[1]) for s in "lr")
        return vertex("top", "top", "top", left, right)

    w, moves, advance = World(), [], EdgeState.advance
    if cached:
        await w.build(lattice(200))
    monkeypatch.setattr(EdgeState, "advance", lambda edge: (moves.append(edge), advance(edge)))
    await w.build(lattice(200))
    assert len(moves) < (3 if cached else 15) * 403
