"""Directories read in place: what is hashed is what is copied, or it is noticed."""

from __future__ import annotations

import os
import stat
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildkit.core.db import Database
from buildkit.core.errors import NotFound
from buildkit.fs.contenthash import Selector
from buildkit.fs.copy import CopyOptions, copy_tree
from buildkit.store import view as view_module
from buildkit.store.store import Store
from buildkit.store.view import Changed, View

LONG_AGO = 1_000_000_000_000_000_000


@pytest.fixture
def root(tmp_path) -> Path:
    root = tmp_path / "context"
    (root / "d").mkdir(parents=True)
    (root / "a").write_text("one")
    (root / "d" / "b").write_text("two")
    (root / "link").symlink_to("d/b")
    return root


@pytest.fixture
def store(tmp_path) -> Store:
    return Store.open(tmp_path / "store", Database(tmp_path / "db"), snapshotter="native")


def copy(view: View, tmp_path: Path) -> Path:
    target = tmp_path / "copy"
    target.mkdir()
    view.copy_to(str(target))
    return target


def replace_silently(path: Path, content: str) -> None:
    """Write as a clock that is too coarse would let it happen: same size, same times."""
    before = path.stat()
    path.write_text(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.row("A155")
def test_a_copy_has_contents_modes_links_and_times_but_not_the_owner(root, tmp_path):
    if os.getuid() == 0:
        os.chown(root / "a", 1234, 1234)
    (root / "a").chmod(0o4751)
    os.link(root / "d" / "b", root / "d" / "c")
    os.utime(root / "d", ns=(LONG_AGO, LONG_AGO))
    os.mkfifo(root / "pipe", 0o604)
    os.setxattr(root / "a", "user.x", b"y")
    found = copy(View(str(root)), tmp_path)
    status = (found / "a").stat()
    assert (found / "a").read_text() == "one"
    assert (stat.S_IMODE(status.st_mode), status.st_mtime_ns) == (0o4751, (root / "a").stat().st_mtime_ns)
    assert (status.st_uid, status.st_gid) == (os.getuid(), os.getgid())
    assert os.readlink(found / "link") == "d/b"
    assert (found / "d").stat().st_mtime_ns == LONG_AGO
    assert (found / "d" / "b").stat().st_ino == (found / "d" / "c").stat().st_ino
    assert stat.S_ISFIFO((found / "pipe").stat().st_mode) and stat.S_IMODE((found / "pipe").stat().st_mode) == 0o604
    assert os.getxattr(found / "a", "user.x") == b"y"


@pytest.mark.row("L43")
def test_only_what_the_patterns_select_is_there(root, tmp_path):
    found = copy(View(str(root), include=["d", "a"], exclude=["a"]), tmp_path)
    assert sorted(p.name for p in found.rglob("*")) == ["b", "d"]
    view = View(str(root), follow=["link"])
    assert view.read("link", 99) == b"two"
    with pytest.raises(NotFound):
        view.read("a", 99)


def test_a_file_that_is_made_after_the_listing_is_not_seen(root, tmp_path):
    view = View(str(root))
    view.digest([Selector("/")])
    (root / "d" / "late").touch()
    assert not (copy(view, tmp_path) / "d" / "late").exists()


@pytest.mark.parametrize("content", ["new", "longer than before"])
def test_a_file_that_changes_between_hashing_and_copying_is_noticed(root, tmp_path, content):
    view = View(str(root))
    view.digest([Selector("/d")])
    (root / "d" / "b").write_text(content)
    with pytest.raises(Changed, match=r"^d/b: changed while it was being read"):
        copy(view, tmp_path)


def test_a_change_within_one_tick_of_the_clock_is_noticed(root, tmp_path, monkeypatch):
    view = View(str(root))
    view.digest([Selector("/a")])
    monkeypatch.setattr("buildkit.store.view._signature", lambda status: ())
    replace_silently(root / "a", "two")
    with pytest.raises(Changed):
        copy(view, tmp_path)


def test_a_settled_file_is_not_read_again_to_prove_that_it_is_the_same(root, tmp_path, monkeypatch):
    view = View(str(root))
    view.digest([Selector("/a")])
    monkeypatch.setattr("buildkit.store.view.SETTLED", -(10**15))
    monkeypatch.setattr("buildkit.store.view.hash_file", None)
    assert (copy(view, tmp_path) / "a").read_text() == "one"


def test_a_touched_file_with_the_same_bytes_is_the_same(root, tmp_path):
    view = View(str(root))
    view.digest([Selector("/")])
    os.utime(root / "a")
    assert (copy(view, tmp_path) / "a").read_text() == "one"


@pytest.mark.parametrize("kind", ["gone", "directory", "link"])
def test_a_file_that_becomes_something_else_is_noticed(root, tmp_path, kind):
    view = View(str(root))
    view.digest([Selector("/d/b")])
    (root / "d" / "b").unlink()
    if kind == "directory":
        (root / "d" / "b").mkdir()
    elif kind == "link":
        (root / "d" / "b").symlink_to("/etc/passwd")
    with pytest.raises(Changed):
        copy(view, tmp_path)


def test_a_directory_that_becomes_a_link_leads_nowhere(root, tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "b").write_text("secret")
    view = View(str(root))
    view.digest([Selector("/a")])
    list(view._open().files())
    (root / "d").rename(root / "e")
    (root / "d").symlink_to(tmp_path / "outside")
    with pytest.raises(Changed):
        copy(view, tmp_path)


@given(st.lists(st.sampled_from(["write a", "write d/b", "touch a", "remove a", "chmod a"]), max_size=3))
@settings(max_examples=40)
def test_what_is_copied_has_the_digest_that_was_told_whatever_happens_meanwhile(tmp_path_factory, events):
    folder = tmp_path_factory.mktemp("x")
    root = folder / "root"
    (root / "d").mkdir(parents=True)
    (root / "a").write_text("1")
    (root / "d" / "b").write_text("2")
    view = View(str(root))
    told = view.digest([Selector("/a"), Selector("/d")])
    for event in events:
        what, _, name = event.partition(" ")
        path = root / name
        if what == "write":
            path.write_text("3")
        elif what == "remove":
            path.unlink(missing_ok=True)
        elif path.exists():
            path.chmod(0o600) if what == "chmod" else path.touch()
    try:
        copied = copy(view, folder)
    except Changed:
        return
    assert View(str(copied)).digest([Selector("/a"), Selector("/d")]) == told


class TestInTheStore:
    async def test_reading_and_hashing_copies_nothing(self, store, root):
        async with store.lease() as lease:
            ref = store.add_view(View(str(root)), lease)
            assert await store.read_file(ref, "link", lease, limit=2) == b"tw"
            assert await store.checksum(ref, [Selector("/a")], lease)
            assert await store.usage() == []

    async def test_a_view_becomes_a_tree_when_it_is_mounted_and_goes_with_the_lease(self, store, root):
        async with store.lease() as lease:
            ref = store.add_view(View(str(root)), lease, description="local source for context")
            async with store.mounted(ref, lease) as path:
                assert (path / "d" / "b").read_text() == "two"
                (root / "d" / "b").write_text("changed on the host")
                assert (path / "d" / "b").read_text() == "two"
            (record,) = await store.usage()
            assert (record.record_type, record.description) == ("source.local", "local source for context")
        assert await store.usage() == []
        assert store.find_ref(ref.id) is None
        assert list(store._parts.snapshotter.walk()) == []

    async def test_writing_to_the_mounted_copy_does_not_reach_the_host(self, store, root):
        async with store.lease() as lease:
            ref = store.add_view(View(str(root)), lease)
            async with store.draft(ref, lease) as draft, draft.mounted() as path:
                (path / "a").write_text("written by a step")
                (path / "new").touch()
        assert (root / "a").read_text() == "one"
        assert not (root / "new").exists()

    async def test_the_digest_is_the_same_in_place_and_copied(self, store, root):
        selectors = [Selector("/"), Selector("/d"), Selector("/*", wildcard=True)]
        async with store.lease() as lease:
            ref = store.add_view(View(str(root)), lease)
            other = store.add_view(View(str(root)), lease)
            before = [await store.checksum(ref, [one], lease) for one in selectors]
            async with store.mounted(other, lease):
                assert [await store.checksum(other, [one], lease) for one in selectors] == before

    async def test_after_the_copy_the_host_does_not_count_any_more(self, store, root):
        async with store.lease() as lease:
            ref, other = (store.add_view(View(str(root)), lease) for _ in range(2))
            told = await store.checksum(other, [Selector("/d/b")], lease)
            async with store.mounted(ref, lease):
                (root / "d" / "b").write_text("six")
                assert await store.checksum(ref, [Selector("/d/b")], lease) == told

    async def test_what_is_made_from_a_view_keeps_its_copy(self, store, root):
        async with store.lease() as lease:
            ref = store.add_view(View(str(root)), lease)
            async with store.draft(ref, lease) as draft:
                async with draft.mounted() as path:
                    (path / "more").touch()
                made = await draft.commit()
        async with store.lease() as lease:
            async with store.mounted(store.find_ref(made.id, lease), lease) as path:
                assert (path / "a").read_text() == "one"

    async def test_a_view_can_be_a_layer_of_an_image(self, store, root):
        from buildkit.store.blobs import Compression

        async with store.lease() as lease:
            ref = store.add_view(View(str(root)), lease)
            (layer,) = await store.layers(ref, Compression("uncompressed"), lease)
            assert b"two" in store.content.read(layer.descriptor.digest)

    async def test_a_failed_copy_leaves_nothing(self, store, root):
        async with store.lease() as lease:
            ref = store.add_view(View(str(root)), lease)
            await store.checksum(ref, [], lease)
            (root / "a").write_text("changed")
            with pytest.raises(Changed):
                async with store.mounted(ref, lease):
                    pass
        assert await store.usage() == []
        assert list(store._parts.snapshotter.walk()) == []

    async def test_digests_of_stored_refs_are_remembered(self, store, root, monkeypatch):
        async with store.lease() as lease:
            async with store.draft(None, lease) as draft:
                async with draft.mounted() as path:
                    (path / "x").write_text("x")
                ref = await draft.commit()
            told = await store.checksum(ref, [Selector("/x")], lease)
            monkeypatch.setattr("buildkit.store.checksums.digest_tree", None)
            assert await store.checksum(ref, [Selector("/x")], lease) == told


class Swapped:
    """Has a file replaced while it is copied, between its bytes and the look at its status."""

    def __init__(self, monkeypatch, change):
        real = view_module._copy_bytes

        def copy(source, target, path):
            real(source, target, path)
            change(path)

        monkeypatch.setattr(view_module, "_copy_bytes", copy)


def test_a_file_that_changes_while_it_is_copied_is_copied_again_or_refused(root, tmp_path, monkeypatch):
    writes = []

    def change(path):
        writes.append(path)
        with open(root / path, "a") as file:
            file.write("more")

    Swapped(monkeypatch, change)
    with pytest.raises(Changed, match="a"):
        copy(View(str(root)), tmp_path)
    assert len(writes) > 1 and set(writes) == {"a"}


@pytest.mark.parametrize("field", ["st_dev", "st_ino", "st_mode", "st_size", "st_mtime_ns", "st_ctime_ns"])
def test_a_status_that_differs_in_any_part_is_another_file(root, field):
    status = (root / "a").stat()

    class Other:
        def __getattr__(self, name):
            return getattr(status, name) + (name == field)

    assert view_module._signature(status) != view_module._signature(Other())


def test_a_file_that_changed_while_it_was_copied_from_its_listing_is_refused(root):
    listing = View(str(root)).listing()
    before = listing.status("a")
    with open(root / "a", "a") as file:
        file.write("more")
    with open(root / "a") as source, pytest.raises(Changed, match="a"):
        listing.check("a", before, source.fileno(), "unused", -1)


@pytest.mark.parametrize("options", [CopyOptions(), CopyOptions(allow_wildcard=True, allow_empty_wildcard=True)])
def test_a_file_that_never_was_there_is_not_found_and_has_not_changed(root, tmp_path, options):
    (tmp_path / "to").mkdir()
    source, target = (os.open(path, os.O_RDONLY | os.O_DIRECTORY) for path in (root, tmp_path / "to"))
    with ExitStack() as open_files:
        for fd in (source, target):
            open_files.callback(os.close, fd)
        with pytest.raises(NotFound, match=r"lstat /\{: no such"):
            copy_tree(source, target, "{", "/", options, View(str(root)).listing())
