"""A process that changes a store without end, to be killed: ``python store_churn.py DIRECTORY SNAPSHOTTER SEED``."""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path

from tests.kit.stores import FakeImage, commit, store_at, tar_of

from buildkit.store.blobs import Compression
from buildkit.store.caches import Sharing
from buildkit.store.gc import PrunePolicy
from buildkit.store.refs import Ref


async def churn(path: Path, snapshotter: str, seed: int) -> None:
    chance = random.Random(seed)
    async with store_at(path, snapshotter) as store:
        print("ready", flush=True)

        def some_ref() -> Ref | None:
            refs = [record.id for record in store._parts.records.all() if record.kind != "mutable"]
            return store.find_ref(chance.choice(refs)) if refs else None

        async def grow() -> None:
            async with store.lease() as lease:
                name = f"f{chance.randrange(10)}"
                ref = await commit(store, lease, some_ref(), **{name: name * 1000, f"d__{name}": name * 1000})
                await store.layers(ref, Compression(chance.choice(["gzip", "uncompressed"])), lease)

        async def abandon() -> None:
            async with store.lease() as lease:
                async with store.draft(some_ref(), lease) as draft, draft.mounted() as at:
                    (at / "unfinished").write_text("x" * 1000)

        async def pull() -> None:
            names = [f"{place}{chance.randrange(3)}" for place in ("low", "high")]
            image = FakeImage(store, [tar_of(**{name: "i" * 1000}) for name in names])
            async with store.lease() as lease:
                await store.mounts(image.load(lease), lease)

        async def combine() -> None:
            async with store.lease() as lease:
                merged = store.merge([some_ref(), some_ref()], lease)
                await store.mounts(merged, lease)
                await store.mounts(store.diff(some_ref(), merged, lease), lease)

        async def cache() -> None:
            async with store.lease() as lease:
                async with store.cache_mount(f"c{chance.randrange(2)}", Sharing.SHARED, some_ref(), "c", lease) as at:
                    (at / "cached").write_text("c" * 1000)

        async def prune() -> None:
            victims = f"id~=[{chance.choice('0123456789')}]$"
            policy = PrunePolicy(filters=(victims,), max_used_space=chance.choice([0, 100_000]))
            async for _ in store.prune(policy):
                pass

        deeds = [grow, grow, abandon, pull, combine, cache, prune]
        while True:
            await asyncio.gather(*(chance.choice(deeds)() for _ in range(3)))


if __name__ == "__main__":
    asyncio.run(churn(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
