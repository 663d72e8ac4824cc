"""What a step leaves behind, and what can be told from it later."""

import json

import pytest
from tests.kit.graphs import World, vertex

from buildkit.core.db import Database
from buildkit.core.errors import Internal
from buildkit.solver.job import Solver
from buildkit.solver.record import StepRecord, StepRecords


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


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("[2/3] RUN make", ["[2/3] RUN make", "[build 3/4] RUN make", "[2/3] RUN other"]),
        ("[9/9] RUN make", ["[build 3/4] RUN make", "[2/3] RUN make"]),
        ("[2/3] RUN new", ["[2/3] RUN other", "[2/3] RUN make"]),
        ("[2/5] make", ["[2/3] RUN other", "[2/3] RUN make"]),
        ("RUN make", ["[build 3/4] RUN make", "[2/3] RUN make"]),
        ("[7/8] RUN nothing", []),
    ],
)
async def test_records_of_what_may_be_the_same_step_are_near(name, found):
    steps = Noted().steps
    for number, earlier in enumerate(["[2/3] RUN make", "[2/3] RUN other", "[build 3/4] RUN make", "[1/3] FROM x"]):
        steps.save(StepRecord(f"sha256:{number}", earlier, "executed", events=(("completed", number),)), "mine")
    steps.save(StepRecord("sha256:9", name, "executed", events=(("completed", 1),)), "another's")
    near = steps.near(StepRecord("sha256:x", name, "executed"), "mine", 10)
    assert [one.name for one in near] == found


async def test_a_step_that_is_still_there_is_not_near_for_its_place():
    steps = Noted().steps
    steps.save(StepRecord("sha256:1", "[2/3] RUN make", "executed", events=(("completed", 1),)), "mine")
    new = StepRecord("sha256:x", "[2/3] RUN new", "executed")
    assert [one.name for one in steps.near(new, "mine", 10)] == ["[2/3] RUN make"]
    assert steps.near(new, "mine", 10, {"[3/3] RUN make": "RUN make", "[2/3] RUN new": "RUN new"}) == []
    assert steps.near(new, "mine", 1) == []


async def test_a_step_of_the_same_title_that_is_still_there_is_not_near():
    steps = Noted().steps
    for name in ("[linux/amd64 2/2] RUN make", "[2/2] RUN make"):
        steps.save(StepRecord("sha256:1", name, "executed", events=(("completed", 1),)), "mine")
    new = StepRecord("sha256:x", "[linux/arm64 2/2] RUN make", "executed")
    names = {"[linux/amd64 2/2] RUN make": "RUN make", "[linux/arm64 2/2] RUN make": "RUN make"}
    assert [one.name for one in steps.near(new, "mine", 10, names)] == ["[2/2] RUN make"]


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
