from __future__ import annotations

import os
import time

import pytest
from tests.kit.stores import FakeImage, commit, files_of, store_at, tar_of

from buildkit.core.db import Database
from buildkit.core.errors import InvalidInput, Unsupported
from buildkit.store import recovery
from buildkit.store.store import Store


@pytest.fixture
def boot(tmp_path, monkeypatch):
    """A boot id that tests can change."""
    path = tmp_path / "boot_id"
    path.write_text("boot-1")
    monkeypatch.setattr(recovery, "_BOOT", path)
    return path


def abandon(path) -> Store:
    """A store whose process is gone without closing it."""
    return Store.open(path / "store", Database(path / "db"), snapshotter="native")


@pytest.mark.row("X61")
@pytest.mark.parametrize(("name", "error"), [("stargz", Unsupported), ("fuse-overlayfs", Unsupported)])
def test_known_snapshotters_that_we_do_not_have_are_refused_by_name(tmp_path, name, error):
    with pytest.raises(error, match=name):
        Store.open(tmp_path, Database(":memory:"), snapshotter=name)


@pytest.mark.row("X61")
def test_an_unknown_snapshotter_is_named(tmp_path):
    with pytest.raises(InvalidInput, match='unknown snapshotter name: "x"'):
        Store.open(tmp_path, Database(":memory:"), snapshotter="x")


async def test_auto_stays_with_the_snapshotter_that_is_there(tmp_path):
    async with store_at(tmp_path, "native"):
        pass
    async with store_at(tmp_path, "auto") as store:
        assert store.snapshotter_name == "native"


@pytest.mark.row("S70")
def test_the_worker_keeps_its_id(tmp_path):
    first = recovery.worker_id(tmp_path)
    assert len(first) == 25 and recovery.worker_id(tmp_path) == first
    assert (tmp_path / "workerid").read_text() == first
    assert [path.name for path in tmp_path.iterdir()] == ["workerid"]


async def test_refs_outlive_the_process(tmp_path):
    async with store_at(tmp_path) as store, store.lease() as lease:
        base = await commit(store, lease, a="1")
        merged = store.merge([base, await commit(store, lease, b="2")], lease)
    async with store_at(tmp_path) as store, store.lease() as lease:
        assert await files_of(store, store.find_ref(merged.id, lease), lease) == {"a": "1", "b": "2"}
        assert (await store.usage())[0].usage_count == 1


async def test_a_lazy_image_stays_lazy_over_a_restart(tmp_path):
    async with store_at(tmp_path) as store, store.lease() as lease:
        image = FakeImage(store, [tar_of(a="1")])
        ref = image.load(lease)
    async with store_at(tmp_path) as store, store.lease() as lease:
        assert store.find_ref(ref.id, lease) is None
        again = FakeImage(store, image.tars)
        assert again.load(lease) == ref
        assert await files_of(store, ref, lease) == {"a": "1"}


async def test_after_a_kill_drafts_and_snapshots_without_records_go(tmp_path, boot):
    store = abandon(tmp_path)
    async with store.lease() as lease:
        kept = await commit(store, lease, a="1")
        lost = await commit(store, lease, kept, b="1")
    snapshots = store._parts.snapshotter
    snapshots.prepare("draft", kept.id)
    store._parts.records.remove(lost.id)
    (tmp_path / "store" / "content" / "ingest" / "half").touch()
    async with store_at(tmp_path) as store:
        assert [row.name for row in store._parts.snapshotter.walk()] == [kept.id]
        assert list((tmp_path / "store" / "content" / "ingest").iterdir()) == []


async def test_after_a_kill_records_whose_tree_is_gone_go_with_their_descendants(tmp_path, boot):
    store = abandon(tmp_path)
    async with store.lease() as lease:
        kept, lost = await commit(store, lease, a="1"), await commit(store, lease, b="1")
        merged = store.merge([kept, lost], lease)
        diff = store.diff(merged, kept, lease)
    store._parts.snapshotter.remove(lost.id)
    async with store_at(tmp_path) as store:
        assert store.find_ref(kept.id) and not any(map(store.find_ref, (lost.id, merged.id, diff.id)))


async def test_a_clean_close_means_that_opening_looks_for_nothing(tmp_path, boot, monkeypatch):
    async with store_at(tmp_path):
        pass
    monkeypatch.setattr(recovery, "_drop_unnamed", lambda parts: pytest.fail("looked for leftovers"))
    async with store_at(tmp_path):
        pass


async def test_after_a_reboot_what_the_disk_may_not_have_is_dropped_or_checked(tmp_path, boot):
    async with store_at(tmp_path) as store, store.lease() as lease:
        old = await commit(store, lease, a="1")
        aged = time.time_ns() - 1000 * 10**9
        store._parts.snapshotter._shelf._db.execute("UPDATE snapshots SET created = ?", (aged,))
        new = await commit(store, lease, old, b="1")
        ref = FakeImage(store, [tar_of(c="1")]).load(lease)
        await files_of(store, ref, lease)
        good, bad, settled = (store.content.put(text) for text in (b"good", b"bad", b"settled"))
        store.content.path(bad).write_bytes(b"\0\0\0")
        store.content.path(settled).write_bytes(b"\0")
        os.utime(store.content.path(settled), (aged / 1e9, aged / 1e9))
    boot.write_text("boot-2")
    async with store_at(tmp_path) as store, store.lease() as lease:
        assert store.find_ref(old.id) and not store.find_ref(new.id)
        assert store.find_ref(ref.id, lease)
        assert [row.name for row in store._parts.snapshotter.walk()] == [old.id]
        assert store.content.has(good) and not store.content.has(bad) and store.content.has(settled)
    async with store_at(tmp_path) as store:
        assert store.find_ref(old.id)
