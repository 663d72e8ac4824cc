"""What provenance says of the use of the machine and of steps."""

from __future__ import annotations

import json

import pytest

from buildkit.llb import mkfile, scratch
from buildkit.solve.provenance.capture import capture
from buildkit.solve.provenance.predicate import Run, predicate
from buildkit.solve.provenance.usage import Machine, sample_machine, usage_of_steps
from buildkit.solve.provenance.wanted import parse_wanted
from buildkit.solver.record import StepRecord

STAT = "cpu  100 200 300 400 500 600 700 800 900 1000\ncpu0 1 1\nctxt 11\nprocesses 12\nprocs_running 13\n"
MEMINFO = "MemTotal:       1000 kB\nMemFree:         400 kB\nSwapTotal:         0 kB\nHugePages_Total:   0\n"
PRESSURE = "some avg10=1.50 avg60=0.25 avg300=0.00 total=77\n"


@pytest.fixture
def proc(tmp_path):
    (tmp_path / "stat").write_text(STAT)
    (tmp_path / "meminfo").write_text(MEMINFO)
    (tmp_path / "pressure").mkdir()
    (tmp_path / "pressure/cpu").write_text(PRESSURE)
    return tmp_path


@pytest.mark.row("E112")
def test_the_machine_is_told_as_the_kernel_counts_it(proc):
    found = sample_machine(proc)
    assert found.pop("timestamp").endswith("Z")
    names = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal", "guest", "guestNice")
    assert found == {
        "cpuStat": {name: float(number) for number, name in enumerate(names, 1)},
        "procStat": {"contextSwitches": 11, "processCreated": 12, "processesRunning": 13},
        "memoryStat": {"total": 1000, "free": 400, "swap": 0},
        "cpuPressure": {"some": {"avg10": 1.5, "avg60": 0.25, "avg300": 0.0, "total": 77}, "full": None},
    }


def test_a_kernel_that_counts_nothing_is_not_told(tmp_path):
    assert list(sample_machine(tmp_path)) == ["timestamp"]


@pytest.mark.row("E112")
async def test_long_builds_are_looked_at_less_often(proc):
    machine = Machine(proc)
    for _ in range(100):
        machine._timer.cancel()
        machine._look()
    machine.stop()
    found = [one["timestamp"] for one in machine.samples()]
    assert 10 <= len(found) <= 21 and found == sorted(found)


STATE = scratch().file(mkfile("/x", b""))


@pytest.mark.row("E112")
def test_what_steps_used_is_told_with_them():
    definition = STATE.marshal()
    (digest,) = [digest for digest, _ in definition_ops(definition)]
    sample = {"time": 1_700_000_000_000_000_005, "processor_time": 0.25, "memory_peak": 7, "read": 1, "written": 2}
    sample |= {"processes": 3, "received": 4, "sent": 5, "memory": 6}
    records = [
        StepRecord(digest, "x", "executed", facts={"usage": {"wall": 1.0, "samples": [sample]}}),
        StepRecord("sha256:2", "short", "executed", facts={"usage": {"wall": 0.01}}),
        StepRecord("sha256:3", "file", "executed"),
    ]
    usage = usage_of_steps(records)
    assert list(usage) == [digest]
    run = Run(id="i", started=0, finished=0, steps=usage, machine=[{"timestamp": "now"}])
    made = predicate(capture(definition, records, "", {}), run)
    [step] = [
        one for one in made["buildDefinition"]["internalParameters"]["buildConfig"]["llbDefinition"] if one["op"]["Op"]
    ]
    assert step["resourceUsage"] == {
        "samples": [
            {
                "timestamp": "2023-11-14T22:13:20.000000005Z",
                "cpuStat": {"usageNanos": 250_000_000},
                "memoryStat": {"peak": 7},
                "ioStat": {"readBytes": 1, "writeBytes": 2},
                "pidsStat": {"current": 3},
                "netStat": {"rxBytes": 4, "txBytes": 5},
            }
        ]
    }
    assert made["runDetails"]["metadata"]["buildkit_metadata"]["sysUsage"] == [{"timestamp": "now"}]
    assert "resourceUsage" not in json.dumps(predicate(capture(definition, records, "", {}), run, mode="min"))


def definition_ops(definition):
    from buildkit.solve.provenance.capture import parse_ops

    return [(digest, op) for digest, op in parse_ops(definition) if op.WhichOneof("op")]


@pytest.mark.row("E112")
def test_use_is_told_to_those_who_ask():
    assert parse_wanted({"attest:provenance": "capture-usage=true"}).usage
    assert not parse_wanted({"attest:provenance": "mode=max"}).usage
