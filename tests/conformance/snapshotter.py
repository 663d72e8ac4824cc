"""What every snapshotter does. A suite for a new one subclasses `SnapshotterConformance` and gives `snapshots`."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from buildkit.core.errors import AlreadyExists, FailedPrecondition, NotFound
from buildkit.fs.mount import mounted
from buildkit.store.snapshot import Kind, Part, Snapshotter


@contextmanager
def tree(snapshots: Snapshotter, key: str) -> Iterator[Path]:
    with mounted(snapshots.mounts(key)) as at:
        yield Path(at)


def layer(snapshots: Snapshotter, name: str, parent: str, change: Callable[[Path], object]) -> str:
    snapshots.prepare(f"{name}-key", parent)
    with tree(snapshots, f"{name}-key") as at:
        change(at)
    snapshots.commit(name, f"{name}-key")
    return name


def listing(snapshots: Snapshotter, name: str) -> dict[str, str]:
    """Paths with their contents; ``dir`` for directories, ``-> target`` for links."""
    out: dict[str, str] = {}
    with tree(snapshots, name) as at:
        for path in sorted(at.rglob("*")):
            if path.is_symlink():
                shown = f"-> {os.readlink(path)}"
            else:
                shown = "dir" if path.is_dir() else path.read_text()
            out[str(path.relative_to(at))] = shown
    return out


def write(**files: str) -> Callable[[Path], None]:
    """Make files; ``__`` in a name is a slash; None deletes."""

    def change(at: Path) -> None:
        for name, content in files.items():
            path = at / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)

    return change


def remove(*names: str) -> Callable[[Path], None]:
    def change(at: Path) -> None:
        for name in names:
            path = at / name
            if path.is_dir():
                for inner in sorted(path.rglob("*"), reverse=True):
                    inner.rmdir() if inner.is_dir() else inner.unlink()
                path.rmdir()
            else:
                path.unlink()

    return change


class SnapshotterConformance:
    """Terms as in `buildkit.store.snapshot`."""

    @pytest.fixture
    def snapshots(self) -> Snapshotter:
        """The implementation: whoever takes this suite gives it."""
        pytest.fail("a suite of its own for every implementation overrides this")

    def test_a_new_snapshot_is_empty_and_writable(self, snapshots):
        layer(snapshots, "one", "", write(file="x"))
        assert listing(snapshots, "one") == {"file": "x"}

    def test_a_child_starts_as_its_parent_and_changes_only_itself(self, snapshots):
        layer(snapshots, "one", "", write(a="1", b="1", d__e="1"))
        layer(snapshots, "two", "one", lambda at: (write(b="2", c="2", d__f="2")(at), (at / "a").unlink()))
        assert listing(snapshots, "two") == {"b": "2", "c": "2", "d": "dir", "d/e": "1", "d/f": "2"}
        assert listing(snapshots, "one") == {"a": "1", "b": "1", "d": "dir", "d/e": "1"}

    def test_a_directory_made_anew_hides_what_was_in_it(self, snapshots):
        layer(snapshots, "one", "", write(d__old="1"))
        layer(snapshots, "two", "one", lambda at: (remove("d")(at), write(d__new="2")(at)))
        assert listing(snapshots, "two") == {"d": "dir", "d/new": "2"}

    def test_a_file_replaces_a_directory_and_back(self, snapshots):
        layer(snapshots, "one", "", write(d__old="1", f="1"))
        layer(snapshots, "two", "one", lambda at: (remove("d", "f")(at), write(d="2", f__new="2")(at)))
        layer(snapshots, "three", "two", lambda at: (remove("d", "f")(at), write(d__x="3", f="3")(at)))
        assert listing(snapshots, "two") == {"d": "2", "f": "dir", "f/new": "2"}
        assert listing(snapshots, "three") == {"d": "dir", "d/x": "3", "f": "3"}

    def test_attributes_live_through_layers(self, snapshots):
        def change(at: Path) -> None:
            write(f="x", sub__g="y")(at)
            os.chmod(at / "f", 0o4751)
            os.chown(at / "f", 12, 34)
            os.chmod(at / "f", 0o4751)
            os.setxattr(at / "f", "user.colour", b"blue")
            os.mknod(at / "dev", stat.S_IFCHR | 0o600, os.makedev(1, 3))
            os.mkfifo(at / "pipe")
            os.symlink("f", at / "link")
            os.link(at / "f", at / "hard")
            os.utime(at / "sub", ns=(1_500_000_001, 1_500_000_001))

        layer(snapshots, "one", "", change)
        layer(snapshots, "two", "one", write(other="z"))
        with tree(snapshots, "two") as at:
            found = (at / "f").stat()
            assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (0o4751, 12, 34)
            assert os.getxattr(at / "f", "user.colour") == b"blue"
            assert (at / "dev").stat().st_rdev == os.makedev(1, 3)
            assert stat.S_ISFIFO((at / "pipe").stat().st_mode)
            assert (at / "hard").stat().st_ino == found.st_ino
            assert os.readlink(at / "link") == "f"
            assert (at / "sub").stat().st_mtime_ns == 1_500_000_001

    def test_attributes_of_the_root_directory_live_through_layers(self, snapshots):
        layer(snapshots, "one", "", lambda at: (os.chown(at, 5, 6), os.chmod(at, 0o751)))
        layer(snapshots, "two", "one", write(f="x"))
        for name in ("one", "two"):
            with tree(snapshots, name) as at:
                assert (at.stat().st_uid, at.stat().st_gid, stat.S_IMODE(at.stat().st_mode)) == (5, 6, 0o751)

    def test_removal_of_a_changed_attribute_of_a_parents_file_is_seen_in_the_child_only(self, snapshots):
        layer(snapshots, "one", "", write(f="x"))
        layer(snapshots, "two", "one", lambda at: os.chmod(at / "f", 0o600))
        with tree(snapshots, "one") as at:
            assert stat.S_IMODE((at / "f").stat().st_mode) != 0o600
        with tree(snapshots, "two") as at:
            assert stat.S_IMODE((at / "f").stat().st_mode) == 0o600

    def test_a_view_shows_its_parent(self, snapshots):
        layer(snapshots, "one", "", write(f="x"))
        snapshots.view("look", "one")
        assert listing(snapshots, "look") == {"f": "x"}
        assert snapshots.stat("look").kind is Kind.VIEW

    @pytest.mark.parametrize("depth", [1, 2])
    def test_committed_snapshots_and_views_cannot_be_written_through_their_mounts(self, snapshots, depth):
        layer(snapshots, "one", "", write(f="x"))
        layer(snapshots, "two", "one", write(g="x"))
        name = ("one", "two")[depth - 1]
        snapshots.view("look", name)
        for key in (name, "look"):
            with tree(snapshots, key) as at, pytest.raises(OSError, match="Read-only"):
                (at / "new").write_text("no")

    def test_an_empty_view_is_empty(self, snapshots):
        snapshots.view("look")
        assert listing(snapshots, "look") == {}

    def test_an_active_snapshot_keeps_what_was_written_between_mounts(self, snapshots):
        layer(snapshots, "one", "", write(f="x"))
        snapshots.prepare("key", "one")
        for name in ("a", "b"):
            with tree(snapshots, "key") as at:
                (at / name).write_text(name)
        assert listing(snapshots, "key") == {"a": "a", "b": "b", "f": "x"}

    def test_siblings_do_not_see_each_other(self, snapshots):
        layer(snapshots, "one", "", write(f="x"))
        layer(snapshots, "left", "one", write(l="l"))
        layer(snapshots, "right", "one", write(r="r"))
        assert listing(snapshots, "left") == {"f": "x", "l": "l"}
        assert listing(snapshots, "right") == {"f": "x", "r": "r"}

    def test_rows_tell_kind_name_and_parent(self, snapshots):
        layer(snapshots, "one", "", write(f="x"))
        snapshots.prepare("key", "one")
        assert (snapshots.stat("one").kind, snapshots.stat("one").parent) == (Kind.COMMITTED, "")
        assert (snapshots.stat("key").kind, snapshots.stat("key").parent) == (Kind.ACTIVE, "one")
        assert [row.name for row in snapshots.walk()] == ["one", "key"]
        assert snapshots.find("nothing") is None

    def test_only_committed_snapshots_can_be_parents(self, snapshots):
        snapshots.prepare("key")
        for make in (snapshots.prepare, snapshots.view):
            with pytest.raises(FailedPrecondition, match="key"):
                make("child", "key")
            with pytest.raises(NotFound, match="nothing"):
                make("child", "nothing")

    def test_names_are_unique(self, snapshots):
        layer(snapshots, "one", "", write(f="x"))
        snapshots.prepare("key")
        for make in (snapshots.prepare, snapshots.view):
            with pytest.raises(AlreadyExists):
                make("key")
            with pytest.raises(AlreadyExists):
                make("one")
        with pytest.raises(AlreadyExists):
            snapshots.commit("one", "key")
        snapshots.commit("two", "key")
        with pytest.raises(NotFound):
            snapshots.commit("three", "key")

    def test_only_active_snapshots_are_committed(self, snapshots):
        snapshots.view("look")
        with pytest.raises(FailedPrecondition):
            snapshots.commit("name", "look")

    def test_what_others_are_made_from_cannot_be_removed(self, snapshots):
        layer(snapshots, "one", "", write(f="x"))
        layer(snapshots, "two", "one", write(g="x"))
        with pytest.raises(FailedPrecondition, match="one"):
            snapshots.remove("one")
        snapshots.remove("two")
        snapshots.remove("one")
        assert list(snapshots.walk()) == []
        with pytest.raises(NotFound):
            snapshots.remove("one")

    def test_usage_counts_what_the_snapshot_added(self, snapshots):
        layer(snapshots, "one", "", lambda at: (at / "big").write_bytes(os.urandom(1 << 20)))
        layer(snapshots, "two", "one", write(small="x"))
        assert snapshots.usage("one").size >= 1 << 20
        assert snapshots.usage("one").inodes == 2
        assert snapshots.usage("two").inodes in (2, 3)

    def test_a_composition_of_a_chain_is_the_chain(self, snapshots):
        layer(snapshots, "one", "", write(a="1", d__x="1", d__y="1"))
        layer(snapshots, "two", "one", lambda at: (write(d__z="2")(at), (at / "a").unlink()))
        snapshots.compose("all", [Part("", "one"), Part("one", "two")])
        assert listing(snapshots, "all") == listing(snapshots, "two")

    def test_later_parts_win_and_their_deletions_count(self, snapshots):
        layer(snapshots, "base", "", write(a="base", b="base", d__x="base"))
        layer(snapshots, "left", "base", write(a="left", d__left="l"))
        layer(snapshots, "right", "base", lambda at: (write(d__right="r")(at), (at / "a").unlink()))
        snapshots.compose("merged", [Part("", "base"), Part("base", "left"), Part("base", "right")])
        assert listing(snapshots, "merged") == {
            "b": "base", "d": "dir", "d/left": "l", "d/right": "r", "d/x": "base",
        }  # fmt: skip

    def test_a_directory_remade_in_one_part_hides_only_what_that_part_knew(self, snapshots):
        layer(snapshots, "base", "", write(d__old="base"))
        layer(snapshots, "left", "base", write(d__left="l"))
        layer(snapshots, "right", "base", lambda at: (remove("d")(at), write(d__right="r")(at)))
        snapshots.compose("merged", [Part("", "base"), Part("base", "left"), Part("base", "right")])
        assert listing(snapshots, "merged") == {"d": "dir", "d/left": "l", "d/right": "r"}

    def test_independent_trees_merge_directory_by_directory(self, snapshots):
        layer(snapshots, "one", "", write(d__a="1", e="1"))
        layer(snapshots, "two", "", write(d__b="2", e="2"))
        snapshots.compose("merged", [Part("", "one"), Part("", "two")])
        assert listing(snapshots, "merged") == {"d": "dir", "d/a": "1", "d/b": "2", "e": "2"}

    def test_a_part_between_unrelated_trees_is_what_differs(self, snapshots):
        layer(snapshots, "one", "", write(same="s", gone="1", d__gone="1"))
        layer(snapshots, "two", "", write(new="2", d__new="2"))
        layer(snapshots, "base", "", write(gone="base", kept="base"))
        snapshots.compose("diff", [Part("one", "two")])
        assert listing(snapshots, "diff") == {"d": "dir", "d/new": "2", "new": "2"}
        snapshots.compose("merged", [Part("", "base"), Part("one", "two")])
        assert listing(snapshots, "merged") == {"d": "dir", "d/new": "2", "kept": "base", "new": "2"}

    def test_a_part_down_to_nothing_deletes_all_it_knew(self, snapshots):
        layer(snapshots, "one", "", write(a="1", d__x="1"))
        layer(snapshots, "base", "", write(a="base", b="base"))
        snapshots.compose("merged", [Part("", "base"), Part("one", "")])
        assert listing(snapshots, "merged") == {"b": "base"}
        snapshots.remove("merged")

    def test_compositions_can_be_built_upon_and_composed_again(self, snapshots):
        layer(snapshots, "one", "", write(a="1"))
        layer(snapshots, "two", "", write(b="2"))
        snapshots.compose("merged", [Part("", "one"), Part("", "two")])
        layer(snapshots, "top", "merged", lambda at: (write(c="3")(at), (at / "a").unlink()))
        assert listing(snapshots, "top") == {"b": "2", "c": "3"}
        layer(snapshots, "three", "", write(a="3"))
        snapshots.compose("again", [Part("", "three"), Part("", "merged"), Part("merged", "top")])
        assert listing(snapshots, "again") == {"b": "2", "c": "3"}

    def test_a_part_that_comes_again_wins_again(self, snapshots):
        layer(snapshots, "one", "", write(a="1", b="1"))
        layer(snapshots, "two", "one", lambda at: (write(a="2")(at), (at / "b").unlink()))
        snapshots.compose("twice", [Part("", "one"), Part("one", "two"), Part("", "one")])
        assert listing(snapshots, "twice") == {"a": "1", "b": "1"}

    def test_a_whole_tree_as_a_part_deletes_nothing(self, snapshots):
        layer(snapshots, "one", "", write(a="1", d__x="1"))
        layer(snapshots, "two", "one", lambda at: (remove("d")(at), write(d__y="2")(at), (at / "a").unlink()))
        snapshots.compose("merged", [Part("", "one"), Part("one", "two")])
        layer(snapshots, "base", "", write(a="base", d__z="base"))
        snapshots.compose("again", [Part("", "base"), Part("", "merged")])
        assert listing(snapshots, "again") == {"a": "base", "d": "dir", "d/y": "2", "d/z": "base"}

    def test_a_composition_shares_hard_links_and_writes_do_not_reach_its_parts(self, snapshots):
        layer(snapshots, "one", "", lambda at: (write(a="1")(at), os.link(at / "a", at / "b")))
        layer(snapshots, "two", "", write(c="2"))
        snapshots.compose("merged", [Part("", "two"), Part("", "one")])
        layer(snapshots, "top", "merged", write(a="changed"))
        assert listing(snapshots, "one") == {"a": "1", "b": "1"}
        with tree(snapshots, "merged") as at:
            assert (at / "a").stat().st_ino == (at / "b").stat().st_ino

    def test_parts_cannot_be_removed_before_the_composition(self, snapshots):
        layer(snapshots, "one", "", write(a="1"))
        layer(snapshots, "two", "", write(b="2"))
        snapshots.compose("merged", [Part("", "one"), Part("", "two")])
        if snapshots.name != "native":
            with pytest.raises(FailedPrecondition, match="one"):
                snapshots.remove("one")
        snapshots.remove("merged")
        snapshots.remove("one")

    def test_rows_and_trees_outlive_the_process(self, snapshots, reopened):
        layer(snapshots, "one", "", write(f="x"))
        snapshots.prepare("key", "one")
        snapshots.view("look", "one")
        again = reopened()
        again.recover()
        assert {row.name for row in again.walk()} == {"one", "key"}
        assert listing(again, "one") == {"f": "x"}

    def test_recovery_removes_directories_without_rows_and_rows_without_directories(self, snapshots, reopened, root):
        layer(snapshots, "one", "", write(f="x"))
        layer(snapshots, "two", "", write(g="x"))
        (root / "77").mkdir()
        (root / "rm-78").mkdir()
        (root / "2").rename(root / "rm-2")
        again = reopened()
        again.recover()
        assert [row.name for row in again.walk()] == ["one"]
        assert again.settle(wait=True)
        assert sorted(path.name for path in root.iterdir() if path.name != "empty") == ["1"]
