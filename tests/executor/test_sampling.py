from __future__ import annotations

import asyncio

import pytest

from buildkit.executor import sampling
from buildkit.executor.network import Lent
from buildkit.executor.sampling import Sampler, read_cgroup


def write(root, files):
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.fixture
def unified(tmp_path):
    files = {
        "cgroup.controllers": "cpu io memory pids\n",
        "buildkit/a/cpu.stat": "usage_usec 1500000\nuser_usec 1000000\n",
        "buildkit/a/memory.current": "100\n",
        "buildkit/a/memory.peak": "200\n",
        "buildkit/a/pids.current": "3\n",
        "buildkit/a/io.stat": "8:0 rbytes=10 wbytes=20 rios=1\n8:16 rbytes=1 wbytes=2\n",
    }
    return write(tmp_path, files)


@pytest.fixture
def separate(tmp_path):
    files = {
        "cpuacct/buildkit/a/cpuacct.usage": "1500000000\n",
        "memory/buildkit/a/memory.usage_in_bytes": "100\n",
        "memory/buildkit/a/memory.max_usage_in_bytes": "200\n",
        "pids/buildkit/a/pids.current": "3\n",
        "blkio/buildkit/a/blkio.throttle.io_service_bytes": "8:0 Read 10\n8:0 Write 20\n8:16 Read 1\n8:16 Write 2\n"
        "8:0 Total 33\nTotal 33\n",
    }
    return write(tmp_path, files)


@pytest.mark.row("X74")
@pytest.mark.parametrize("hierarchies", ["unified", "separate"])
def test_either_kind_of_control_groups_tells_the_same(hierarchies, request):
    root = request.getfixturevalue(hierarchies)
    expected = {"processor_time": 1.5, "memory": 100, "memory_peak": 200, "processes": 3, "read": 11, "written": 22}
    assert read_cgroup(root, "/buildkit/a") == expected
    assert read_cgroup(root, "/buildkit/b") == {}


@pytest.mark.row("X74")
async def test_a_long_run_keeps_ten_samples_at_most_from_its_whole_length(unified, monkeypatch):
    monkeypatch.setattr(sampling, "_FIRST_PAUSE", 0.0)
    monkeypatch.setattr(sampling, "_LONGEST_PAUSE", 0.0)
    sampler = Sampler("/buildkit/a", Lent(None), hierarchies=unified)
    sampler.start()
    for _ in range(100):
        await asyncio.sleep(0)
    samples = sampler.stop()
    assert 5 <= len(samples) <= 10
    assert [one.time for one in samples] == sorted(one.time for one in samples)
    assert samples[0].facts()["memory_peak"] == 200
    assert "received" not in samples[0].facts()
