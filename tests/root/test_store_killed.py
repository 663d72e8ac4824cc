from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.kit import store_churn
from tests.kit.stores import store_at

import buildkit
from buildkit.fs.mount import mounts_below
from buildkit.store.blobs import Compression
from buildkit.store.records import RecordKind

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


async def check(path: Path, snapshotter: str) -> int:
    """Everything that the store says it has is there and whole; returns how many records there are."""
    async with store_at(path, snapshotter) as store:
        records = {record.id: record for record in store._parts.records.all()}
        assert mounts_below(str(path)) == []
        assert not list((path / "store" / "mounts").glob("*"))
        named = {record.snapshot for record in records.values()}
        assert {row.name for row in store._parts.snapshotter.walk()} <= named
        assert all(store.content.verify(blob.digest) for blob in store.content.walk())
        assert [p for p in (store.content.root / "ingest").iterdir() if not p.name.startswith("partial-")] == []
        async with store.lease() as lease:
            for record in records.values():
                assert all(not parent or parent in records for parent in record.parents)
                ref = store.find_ref(record.id, lease)
                if record.kind is RecordKind.MUTABLE or ref is None:
                    continue
                async with store.mounted(ref, lease) as at:
                    for file in at.rglob("*"):
                        assert not file.is_file() or file.stat().st_size in (1000, 2000)
                await store.layers(ref, Compression("uncompressed"), lease)
        await store.sweep()
    return len(records)


@pytest.mark.parametrize("snapshotter", ["overlayfs", "native"])
async def test_a_store_that_was_killed_at_any_moment_opens_and_is_consistent(tmp_path, snapshotter):
    found = []
    for seed in range(20):
        kill_in_the_middle(tmp_path, snapshotter, seed)
        found.append(await check(tmp_path, snapshotter))
    assert max(found) > 5
