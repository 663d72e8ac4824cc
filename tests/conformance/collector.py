"""Usage, prune, sweep and cache mounts, whatever the snapshotter. A suite gives ``store``."""

from __future__ import annotations

import asyncio
import time

import pytest
from tests.kit.stores import FakeImage, commit, files_of, tar_of

from buildkit.store.blobs import Compression
from buildkit.store.caches import Sharing
from buildkit.store.gc import PrunePolicy

EVERYTHING = PrunePolicy(all=True)


async def prune(store, *policies) -> list[str]:
    """Descriptions of what went."""
    return [removed.description async for removed in store.prune(*(policies or (EVERYTHING,)))]


async def described(store, *filters) -> list[str]:
    return [usage.description for usage in await store.usage(filters)]


def snapshots(store) -> list[str]:
    return [row.name for row in store._parts.snapshotter.walk()]


def blobs(store) -> list[str]:
    return [blob.digest for blob in store.content.walk()]


class CollectorConformance:
    # usage

    @pytest.mark.row("S69")
    async def test_usage_tells_what_a_record_is(self, store):
        async with store.lease() as lease:
            base = await commit(store, lease, a="1" * 5000)
            async with store.draft(
                base, lease, description="local source for context", record_type="source.local"
            ) as d:
                top = await d.commit()
        one, two = await store.usage()
        assert (one.id, one.description, one.record_type, one.parents) == (base.id, "a", "regular", ())
        assert (two.id, two.description, two.record_type) == (top.id, "local source for context", "source.local")
        assert two.parents == (base.id,)
        assert one.size >= 5000 and not one.mutable and not one.in_use and one.usage_count == 1 and one.last_used
        assert await described(store, "type==source.local") == ["local source for context"]
        assert await described(store, "immutable,id==" + base.id, "parents~=" + base.id) == [
            "a",
            "local source for context",
        ]
        assert await described(store, "mutable") == []

    @pytest.mark.row("S66")
    async def test_merges_and_differences_are_described_by_what_they_are_made_of(self, store):
        async with store.lease() as lease:
            a, b = [await commit(store, lease, **{name: "1"}) for name in "ab"]
            store.merge([a, b], lease)
            store.diff(a, b, lease)
            store.diff(a, None, lease)
        assert (await described(store))[2:] == [
            f"merge {a.id};{b.id}",
            f'diff "{a.id}" -> "{b.id}"',
            f'diff "{a.id}" -> ""',
        ]

    @pytest.mark.row("S68")
    async def test_what_a_lease_holds_is_in_use_with_all_it_is_made_from(self, store):
        async with store.lease() as lease:
            base = await commit(store, lease, a="1")
            await commit(store, lease, base, b="2")
        async with store.lease() as lease:
            lease.hold(base)
            assert [usage.in_use for usage in await store.usage()] == [True, False]
        async with store.lease() as lease:
            store.find_ref((await store.usage())[1].id, lease)
            assert [usage.in_use for usage in await store.usage()] == [True, True]

    async def test_usage_counts_blobs_that_are_here(self, store):
        image = FakeImage(store, [tar_of(a="1" * 100_000)])
        async with store.lease() as lease:
            ref = image.load(lease)
            assert (await store.usage())[0].size == 0
            await store.fetch(image.layers[0].descriptor, lease)
            assert (await store.usage())[0].size == image.layers[0].descriptor.size
            await store.mounts(ref, lease)
            assert (await store.usage())[0].size > 100_000

    # prune

    @pytest.mark.row("S80", "S85", "S86")
    async def test_prune_removes_records_leaf_first_with_snapshots_and_blobs(self, store):
        async with store.lease() as lease:
            base = await commit(store, lease, a="1")
            top = await commit(store, lease, base, b="2")
            await store.layers(top, Compression(), lease)
            assert await prune(store) == []
        assert await prune(store) == ["b", "a"]
        assert snapshots(store) == [] and blobs(store) == [] and await store.usage() == []

    @pytest.mark.row("S80")
    async def test_internal_records_and_frontends_go_only_when_all_is_asked(self, store):
        async with store.lease() as lease:
            for kind in ("internal", "frontend", "regular"):
                async with store.draft(None, lease, description=kind, record_type=kind) as draft:
                    await draft.commit()
        assert await prune(store, PrunePolicy()) == ["regular"]
        assert sorted(await prune(store)) == ["frontend", "internal"]

    @pytest.mark.row("S80")
    async def test_keep_duration_spares_what_was_used_lately_not_what_was_never_used(self, store):
        async with store.lease() as lease:
            await commit(store, lease, old="1")
            await commit(store, lease, new="1")
            never = store.diff(await commit(store, lease, x="1"), await commit(store, lease, y="1"), lease)
        old = (await store.usage())[0]
        store._parts.records.update(old.id, last_used=time.time_ns() - 3600 * 10**9)
        store._parts.records.update(never.id, last_used=None, description="never")
        assert sorted(await prune(store, PrunePolicy(all=True, keep_duration=60))) == ["never", "old"]

    async def test_prune_filters(self, store):
        async with store.lease() as lease:
            await commit(store, lease, a="1")
            await commit(store, lease, b="1")
        assert await prune(store, PrunePolicy(filters=("description==b", "description==c"))) == ["b"]
        assert await described(store) == ["a"]

    @pytest.mark.row("S83")
    async def test_without_a_limit_prune_looks_at_everything_anew_after_ten_records(self, store):
        async with store.lease() as lease:
            base = await commit(store, lease, base="1")
            await commit(store, lease, base, top="1")
            for number in range(11):
                await commit(store, lease, **{f"n{number}": "1"})
        first, rest = ["top", *(f"n{number}" for number in range(9))], ["base", "n9", "n10"]
        assert await prune(store) == first + rest  # the base is free only once it is looked for again

    @pytest.mark.row("S84")
    async def test_a_limit_is_on_everything_whatever_the_filter_lets_go(self, store):
        async with store.lease() as lease:
            await commit(store, lease, big="x" * 1_000_000)
            for name in "ab":
                await commit(store, lease, **{name: "x" * 10_000})
        filters = ("description==a", "description==b")
        assert await prune(store, PrunePolicy(filters=filters, max_used_space=1_200_000)) == []
        assert sorted(await prune(store, PrunePolicy(filters=filters, max_used_space=500_000))) == ["a", "b"]

    @pytest.mark.row("S82")
    async def test_with_a_limit_prune_takes_the_least_worth_and_stops_below_it(self, store):
        async with store.lease() as lease:
            for name in "abcd":
                await commit(store, lease, **{name: "x" * 1_000_000})
        records = await store.usage()
        for index, usage in enumerate(records):
            store._parts.records.update(usage.id, last_used=1000 + index, usage_count=5 - index)
        total = sum(usage.size for usage in records)
        # ranks of time are 1..4 of 4 from a to d, of count 4..1: all equal, so the order of counts decides
        assert await prune(store, PrunePolicy(max_used_space=total - 1_500_000)) == ["d", "c"]
        assert await prune(store, PrunePolicy(max_used_space=total)) == []

    @pytest.mark.row("S85")
    async def test_with_a_limit_parents_follow_their_children(self, store):
        async with store.lease() as lease:
            base = await commit(store, lease, a="x" * 1_000_000)
            await commit(store, lease, base, b="x" * 1_000_000)
        assert await prune(store, PrunePolicy(all=True, max_used_space=1)) == ["b", "a"]

    async def test_several_policies_apply_in_turn(self, store):
        async with store.lease() as lease:
            for name in "ab":
                await commit(store, lease, **{name: "1"})
        policies = [PrunePolicy(filters=(f"description=={name}",)) for name in "ba"]
        assert await prune(store, *policies) == ["b", "a"]

    async def test_merges_keep_their_inputs_until_they_go(self, store):
        async with store.lease() as lease:
            refs = [await commit(store, lease, **{name: "1"}) for name in "ab"]
            merged = store.merge(refs, lease, description="merged")
            await files_of(store, merged, lease)
        async with store.lease() as lease:
            lease.hold(merged)
            assert await prune(store) == []
        assert (await prune(store))[0] == "merged"
        assert snapshots(store) == []

    async def test_a_snapshot_that_two_images_share_stays_until_both_go(self, store):
        one = FakeImage(store, [tar_of(a="1")])
        two = FakeImage(store, one.tars)
        two.blobs = dict.fromkeys(["sha256:" + "0" * 64], b"")
        async with store.lease() as lease:
            first = one.load(lease)
            await files_of(store, first, lease)
            two.load(lease)
        assert len(await store.usage()) == 2
        await prune(store, PrunePolicy(filters=(f"id=={first.id}",)))
        assert len(snapshots(store)) == 1
        await prune(store)
        assert snapshots(store) == []

    async def test_a_running_draft_keeps_its_parent_and_itself(self, store):
        async with store.lease() as lease:
            base = await commit(store, lease, a="1")
        async with store.lease() as lease:
            async with store.draft(base, lease) as draft:
                assert await prune(store) == []
                await draft.commit()
            assert len(await store.usage()) == 2

    # sweep

    @pytest.mark.row("X66")
    async def test_sweep_keeps_what_leases_and_records_name(self, store):
        async with store.lease() as lease:
            ref = await commit(store, lease, a="1")
            attached, held, _ = (store.content.put(text) for text in (b"attached", b"held", b"loose"))
            store.attach(ref, [attached])
            lease.hold_blob(held)
            await store.sweep()
            assert sorted(blobs(store)) == sorted([attached, held])
        await store.sweep()
        assert blobs(store) == [attached]

    # cache mounts

    @pytest.mark.row("L96", "L98", "X70")
    async def test_a_cache_mount_keeps_its_files_and_shows_in_usage(self, store):
        async with store.lease() as lease:
            for expected in ([], ["kept"]):
                async with store.cache_mount("id", Sharing.SHARED, None, "cached mount /c", lease) as path:
                    assert sorted(p.name for p in path.iterdir()) == expected
                    (path / "kept").write_text("x" * 5000)
                    assert path.stat().st_mode & 0o7777 == 0o755
                    (usage,) = await store.usage()
                    assert usage.in_use and usage.mutable and usage.size == 0
                    assert await prune(store) == []
        (usage,) = await store.usage(["type==exec.cachemount"])
        assert usage.description == "cached mount /c" and usage.size > 5000 and usage.usage_count == 2
        assert await prune(store, PrunePolicy()) == ["cached mount /c"]
        assert snapshots(store) == []

    @pytest.mark.row("L96", "L98")
    async def test_a_cache_mount_begins_as_its_base_and_another_base_is_another_cache(self, store):
        async with store.lease() as lease:
            one, two = await commit(store, lease, a="1"), await commit(store, lease, a="2")
            for base, seen in ((one, "1"), (two, "2"), (one, "changed")):
                async with store.cache_mount("id", Sharing.LOCKED, base, "c", lease) as path:
                    assert (path / "a").read_text() == seen
                    (path / "a").write_text("changed")
            assert await files_of(store, one, lease) == {"a": "1"}

    @pytest.mark.row("L97")
    async def test_shared_caches_are_used_together(self, store):
        async with store.lease() as lease:
            async with store.cache_mount("id", Sharing.SHARED, None, "c", lease) as one:
                async with store.cache_mount("id", Sharing.SHARED, None, "c", lease) as two:
                    (one / "f").write_text("x")
                    assert (two / "f").read_text() == "x"

    @pytest.mark.row("L97")
    async def test_private_caches_are_new_while_others_are_taken_and_reused_after(self, store):
        async with store.lease() as lease:
            async with store.cache_mount("id", Sharing.PRIVATE, None, "c", lease) as one:
                (one / "f").write_text("x")
                async with store.cache_mount("id", Sharing.PRIVATE, None, "c", lease) as two:
                    assert list(two.iterdir()) == []
                async with store.cache_mount("id", Sharing.SHARED, None, "c", lease) as three:
                    assert list(three.iterdir()) == []
            async with store.cache_mount("id", Sharing.PRIVATE, None, "c", lease) as again:
                assert (again / "f").read_text() == "x"
        assert len(await store.usage()) == 2

    @pytest.mark.row("L97")
    async def test_a_locked_cache_waits_for_its_turn(self, store):
        order: list[str] = []
        entered = asyncio.Event()

        async def second() -> None:
            async with store.cache_mount("id", Sharing.LOCKED, None, "c", lease) as path:
                order.append("second")
                assert (path / "f").exists()

        async with store.lease() as lease:
            async with store.cache_mount("id", Sharing.LOCKED, None, "c", lease) as path:
                waiting = asyncio.create_task(second())
                await asyncio.sleep(0)
                (path / "f").touch()
                order.append("first")
                entered.set()
            await waiting
        assert order == ["first", "second"] and len(await store.usage()) == 1

    @pytest.mark.row("L97")
    async def test_one_holder_that_asks_twice_gets_the_same_cache(self, store):
        async with store.lease() as lease:
            async with store.cache_mount("id", Sharing.LOCKED, None, "c", lease, holder="step") as one:
                async with store.cache_mount("id", Sharing.LOCKED, None, "c", lease, holder="step") as two:
                    assert one == two

    @pytest.mark.row("X70")
    async def test_a_forgotten_cache_begins_anew_and_goes_when_it_is_left(self, store):
        async with store.lease() as lease:
            async with store.cache_mount("id", Sharing.SHARED, None, "c", lease) as path:
                (path / "f").touch()
                await store.forget_cache_mount("id")
            assert await store.usage() == []
            async with store.cache_mount("id", Sharing.SHARED, None, "c", lease) as path:
                assert list(path.iterdir()) == []
            await store.forget_cache_mount("id")
            assert snapshots(store) == []
