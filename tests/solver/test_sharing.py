"""Jobs that share vertices: sessions, held results, progress, joined executions, ops that build."""

import asyncio

import pytest
from tests.kit.graphs import FakeResults, World, counts, op_of, settled, vertex

from buildkit.core.errors import BuildkitError, ExitError, Internal, InvalidInput, SourceDetail


class Recorder:
    """A sink that remembers the last state of each vertex and every change of it."""

    def __init__(self):
        self.changes = []
        self.logs = []

    def write(self, update):
        if hasattr(update, "content"):
            self.logs.append((update.vertex, update.content))
        else:
            self.changes.append(update)

    def of(self, edge):
        return [one for one in self.changes if one.name == edge.vertex.name]

    def last(self, edge):
        return self.of(edge)[-1]

    def states(self, edge):
        return [
            "planned" if one.started is None else "running" if one.completed is None
            else one.error or ("cached" if one.cached else "done")
            for one in self.of(edge)
        ]  # fmt: skip


@pytest.mark.row("S100")
async def test_a_vertex_is_planned_then_runs_then_is_done():
    sink, g = Recorder(), vertex("v0", "s0", "r0", vertex("v1", "s1", "r1"))
    await World().build(g, progress=sink)
    assert sink.states(g) == ["planned", "running", "done"]
    assert sink.of(g)[0].inputs == (g.vertex.inputs[0].vertex.digest,)


@pytest.mark.row("S101", "A41")
async def test_what_was_loaded_and_what_it_spared_are_cached():
    w = World()

    def g():
        return vertex("v0", "s0", "r0", vertex("v1", "s1", "r1", vertex("v2", "s2", "r2")))

    await w.build(g())
    sink = Recorder()
    await w.build(h := g(), progress=sink)
    middle = h.vertex.inputs[0]
    assert [sink.states(one)[-1] for one in (h, middle)] == ["cached", "cached"]
    assert sink.last(middle).started == sink.last(middle).completed


@pytest.mark.row("A41")
async def test_inputs_that_never_start_are_cached_when_their_consumer_starts():
    w, sink = World(), Recorder()

    def lower():
        return vertex("v1", "s1", "r1", vertex("v2", "s2", "r2", vertex("v3", "s3", "r3")))

    await w.build(lower())
    g = vertex("v0", "s0", "r0", lower())
    await w.build(g, progress=sink)
    middle = g.vertex.inputs[0].vertex.inputs[0]
    root = middle.vertex.inputs[0]
    assert sink.states(middle) == ["planned", "cached"]
    assert sink.states(root) == ["planned", "done"], "its key was asked for"
    assert sink.states(g)[-1] == "done"


@pytest.mark.row("S100")
async def test_a_root_whose_key_takes_time_runs_twice():
    sink = Recorder()
    g = vertex("v0", "s0", "r0", before_maps=lambda: asyncio.sleep(0))
    await World().build(g, progress=sink)
    assert sink.states(g) == ["planned", "running", "done", "running", "done"]


@pytest.mark.row("A41")
async def test_what_was_running_when_the_job_ended_was_canceled():
    sink, begun = Recorder(), asyncio.Event()

    async def hang():
        begun.set()
        await asyncio.Event().wait()

    g = vertex("v0", "s0", "r0", before=hang)
    task = asyncio.ensure_future(World().build(g, progress=sink))
    await begun.wait()
    task.cancel()
    await asyncio.wait([task])
    assert sink.states(g) == ["planned", "done", "running", "context canceled"]


@pytest.mark.row("S37")
async def test_two_jobs_see_the_progress_of_the_vertex_they_share():
    w, one, two = World(), Recorder(), Recorder()

    async def log(step):
        await both.wait()
        step.progress.log(1, b"hello")

    both = asyncio.Event()
    g = vertex("v0", "s0", "r0", during=log)
    jobs = asyncio.gather(w.build(g, progress=one), w.build(g, progress=two))
    await settled()
    both.set()
    await jobs
    assert one.states(g)[-2:] == two.states(g)[-2:] == ["running", "done"]
    assert one.logs == two.logs == [(g.vertex.digest, b"hello")]


async def test_a_job_that_leaves_early_sees_the_vertex_canceled_and_no_more():
    w, one, two, gate, begun = World(), Recorder(), Recorder(), asyncio.Event(), asyncio.Event()

    async def wait():
        begun.set()
        await gate.wait()

    g = vertex("v0", "s0", "r0", before=wait)
    early = asyncio.ensure_future(w.build(g, progress=one))
    late = asyncio.ensure_future(w.build(g, progress=two))
    await begun.wait()
    early.cancel()
    await asyncio.wait([early])
    gate.set()
    assert await late == "r0"
    assert one.states(g)[-1] == "context canceled"
    assert two.states(g)[-1] == "done"


@pytest.mark.row("S36")
async def test_an_equal_vertex_waits_for_the_running_one_and_sees_its_output():
    w, one, two, gate, begun = World(), Recorder(), Recorder(), asyncio.Event(), asyncio.Event()
    seen = []

    async def log(step):
        begun.set()
        await gate.wait()
        step.progress.log(1, b"hello")
        seen.extend(step.sessions())

    a = vertex("a", "s", "r", during=log)
    b = vertex("b", "s", "never")
    first = asyncio.ensure_future(w.build(a, progress=one, session="s1"))
    await begun.wait()
    second = asyncio.ensure_future(w.build(b, progress=two, session="s2"))
    await settled()
    gate.set()
    assert (await first, await second) == ("r", "r")
    assert counts(b) == (1, 0)
    assert seen == ["s1", "s2"]
    assert two.logs == [(a.vertex.digest, b"hello")]
    assert two.states(b)[-1] == "cached"


@pytest.mark.row("S36", "S41")
async def test_an_equal_vertex_keeps_the_execution_alive_when_the_first_job_leaves():
    w, gate, begun = World(), asyncio.Event(), asyncio.Event()

    async def wait():
        begun.set()
        await gate.wait()

    a, b = vertex("a", "s", "r", before=wait), vertex("b", "s", "never")
    first = asyncio.ensure_future(w.build(a))
    await begun.wait()
    second = asyncio.ensure_future(w.build(b))
    await settled()
    first.cancel()
    await settled()
    gate.set()
    assert await second == "r"
    assert counts(a) == (1, 1)
    assert first.cancelled()


@pytest.mark.row("S35")
async def test_who_ignores_the_cache_does_not_join_a_running_one_but_is_joined():
    w, gate = World(), asyncio.Event()
    begun = asyncio.Barrier(3)

    async def wait():
        await begun.wait()
        await gate.wait()

    plain = vertex("plain", "s", "plain", before=wait)
    forced = vertex("forced", "s", "forced", before=wait, ignore_cache=True)
    builds = [asyncio.ensure_future(w.build(one)) for one in (plain, forced)]
    await begun.wait()
    gate.set()
    assert [await one for one in builds] == ["plain", "forced"]

    gate.clear()
    running = asyncio.Event()

    async def hold():
        running.set()
        await gate.wait()

    forced = vertex("forced", "t", "forced", before=hold, ignore_cache=True)
    first = asyncio.ensure_future(w.build(forced))
    await running.wait()
    second = asyncio.ensure_future(w.build(vertex("plain", "t", "plain")))
    await settled()
    gate.set()
    assert (await first, await second) == ("forced", "forced")


async def test_results_are_held_by_every_job_that_depends_on_them():
    w, one, two = World(), [], []
    g = vertex("v0", "s0", "r0", vertex("v1", "s1", "r1"))
    async with w.job(hold=one.append) as first, w.job(hold=two.append) as second:
        await first.build(g)
        assert sorted(one) == ["r0", "r1"]
        assert two == []
        await second.build(g)
        assert sorted(two) == ["r0", "r1"]
    three = []
    await w.build(g, hold=three.append)
    assert three == ["r0"], "only what was loaded"


async def test_sessions_of_all_waiting_jobs_may_be_used_oldest_first():
    w, gate, begun, seen = World(), asyncio.Event(), asyncio.Event(), []

    async def look(step):
        begun.set()
        await gate.wait()
        seen.append(step.sessions())

    g = vertex("v0", "s0", "r0", during=look)
    first = asyncio.ensure_future(w.build(g, session="one"))
    await begun.wait()
    second = asyncio.ensure_future(w.build(g, session="two"))
    await settled()
    gate.set()
    await asyncio.gather(first, second)
    assert seen == [("one", "two")]


async def test_the_key_is_known_without_loading_or_executing():
    w = World()
    g = vertex("v0", "s0", "r0", vertex("v1", "s1", "r1"))
    async with w.job() as job:
        assert await job.key(g) is None
        assert counts(g) == (2, 0)
    await w.build(g)
    async with w.job() as job:
        key = await job.key(g)
    assert [record.name for record in w.keys.records(key)] == ["r0"]
    assert w.results.loads == []


async def test_an_op_builds_other_vertices_with_the_sessions_of_its_jobs():
    w, seen = World(), []

    async def look(step):
        seen.append(step.sessions())

    inner = vertex("inner", "i", "inside", during=look)

    async def build(step):
        assert await step.build(inner) == "inside"

    assert await w.build(vertex("outer", "o", "out", during=build), session="s") == "out"
    assert seen == [("s",)]
    assert await w.build(vertex("inner", "i", "no")) == "inside"


async def test_an_op_that_asks_for_itself_is_refused():
    w = World()

    async def build(step):
        await step.build(vertex("top", "x", "y", outer))

    outer = vertex("outer", "o", "out", during=build)
    with pytest.raises(InvalidInput, match="outer: its own op asks for it"):
        await w.build(outer)


async def test_an_op_whose_inner_build_has_its_own_key_does_not_wait_for_itself():
    w = World()

    async def build(step):
        await step.build(vertex("other", "o", "inside"))

    assert await w.build(vertex("outer", "o", "out", during=build)) == "out"


async def test_cancelling_stops_what_an_op_builds():
    w, begun, log = World(), asyncio.Event(), []

    async def hang():
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            log.append("stopped")

    async def build(step):
        await step.build(vertex("inner", "i", "x", before=hang))

    task = asyncio.ensure_future(w.build(vertex("outer", "o", "out", during=build)))
    await begun.wait()
    task.cancel()
    await asyncio.wait([task])
    assert log == ["stopped"]


@pytest.mark.row("A69")
async def test_errors_say_in_which_phase_they_happened():
    w = World()
    root, sink = vertex("v0", "s0", "r0", maps_error=Internal("no such image")), Recorder()
    with pytest.raises(BuildkitError, match=r"^failed to load cache key: no such image$"):
        await w.build(root, progress=sink)
    assert sink.states(root)[-1] == "no such image", "the vertex itself need not be told its phase"
    g = vertex("v0", "s0", "r0", vertex("v1", "s1", "r1"), content=[0], content_error=Internal("no file"))
    with pytest.raises(BuildkitError, match=r"^failed to compute cache key: no file$") as caught:
        await w.build(g, progress=sink)
    assert sink.states(g)[-1] == "no file"
    assert caught.value.details[0].digest == g.vertex.digest


async def test_an_error_that_is_not_of_our_tree_is_our_fault():
    with pytest.raises(Internal, match="ZeroDivisionError: oops"):
        await World().build(vertex("v0", "s0", "r0", error=ZeroDivisionError("oops")))


async def test_what_one_build_adds_to_a_shared_error_is_not_seen_by_the_others():
    w = World()
    g = vertex("v0", "s0", "r0", error=ExitError("boom", code=3))
    errors = await asyncio.gather(w.build(g), w.build(g), return_exceptions=True)
    errors[0].prefixed("mine: ").detailed(SourceDetail("Dockerfile", b"secret", "", ()))
    assert [(str(one), one.code, len(one.details)) for one in errors] == [("mine: boom", 3, 2), ("boom", 3, 1)]
    assert counts(g) == (1, 1)


@pytest.mark.row("S42")
async def test_a_new_job_tries_again_while_the_old_one_keeps_its_error():
    w = World()
    g = vertex("v0", "s0", "r0", error=Internal("boom"))
    async with w.job() as one:
        with pytest.raises(Internal, match="boom"):
            await one.build(g)
        with pytest.raises(Internal, match="boom"):
            await one.build(g)
        assert counts(g) == (1, 1)
        op_of(g).error = None
        assert await w.build(g) == "r0"
    assert counts(g) == (1, 2)


@pytest.mark.row("S26", "S41")
async def test_a_cancelled_cache_map_is_asked_again():
    w, begun, gate = World(), asyncio.Event(), asyncio.Event()

    async def wait():
        begun.set()
        await gate.wait()

    g = vertex("v0", ("s0", "s1"), "r0", before_maps=wait)
    async with w.job() as keeper:
        await keeper.build(vertex("x", "x", "x"))
        task = asyncio.ensure_future(keeper.build(g))
        await begun.wait()
        task.cancel()
        await asyncio.wait([task])
        gate.set()
        assert await keeper.build(g) == "r0"
        assert counts(g) == (3, 1)


async def test_asked_again_while_the_cancelled_run_is_stopping_it_runs_after():
    w, begun, running = World(), asyncio.Event(), []

    async def hang():
        running.append("in")
        begun.set()
        try:
            if len(running) == 1:
                await asyncio.Event().wait()
        finally:
            await settled()
            running.append("out")

    g = vertex("v0", "s0", "r0", before=hang)
    async with w.job() as job:
        task = asyncio.ensure_future(job.build(g))
        await begun.wait()
        task.cancel()
        await asyncio.wait([task])
        assert await job.build(g) == "r0"
    assert running == ["in", "out", "in", "out"]


async def test_slow_loads_are_shared_and_cancelled():
    w = World(results=FakeResults(slow=True))
    g = vertex("v0", "s0", "r0")
    await w.build(g)
    assert await asyncio.gather(w.build(g), w.build(g)) == ["r0", "r0"]
    assert w.results.loads == ["r0"]


async def test_job_ids_are_unique_while_they_last():
    w = World()
    async with w.solver.job("a"):
        with pytest.raises(BuildkitError, match="job ID a exists"):
            async with w.solver.job("a"):
                pass
    async with w.solver.job("a"):
        pass


async def test_nothing_stays_active_when_the_jobs_are_over():
    w = World()

    async def build(step):
        await step.build(vertex("inner", "i", "x"))

    await w.build(vertex("v0", "s0", "r0", vertex("v1", "s1", "r1", during=build), ignore_cache=True))
    assert w.solver.idle


@pytest.mark.row("S46")
async def test_jobs_that_share_a_vertex_must_agree_on_the_compatibility_version():
    w, gate, begun = World(), asyncio.Event(), asyncio.Event()

    async def look(step):
        begun.set()
        await gate.wait()
        step.compatibility()

    g = vertex("v0", "s0", "r0", during=look)
    first = asyncio.ensure_future(w.build(g, compatibility=10))
    await begun.wait()
    second = asyncio.ensure_future(w.build(g, compatibility=20))
    await settled()
    gate.set()
    for one in (first, second):
        with pytest.raises(BuildkitError, match="conflicting compatibility versions in shared solve state: 10 != 20"):
            await one
    assert await w.build(g, compatibility=20) == "r0"


@pytest.mark.parametrize("forced", [False, True])
async def test_what_must_run_anyway_does_not_wait_for_another_input_to_be_resolved(forced):
    ran = asyncio.Event()

    async def run():
        ran.set()

    build = vertex("build", "b", "built", vertex("src", "s", "src"), before=run)
    image = vertex("image", "i", "image", before_maps=ran.wait)
    top = vertex("top", "t", "top", build, image, ignore_cache=forced)
    assert await asyncio.wait_for(World().build(top), 5) == "top"


async def test_what_runs_to_be_digested_goes_on_when_it_must_run_anyway():
    w, sink, begun, known, digested = World(), Recorder(), asyncio.Event(), asyncio.Event(), asyncio.Event()
    await w.build(vertex("lower", "l1", "pruned"))
    w.results.gone.add("pruned")

    async def second_map():
        if lower.vertex.resolve().mapped == 2:
            await known.wait()

    async def run():
        begun.set()
        await digested.wait()

    lower = vertex("lower", ("l1", "l2"), "lower", before_maps=second_map)
    text = vertex("text", "t", "text", before=run)
    copied = vertex("copy", "c", "copied", lower, text, content=[1])
    built = asyncio.ensure_future(w.build(vertex("top", "top", "top", copied), progress=sink))
    await begun.wait()
    await settled()
    known.set()  # nothing leads on from the lower one: the copy must run, whatever the text is
    await settled()
    digested.set()
    assert await built == "top"
    assert sink.states(text) == ["planned", "done", "running", "done"]


async def test_a_slow_load_is_shown_running_and_its_failure_ends_that():
    w, sink = World(results=FakeResults(slow=True)), Recorder()
    await w.build(vertex("v0", "s0", "r0"))
    w.results.unloadable.add("r0")
    g = vertex("v0", "s0", "again")
    assert await w.build(g, progress=sink) == "again"
    assert sink.states(g) == ["planned", "done", "running", "done", "running", "done"]


@pytest.mark.row("S41")
async def test_a_load_stops_when_the_last_asker_leaves():
    w, sink, begun = World(), Recorder(), asyncio.Event()
    g = vertex("v0", "s0", "r0", vertex("v1", "s1", "r1"))
    await w.build(g)

    async def hang(name):
        begun.set()
        await asyncio.Event().wait()

    w.results.load = hang
    async with w.job(progress=sink) as job:
        task = asyncio.ensure_future(job.build(g))
        await begun.wait()
        task.cancel()
        await asyncio.wait([task])
        await settled()
    assert sink.states(g)[-2:] == ["running", "context canceled"]
    assert w.solver.idle
