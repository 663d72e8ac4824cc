from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.kit import store_churn
from tests.kit.consistency import verify_store
from tests.kit.stores import store_at

import buildkit
from buildkit.fs.mount import mounts_below

pytestmark = [pytest.mark.root, pytest.mark.slow]


def kill_in_the_middle(path: Path, snapshotter: str, seed: int) -> None:
    roots = [str(Path(buildkit.__file__).parents[1]), str(Path(__file__).parents[2])]
    process = subprocess.Popen(
        [sys.executable, store_churn.__file__, str(path), snapshotter, str(seed)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": ":".join(roots)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    try:
        process.wait(random.Random(seed).uniform(0.001, 0.3))
        raise AssertionError(f"the churning process ended by itself with {process.returncode}")
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()


def look(tree: Path) -> None:
    assert all(not file.is_file() or file.stat().st_size in (1000, 2000) for file in tree.rglob("*"))


async def check(path: Path, snapshotter: str) -> int:
    """Everything that the store says it has is there and whole; returns how many records there are."""
    async with store_at(path, snapshotter) as store:
        assert mounts_below(str(path)) == []
        assert not list((path / "store" / "mounts").glob("*"))
        return await verify_store(store, look)


@pytest.mark.parametrize("snapshotter", ["overlayfs", "native"])
async def test_a_store_that_was_killed_at_any_moment_opens_and_is_consistent(tmp_path, snapshotter):
    found = []
    for seed in range(20):
        kill_in_the_middle(tmp_path, snapshotter, seed)
        found.append(await check(tmp_path, snapshotter))
    assert max(found) > 5
