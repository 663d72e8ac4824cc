"""What a store does whatever its snapshotter. A suite gives ``store``."""

from __future__ import annotations

import asyncio
import io
import os
import tarfile
import zlib

import pytest
from tests.kit.stores import FakeImage, commit, files_of, tar_of

from buildkit.core.digest import sha256
from buildkit.core.errors import Corrupt, FailedPrecondition, InvalidInput, NotFound, Unauthenticated, Unsupported
from buildkit.core.values import replace
from buildkit.oci.spec import SOURCE_PREFIX
from buildkit.store.blobs import Compression
from buildkit.store.times import DETERMINISTIC, NEUTRAL, TimePolicy

PLAIN = Compression("uncompressed")


def names_in(store, layer) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(store.content.read(layer.descriptor.digest)), mode="r:*") as tar:
        return tar.getnames()


class StoreConformance:
    # drafts

    async def test_a_committed_draft_is_a_ref_that_shows_its_files(self, store):
        async with store.lease() as lease:
            ref = await commit(store, lease, a="1", d__b="2")
            assert store.find_ref(ref.id) == ref
            assert await files_of(store, ref, lease) == {"a": "1", "d/b": "2"}

    async def test_a_draft_that_is_not_committed_is_gone(self, store):
        async with store.lease() as lease:
            async with store.draft(None, lease) as draft, draft.mounted() as at:
                (at / "f").write_text("x")
            assert store.find_ref(draft.ref.id) is None
            await store.sweep()
        assert await store.usage() == []

    async def test_a_draft_that_fails_leaves_no_snapshot(self, store):
        async with store.lease() as lease:
            with pytest.raises(ZeroDivisionError):
                async with store.draft(None, lease):
                    raise ZeroDivisionError
        assert list(store._parts.snapshotter.walk()) == []

    async def test_overlapping_scopes_of_a_draft_see_one_tree(self, store):
        async with store.lease() as lease:
            base = await commit(store, lease, a="1")
            async with store.draft(base, lease) as draft:
                async with draft.mounted() as one, draft.mounted() as two:
                    (one / "x").write_text("x")
                    assert (two / "x").read_text() == "x"
                    with pytest.raises(FailedPrecondition, match="still mounted"):
                        await draft.commit()
                ref = await draft.commit()
                with pytest.raises(FailedPrecondition, match="already committed"):
                    await draft.commit()
            assert await files_of(store, ref, lease) == {"a": "1", "x": "x"}

    async def test_scratch_is_an_empty_tree(self, store):
        async with store.lease() as lease:
            assert await files_of(store, None, lease) == {}
            assert await store.mounts(None, lease)

    # merge and diff

    @pytest.mark.row("L150")
    async def test_merging_drops_scratch_and_collapses_one(self, store):
        async with store.lease() as lease:
            ref = await commit(store, lease, a="1")
            assert store.merge([None, ref, None], lease) == ref
            assert store.merge([None, None], lease) is None

    @pytest.mark.row("L150", "X64")
    async def test_a_merge_shows_all_and_honours_deletions(self, store):
        async with store.lease() as lease:
            base = await commit(store, lease, a="base", b="base")
            left = await commit(store, lease, base, a="left")
            right = await commit(store, lease, base, b=None, c="right")
            only_right = store.diff(base, right, lease)
            merged = store.merge([left, only_right], lease)
            assert await files_of(store, merged, lease) == {"a": "left", "c": "right"}

    @pytest.mark.row("L150")
    async def test_merging_is_lazy_and_its_layers_are_those_of_its_inputs(self, store):
        async with store.lease() as lease:
            one, two = await commit(store, lease, a="1"), await commit(store, lease, b="2")
            merged = store.merge([one, two], lease)
            assert store._parts.snapshotter.find(merged.id) is None
            layers = await store.layers(merged, PLAIN, lease)
            inputs = [(await store.layers(ref, PLAIN, lease))[0] for ref in (one, two)]
            assert [layer.descriptor for layer in layers] == [layer.descriptor for layer in inputs]
            assert store._parts.snapshotter.find(merged.id) is None

    async def test_merges_of_merges_are_flat(self, store):
        async with store.lease() as lease:
            refs = [await commit(store, lease, **{name: name}) for name in "abc"]
            merged = store.merge([store.merge(refs[:2], lease), refs[2]], lease)
            assert store._parts.record(merged.id).parents == tuple(ref.id for ref in refs)

    @pytest.mark.row("L151")
    async def test_a_diff_with_nothing_below_is_the_upper_and_with_itself_is_nothing(self, store):
        async with store.lease() as lease:
            ref = await commit(store, lease, a="1")
            assert store.diff(None, ref, lease) == ref
            assert store.diff(ref, ref, lease) is None
            assert store.diff(None, None, lease) is None

    @pytest.mark.row("L151")
    async def test_a_diff_to_an_ancestor_is_the_layers_between(self, store):
        async with store.lease() as lease:
            one = await commit(store, lease, a="1")
            two = await commit(store, lease, one, b="2")
            three = await commit(store, lease, two, c="3")
            diff = store.diff(one, three, lease)
            whole = await store.layers(three, PLAIN, lease)
            assert [x.descriptor for x in await store.layers(diff, PLAIN, lease)] == [x.descriptor for x in whole[1:]]
            assert await files_of(store, diff, lease) == {"b": "2", "c": "3"}

    @pytest.mark.row("L151")
    async def test_a_diff_of_unrelated_trees_is_one_layer_with_whiteouts(self, store):
        async with store.lease() as lease:
            one, two = await commit(store, lease, a="1", d__x="1"), await commit(store, lease, b="2")
            (layer,) = await store.layers(store.diff(one, two, lease), PLAIN, lease)
            assert names_in(store, layer) == [".wh.a", "b", ".wh.d"]

    @pytest.mark.row("L151")
    async def test_a_diff_to_scratch_deletes_everything(self, store):
        async with store.lease() as lease:
            ref = await commit(store, lease, a="1")
            merged = store.merge([await commit(store, lease, a="2", b="2"), store.diff(ref, None, lease)], lease)
            assert await files_of(store, merged, lease) == {"b": "2"}

    async def test_drafts_can_stand_on_merges(self, store):
        async with store.lease() as lease:
            merged = store.merge([await commit(store, lease, a="1"), await commit(store, lease, b="2")], lease)
            top = await commit(store, lease, merged, a=None, c="3")
            assert await files_of(store, top, lease) == {"b": "2", "c": "3"}
            layers = await store.layers(top, PLAIN, lease)
            assert [names_in(store, layer) for layer in layers] == [["a"], ["b"], [".wh.a", "c"]]

    # layers

    @pytest.mark.row("X67")
    async def test_layers_are_written_once_whoever_asks(self, store):
        async with store.lease() as lease:
            ref = await commit(store, lease, await commit(store, lease, a="1"), b="2", a=None)
            asked = await asyncio.gather(*(store.layers(ref, PLAIN, lease) for _ in range(5)))
            assert all(layers == asked[0] for layers in asked)
            assert [names_in(store, layer) for layer in asked[0]] == [["a"], [".wh.a", "b"]]
            assert len(list(store.content.walk())) == 2

    @pytest.mark.row("E55")
    async def test_a_step_without_changes_is_a_small_layer_and_scratch_is_none(self, store):
        async with store.lease() as lease:
            ref = await commit(store, lease, await commit(store, lease, a="1"))
            layers = await store.layers(ref, PLAIN, lease)
            assert store.content.read(layers[1].descriptor.digest) == bytes(1024)
            assert await store.layers(None, PLAIN, lease) == []

    @pytest.mark.row("X68")
    @pytest.mark.parametrize("kind", ["gzip", "zstd", "uncompressed"])
    async def test_forced_compression_converts_and_keeps_the_diff_id(self, store, kind):
        async with store.lease() as lease:
            ref = await commit(store, lease, a="1" * 10_000)
            for first in ("uncompressed", "gzip", "zstd"):
                await store.layers(ref, Compression(first), lease)
            (plain,) = await store.layers(ref, Compression("uncompressed", force=True), lease)
            (layer,) = await store.layers(ref, Compression(kind, force=True), lease)
            assert layer.diff_id == plain.descriptor.digest
            assert layer.descriptor.media_type.removeprefix(plain.descriptor.media_type).lstrip("+") in (kind, "")
            assert store.content.verify(layer.descriptor.digest)

    @pytest.mark.row("X68")
    async def test_any_blob_will_do_unless_forced(self, store):
        async with store.lease() as lease:
            ref = await commit(store, lease, a="1")
            (gzipped,) = await store.layers(ref, Compression("gzip"), lease)
            assert await store.layers(ref, Compression("zstd"), lease) == [gzipped]
            (zstd,) = await store.layers(ref, Compression("zstd", force=True), lease)
            assert zstd.descriptor.digest != gzipped.descriptor.digest
            assert await store.layers(ref, Compression("zstd"), lease) == [zstd]

    async def test_gzip_decompresses_to_the_diff_id(self, store):
        async with store.lease() as lease:
            (layer,) = await store.layers(await commit(store, lease, a="1"), Compression(), lease)
            tar = zlib.decompress(store.content.read(layer.descriptor.digest), 31)
            assert sha256(tar) == layer.diff_id

    @pytest.mark.row("X68")
    def test_compressions_that_we_do_not_have_are_refused_by_name(self, store):
        with pytest.raises(Unsupported, match="estargz"):
            Compression("estargz")
        with pytest.raises(InvalidInput, match="lzma"):
            Compression("lzma")

    async def test_a_blob_that_was_lost_is_written_again(self, store):
        async with store.lease() as lease:
            ref = await commit(store, lease, a="1")
            before = await store.layers(ref, PLAIN, lease)
            store.content.delete(before[0].descriptor.digest)
            assert [x.diff_id for x in await store.layers(ref, PLAIN, lease)] == [before[0].diff_id]
            assert store.content.has(before[0].descriptor.digest)

    async def test_deterministic_times_make_equal_layers_of_equal_trees(self, store):
        async with store.lease() as lease:
            digests = []
            for time in (1_000_000, 2_000_000):
                async with store.draft(None, lease) as draft:
                    async with draft.mounted() as at:
                        (at / "d").mkdir()
                        (at / "d" / "f").write_text("x")
                        os.utime(at / "d" / "f", (time, time))
                        os.utime(at / "d", (time, time))
                    ref = await draft.commit()
                (real,) = await store.layers(ref, PLAIN, lease)
                (fixed,) = await store.layers(ref, PLAIN, lease, times=DETERMINISTIC)
                (clamped,) = await store.layers(ref, PLAIN, lease, times=TimePolicy("clamp", 1_500_000))
                digests.append((real.diff_id, fixed.diff_id, clamped.diff_id))
            (real1, fixed1, clamped1), (real2, fixed2, clamped2) = digests
            assert fixed1 == fixed2 and real1 != real2
            assert clamped1 == real1 and clamped2 not in (real2, clamped1)
            with tarfile.open(store.content.path(fixed1)) as tar:
                assert {entry.mtime for entry in tar} == {NEUTRAL}

    # images

    @pytest.mark.row("L38")
    async def test_an_image_is_lazy_until_its_tree_is_needed(self, store):
        image = FakeImage(store, [tar_of(a="1", b="1"), tar_of(a=None, c__d="2")])
        async with store.lease() as lease:
            ref = image.load(lease)
            assert image.fetched == []
            layers = await store.layers(ref, Compression(), lease)
            assert [layer.descriptor for layer in layers] == [layer.descriptor for layer in image.layers]
            assert [layer.created for layer in layers] == [1_000, 1_000]
            assert image.fetched == []
            assert await files_of(store, ref, lease) == {"b": "1", "c/d": "2"}
            assert sorted(image.fetched) == sorted(image.blobs)
            await files_of(store, ref, lease)
            assert len(image.fetched) == 2

    @pytest.mark.row("S43")
    async def test_what_is_lazy_is_made_when_it_is_needed_and_whoever_offered_it_hears(self, store):
        heard: list[str] = []

        class Heard:
            def status(self, id, *, name="", started, completed=None):
                heard.append(id.partition(":")[0] + (" done" if completed else ""))

        image = FakeImage(store, [tar_of(a="1")])
        async with store.lease() as lease:
            lazy = store.import_image(image.layers, image.fetch, lease, progress=Heard())
            other, third = await commit(store, lease, b="2"), await commit(store, lease, c="3")
            diff = store.diff(third, other, lease, progress=Heard())
            merged = store.merge([lazy, diff], lease, progress=Heard())
            assert heard == [] == image.fetched
            assert await files_of(store, merged, lease) == {"a": "1", "b": "2"}
            assert heard == ["extracting sha256", "extracting sha256 done", "merging", "merging done"]
            await files_of(store, diff, lease)
            await files_of(store, merged, lease)
            assert heard[4:] == ["diffing", "diffing done"]

    async def test_an_image_without_layers_is_scratch(self, store):
        async with store.lease() as lease:
            assert FakeImage(store, []).load(lease) is None

    async def test_many_ask_for_one_image_and_it_is_fetched_once(self, store):
        image = FakeImage(store, [tar_of(a="1"), tar_of(b="2")])
        async with store.lease() as lease:
            ref = image.load(lease)
            shown = await asyncio.gather(*(files_of(store, ref, lease) for _ in range(5)))
            assert shown == [{"a": "1", "b": "2"}] * 5
            assert len(image.fetched) == 2

    @pytest.mark.row("E65")
    async def test_a_layer_knows_all_repositories_that_it_was_seen_in(self, store):
        image, key = FakeImage(store, [tar_of(a="1")]), f"{SOURCE_PREFIX}r.example"
        async with store.lease() as lease:
            for repository in ("b", "a", "b"):
                at = [
                    replace(layer, descriptor=replace(layer.descriptor, annotations={key: repository, "other": "x"}))
                    for layer in image.layers
                ]
                ref = store.import_image(at, image.fetch, lease)
            (layer,) = await store.layers(ref, Compression("gzip"), lease)
            assert layer.descriptor.annotations == {key: "b,a", "other": "x"}

    @pytest.mark.row("E103")
    async def test_layers_are_told_where_all_of_a_ref_have_a_tar(self, store):
        image = FakeImage(store, [tar_of(a="1"), tar_of(b="2")])
        async with store.lease() as lease:
            ref = image.load(lease)
            middle = await commit(store, lease, ref, c="3")
            top = await commit(store, lease, middle, d="4")
            merged = store.merge([ref, await commit(store, lease, e="5")], lease)
            digests = list(image.blobs)
            names = (top.id, ref.id, merged.id, "gone")
            assert {k: [one.digest for one in v] for k, v in store.known_layers(names).items()} == {
                top.id: [], ref.id: digests, merged.id: [], "gone": []
            }  # fmt: skip
            for made in (top, merged):
                made_layers = await store.layers(made, Compression("gzip"), lease)
                assert store.known_layers([made.id]) == {made.id: [layer.descriptor for layer in made_layers]}

    @pytest.mark.row("X69")
    async def test_images_share_the_layers_they_have_in_common(self, store):
        one = FakeImage(store, [tar_of(base="x"), tar_of(one="1")])
        two = FakeImage(store, [tar_of(base="x"), tar_of(two="2")])
        async with store.lease() as lease:
            await files_of(store, one.load(lease), lease)
            assert await files_of(store, two.load(lease), lease) == {"base": "x", "two": "2"}
            assert two.fetched == [two.layers[1].descriptor.digest]
            assert one.load(lease) == one.load(lease)

    @pytest.mark.row("X69")
    async def test_the_same_tree_under_another_blob_is_not_unpacked_again(self, store):
        image = FakeImage(store, [tar_of(a="1")])
        async with store.lease() as lease:
            first = image.load(lease)
            await files_of(store, first, lease)
            plain = image.layers[0].descriptor
            other = FakeImage(store, image.tars)
            other.blobs = {sha256(image.tars[0]): image.tars[0]}
            second = other.load(lease)
            assert second != first
            assert await files_of(store, second, lease) == {"a": "1"}
            assert other.fetched == []
            assert plain != (await store.layers(second, Compression(), lease))[0].descriptor

    async def test_who_may_not_fetch_gets_an_error_and_who_may_goes_on(self, store):
        good, bad = (FakeImage(store, [tar_of(a="1")]) for _ in range(2))
        bad.authorized = False
        async with store.lease() as allowed, store.lease() as refused:
            ref = good.load(allowed)
            assert bad.load(refused) == ref
            with pytest.raises(Unauthenticated):
                await store.mounts(ref, refused)
            assert await files_of(store, ref, allowed) == {"a": "1"}

    async def test_a_lazy_ref_that_nobody_offers_to_fetch_is_not_found(self, store):
        image = FakeImage(store, [tar_of(a="1"), tar_of(b="1")])
        async with store.lease() as lease:
            ref = image.load(lease)
            merged = store.merge([ref, await commit(store, lease, c="2")], lease)
            assert store.find_ref(merged.id, lease) == merged
        async with store.lease() as other:
            assert store.find_ref(ref.id, other) is None
            assert store.find_ref(merged.id, other) is None
            with pytest.raises(NotFound, match="nowhere to fetch"):
                await store.mounts(ref, other)
            image.load(other)
            assert store.find_ref(merged.id, other) == merged

    async def test_a_layer_that_lies_about_its_content_is_refused_and_leaves_nothing(self, store):
        image = FakeImage(store, [tar_of(a="1")])
        lying = [replace(image.layers[0], diff_id=sha256(b"other"))]
        async with store.lease() as lease:
            ref = store.import_image(lying, image.fetch, lease)
            with pytest.raises(Corrupt, match="the image says"):
                await store.mounts(ref, lease)
        assert list(store._parts.snapshotter.walk()) == []

    async def test_fetching_a_layer_for_export_brings_just_that_blob(self, store):
        image = FakeImage(store, [tar_of(a="1"), tar_of(b="1")])
        async with store.lease() as lease:
            layers = await store.layers(image.load(lease), Compression(), lease)
            await store.fetch(layers[1].descriptor, lease)
            assert image.fetched == [layers[1].descriptor.digest]

    @pytest.mark.row("X68")
    async def test_forced_compression_of_an_image_fetches_and_converts(self, store):
        image = FakeImage(store, [tar_of(a="1")])
        async with store.lease() as lease:
            (layer,) = await store.layers(image.load(lease), Compression("zstd", force=True), lease)
            assert layer.diff_id == image.layers[0].diff_id
            assert layer.descriptor.media_type.endswith("+zstd")

    @pytest.mark.parametrize("spoil", [lambda blob: blob[:-9], lambda blob: blob[:40] + b"\0" * 9 + blob[49:]])
    async def test_a_damaged_layer_is_named_and_leaves_nothing(self, store, spoil):
        image = FakeImage(store, [tar_of(a="1" * 5000, b="23" * 5000)])
        bad = spoil(next(iter(image.blobs.values())))
        image.blobs = {sha256(bad): bad}
        async with store.lease() as lease:
            ref = image.load(lease)
            with pytest.raises(Corrupt, match=sha256(bad)):
                await store.mounts(ref, lease)
            with pytest.raises(Corrupt, match=sha256(bad)):
                await store.layers(ref, Compression("zstd", force=True), lease)
        assert list(store._parts.snapshotter.walk()) == []
        assert list((store.content.root / "ingest").iterdir()) == []

    async def test_times_of_image_layers_are_left_alone(self, store):
        image = FakeImage(store, [tar_of(a="1")])
        async with store.lease() as lease:
            (layer,) = await store.layers(image.load(lease), Compression(), lease, times=DETERMINISTIC)
            assert layer.descriptor == image.layers[0].descriptor

    async def test_a_tree_that_is_kept_for_the_next_time_may_be_a_layer_as_it_is(self, store):
        async with store.lease() as lease:
            async with store.kept_tree("k", lease) as tree:
                (tree.path / "a").write_text("1")
                ref = tree.lend(changed=True)
            (layer,) = await store.layers(ref, PLAIN, lease)
            with store.content.open(layer.descriptor.digest) as blob, tarfile.open(fileobj=blob) as tar:
                assert tar.getnames() == ["a"]
            assert [one.diff_id for one in await store.layers(ref, PLAIN, lease)] == [layer.diff_id]
