"""What a step leaves behind, and what can be told from it later."""

import json

import pytest
from tests.kit.graphs import World, vertex

from buildkit.core.db import Database
from buildkit.core.errors import Internal
from buildkit.solver.job import Solver
from buildkit.solver.record import Difference, StepRecords, differences


class Noted(World):
    """A world that keeps step records."""

    def __init__(self):
        super().__init__()
        self.steps = StepRecords(Database(":memory:"))
        self.solver = Solver(self.keys, self.results, self.steps)

    async def records(self, edge):
        async with self.job() as job:
            try:
                await job.build(edge)
            except Internal:
                pass
        return {record.name: record for record in job.records}


def noting(**facts):
    async def note(step):
        step.note(**facts)

    return note


async def test_an_executed_step_says_why_it_missed_and_what_its_key_was_made_of():
    g = vertex("copy", "c", "copied", vertex("base", "b", "base"), vertex("ctx", "x", "files"), content=[1])
    found = (await Noted().records(g))["copy"]
    assert found.outcome == "executed"
    assert found.reason == "input 0 (base): its keys did not lead here before"
    assert [one.name for one in found.inputs] == ["base", "ctx"]
    assert found.inputs[0].keys
    assert found.inputs[1].content
    assert [name for name, _ in found.events] == ["execute", "completed"]


async def test_hits_say_under_which_key_and_what_they_spared():
    w = Noted()

    def g():
        return vertex("v0", "s0", "r0", vertex("v1", "s1", "r1"))

    await w.build(g())
    found = await w.records(g())
    assert (found["v0"].outcome, found["v1"].outcome) == ("loaded", "skipped")
    assert found["v0"].reason.startswith("recorded under ")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"ignore_cache": True}, "the cache is ignored"),
        ({"seed": "other"}, "input 0 (v1): its keys did not lead here before"),
    ],
)
async def test_reasons_of_a_miss(change, reason):
    w = Noted()
    seed = change.pop("seed", "s0")
    await w.build(vertex("v0", "s0", "r0", vertex("v1", "s1", "r1")))
    found = await w.records(vertex("v0", seed, "r0", vertex("v1", "s1", "r1"), **change))
    assert found["v0"].reason == reason


async def test_a_vanished_record_is_given_as_the_reason():
    w = Noted()
    await w.build(vertex("v0", "s0", "r0"))
    w.results.unloadable.add("r0")
    found = await w.records(vertex("v0", "s0", "again"))
    assert found["v0"].reason == "record could not be loaded: result r0: not found"


async def test_a_failed_step_keeps_its_error():
    found = (await Noted().records(vertex("v0", "s0", "r0", error=Internal("boom"))))["v0"]
    assert (found.outcome, found.error) == ("failed", "boom")


async def test_a_miss_is_explained_by_the_difference_to_the_nearest_earlier_record():
    w = Noted()

    def g(name, seed, files, **facts):
        return vertex(name, seed, "r", vertex("ctx", "x" + files, files), content=[0], during=noting(op=facts))

    await w.build(g("RUN make", "s0", "f1", args=["make"], env={"A": "1"}))
    await w.build(g("RUN other", "s9", "f1", args=["other"]))
    new = (await w.records(g("RUN make", "s1", "f2", args=["make"], env={"A": "2"})))["RUN make"]
    old = w.steps.find_nearest(new)
    assert old is not None
    found = {one.path: (one.old, one.new) for one in differences(old, new)}
    assert found["op.env.A"] == ("1", "2")
    assert found["op"] == (old.ops, new.ops)
    assert "inputs[0].content" in found
    assert "op.args" not in found


async def test_the_same_definition_is_nearer_than_the_same_name():
    w = Noted()
    await w.build(vertex("a", "s0", "r0", during=noting(n=1)))
    await w.build(vertex("b", "s0", "r1", during=noting(n=2), ignore_cache=True))
    new = (await w.records(vertex("a", "s0", "r2", during=noting(n=3), ignore_cache=True)))["a"]
    assert differences(w.steps.find_nearest(new), new) == [Difference("n", 1, 3)]


async def test_old_records_are_dropped(monkeypatch):
    monkeypatch.setattr("buildkit.solver.record._KEPT", 50)
    w = Noted()
    for i in range(200):
        await w.build(vertex("v", f"s{i}", "r"))
    ((count,),) = w.steps._db.execute("SELECT count(*) FROM step_record")
    assert count <= 150


async def test_a_record_is_json_and_has_nothing_that_was_not_noted():
    w = Noted()
    await w.build(vertex("v0", "s0", "the-result", during=noting(secret_ids=["npm"])))
    ((body,),) = w.steps._db.execute("SELECT body FROM step_record")
    record = json.loads(body)
    assert record["facts"] == {"secret_ids": ["npm"]}
    assert record["results"] == [w.results.name("the-result")]
