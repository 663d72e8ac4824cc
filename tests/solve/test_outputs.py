"""What happens to a result when it is there: everything is exported, then everything is finished."""

from __future__ import annotations

import asyncio
import json

import pytest
from tests.kit.stores import commit, store_at

from buildkit.core.progress import Stream
from buildkit.core.result import Result
from buildkit.core.values import dataclass
from buildkit.exporter.exporter import Exported
from buildkit.exporter.exporters import open_exporter
from buildkit.oci.registry import Registry
from buildkit.session.registry import Sessions
from buildkit.solve.outputs import Outputs
from buildkit.solve.request import SolveRequest
from buildkit.store.blobs import Compression
from buildkit.store.gc import PrunePolicy


@dataclass(eq=False)
class Told:
    """An exporter that does what a test says."""

    export_with: object
    finish_with: object = None
    name: str = "exporting"
    compression: Compression = Compression()

    async def export(self, result, exporting):
        await self.export_with(exporting)
        return Exported(finish=self.finish_with)


async def write(store, lease, *exporters, **files):
    outputs = Outputs(exporters, store, Sessions(), Registry())
    result = Result({"": await commit(store, lease, **files)})
    return await outputs.write(result, SolveRequest("b", provenance=True), lease, Stream())


@pytest.mark.row("E9")
async def test_nothing_is_finished_before_everything_is_exported_and_then_all_at_once(tmp_path):
    events, both = [], asyncio.Barrier(2)

    def exporter(name, *, waits):
        async def export(exporting):
            for _ in range(waits):
                await asyncio.sleep(0)
            events.append(f"{name} exported")

        async def finish():
            await both.wait()
            events.append(f"{name} finished")

        return Told(export, finish)

    async with store_at(tmp_path) as store, store.lease() as lease:
        await write(store, lease, exporter("slow", waits=20), exporter("quick", waits=0))
    assert events[:2] == ["quick exported", "slow exported"]
    assert sorted(events[2:]) == ["quick finished", "slow finished"]


@pytest.mark.row("E67")
async def test_what_was_exported_stays_until_it_is_written_down(tmp_path):
    async with store_at(tmp_path) as store:

        async def nothing(exporting):
            pass

        async def prune():
            [one async for one in store.prune(PrunePolicy(all=True))]

        async with store.lease() as lease:
            _, images = await write(store, lease, open_exporter("image", {}), Told(nothing, prune), a="1")
            (image,) = images.values()
            manifest = json.loads(image.documents[image.root.digest])
            made = [image.root.digest, *(one["digest"] for one in (manifest["config"], *manifest["layers"]))]
            assert all(map(store.content.has, made))
        await prune()
        assert not any(map(store.content.has, made))
