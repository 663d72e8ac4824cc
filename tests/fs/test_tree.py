from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest
from tests.kit.trees import plant

from buildkit.core.errors import FailedPrecondition, InvalidInput
from buildkit.fs import syscalls, tree
from buildkit.fs.removal import remove
from buildkit.fs.tree import open_beneath, open_in_root, resolve_in_root, walk


def paths(root: Path, **options) -> list[str]:
    return [entry.path for entry in walk(str(root), **options)]


@pytest.fixture(params=[False, True], ids=["openat2", "by hand"])
def opening(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways: with openat2(2), and as on a kernel without it."""
    if request.param:

        def missing(*args) -> int:
            raise OSError(errno.ENOSYS, "not implemented")

        monkeypatch.setattr(syscalls, "openat2", missing)


@pytest.mark.row("A154")
def test_a_slash_sorts_lowest_and_parents_come_first(tmp_path: Path) -> None:
    plant(tmp_path, "a/z", "a-b", "a.c", "a0", "A", "é", "a/b/c")
    assert paths(tmp_path) == ["A", "a", "a/b", "a/b/c", "a/z", "a-b", "a.c", "a0", "é"]


def test_undecodable_names_sort_by_their_bytes(tmp_path: Path) -> None:
    for name in (b"\xff", "\U0001f600".encode(), "\ufb01".encode()):
        Path(os.fsdecode(bytes(tmp_path) + b"/" + name)).touch()
    assert [os.fsencode(path) for path in paths(tmp_path)] == ["\ufb01".encode(), "\U0001f600".encode(), b"\xff"]


def test_an_entry_carries_status_target_and_a_way_to_open_it(tmp_path: Path) -> None:
    plant(tmp_path, "dir/file", "dir/link -> file")
    seen = {}
    for entry in walk(str(tmp_path)):
        if stat.S_ISREG(entry.stat.st_mode):
            fd = entry.open()
            seen[entry.path] = os.read(fd, 100)
            os.close(fd)
        else:
            seen[entry.path] = entry.link_target
    assert seen == {"dir": "", "dir/file": b"dir/file", "dir/link": "file"}


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"include": ["a/x"]}, ["a", "a/x"]),
        ({"include": ["**/y"]}, ["a", "a/y", "b", "b/c", "b/c/y"]),
        ({"include": ["b"]}, ["b", "b/c", "b/c/y"]),
        ({"include": ["b/*"]}, ["b", "b/c", "b/c/y"]),
        ({"exclude": ["a"]}, ["b", "b/c", "b/c/y", "d"]),
        ({"exclude": ["*", "!b/c/y"]}, ["b", "b/c", "b/c/y"]),
        ({"exclude": ["**/y"]}, ["a", "a/x", "b", "b/c", "d"]),
        ({"include": ["a"], "exclude": ["a/x"]}, ["a", "a/y"]),
        ({"include": ["nothing"]}, []),
    ],
)
@pytest.mark.row("A150")
def test_includes_and_excludes_choose_with_their_parents(tmp_path: Path, options: dict, wanted: list[str]) -> None:
    plant(tmp_path, "a/x", "a/y", "b/c/y", "d")
    assert paths(tmp_path, **options) == wanted


def test_an_excluded_directory_is_not_even_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(tmp_path, "node_modules/deep/x", "a")
    entered = []
    enter = tree._enter
    monkeypatch.setattr(tree, "_enter", lambda name, fd, path: entered.append(path) or enter(name, fd, path))
    assert paths(tmp_path, exclude=["node_modules"]) == ["a"]
    assert entered == []


@pytest.mark.parametrize(
    ("follow", "wanted"),
    [
        (["link"], ["link", "target"]),
        (["dirlink/f"], ["dir", "dir/f", "dirlink"]),
        (["chain"], ["chain", "link", "target"]),
        (["l*"], ["target", "link", "loop", "loop2"]),
        (["loop"], ["loop", "loop2"]),
        (["up"], ["up", "target"]),
        (["absolute"], ["absolute", "target"]),
        (["missing"], []),
    ],
)
@pytest.mark.row("A156")
def test_followed_paths_bring_their_targets(tmp_path: Path, follow: list[str], wanted: list[str]) -> None:
    plant(
        tmp_path, "target", "link -> target", "dir/f", "dir/g", "dirlink -> dir", "chain -> link", "loop -> loop2",
        "loop2 -> loop", "up -> ../../../target", "absolute -> /target",
    )  # fmt: skip
    assert paths(tmp_path, follow=follow) == sorted(set(wanted))


def test_following_to_the_root_selects_everything(tmp_path: Path) -> None:
    plant(tmp_path, "root -> .", "a")
    assert paths(tmp_path, follow=["root"]) == ["a", "root"]


def test_a_bad_pattern_is_named_with_its_list(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"invalid excludepatterns: \[a \[\]: syntax error"):
        paths(tmp_path, exclude=["a", "["])


def test_a_directory_swapped_for_a_link_is_not_entered(tmp_path: Path) -> None:
    plant(tmp_path, "root/dir/inside", "outside/secret")
    found = []
    for entry in walk(str(tmp_path / "root")):
        found.append(entry.path)
        if entry.path == "dir":
            os.rename(tmp_path / "root/dir", tmp_path / "gone")
            os.symlink(tmp_path / "outside", tmp_path / "root/dir")
    assert found == ["dir"]


def test_a_file_swapped_for_a_link_is_not_opened(tmp_path: Path) -> None:
    plant(tmp_path, "root/file", "secret")
    for entry in walk(str(tmp_path / "root")):
        os.unlink(tmp_path / "root/file")
        os.symlink(tmp_path / "secret", tmp_path / "root/file")
        with pytest.raises(OSError) as caught:
            entry.open()
        assert caught.value.errno == errno.ELOOP


def test_a_walk_that_is_left_early_closes_its_descriptors(tmp_path: Path) -> None:
    plant(tmp_path, "a/b/c/d")
    before = len(os.listdir("/proc/self/fd"))
    walking = walk(str(tmp_path))
    for _ in range(4):
        next(walking)
    walking.close()
    assert len(os.listdir("/proc/self/fd")) == before


def read_in_root(root: Path, path: str) -> str:
    fd = os.open(root, os.O_RDONLY)
    try:
        with open(open_in_root(fd, path, os.O_RDONLY)) as file:
            return file.read()
    finally:
        os.close(fd)


@pytest.mark.usefixtures("opening")
@pytest.mark.parametrize("path", ["/f", "f", "../f", "up", "absolute", "dir/up", "dirlink/up", "/../../f"])
def test_no_link_and_no_dots_lead_out_of_the_root(tmp_path: Path, path: str) -> None:
    plant(tmp_path, "f", "root/f")
    plant(tmp_path / "root", "up -> ../f", "absolute -> /f", "dir/up -> ../../../f", "dirlink -> ../../root/dir")
    if path == "dirlink/up":
        with pytest.raises(FileNotFoundError):
            read_in_root(tmp_path / "root", path)
    else:
        assert read_in_root(tmp_path / "root", path) == "root/f"
        assert resolve_in_root(str(tmp_path / "root"), path) == str(tmp_path / "root/f")


@pytest.mark.usefixtures("opening")
@pytest.mark.parametrize("path", ["link", "dir/link", "linked/f", "../f", "dir/../f"])
def test_opening_beneath_refuses_links_and_dots(tmp_path: Path, path: str) -> None:
    plant(tmp_path, "f", "root/f", "root/dir/f")
    plant(tmp_path / "root", "link -> f", "dir/link -> f", "linked -> dir")
    fd = os.open(tmp_path / "root", os.O_RDONLY)
    try:
        with pytest.raises(OSError) as caught:
            os.close(open_beneath(fd, path, os.O_RDONLY))
        if path != "dir/../f":
            assert caught.value.errno in (errno.ELOOP, errno.EXDEV, errno.ENOTDIR)
        os.close(open_beneath(fd, "dir/f", os.O_RDONLY))
    finally:
        os.close(fd)


def test_resolving_keeps_missing_parts_and_stops_at_loops(tmp_path: Path) -> None:
    plant(tmp_path, "loop -> loop", "link -> missing/far")
    assert resolve_in_root(str(tmp_path), "link/x") == f"{tmp_path}/missing/far/x"
    assert resolve_in_root(str(tmp_path), "link", follow_last=False) == f"{tmp_path}/link"
    with pytest.raises(FailedPrecondition, match="too many links"):
        resolve_in_root(str(tmp_path), "loop")


def deep(root, depth):
    """Directories in directories, with a file on both sides of each; deeper than a path may be long."""
    root.mkdir(exist_ok=True)
    fd = os.open(root, os.O_RDONLY)
    for _ in range(depth):
        for name in ("a", "z"):
            os.close(os.open(name, os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=fd))
        os.mkdir("name-in-the-middle", dir_fd=fd)
        below = os.open("name-in-the-middle", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)


@pytest.mark.parametrize("depth", [100, 700])
@pytest.mark.parametrize("selected", [{}, {"include": ["**"]}, {"exclude": ["none"]}])
def test_a_walk_of_any_depth_needs_few_descriptors(tmp_path, depth, selected):
    deep(tmp_path / "t", depth)
    before = len(os.listdir("/proc/self/fd"))
    most = 0
    found = []
    for entry in walk(str(tmp_path / "t"), **selected):
        most = max(most, entry.dir_fd)
        found.append(entry.name)
        assert entry.is_dir or os.stat(entry.name, dir_fd=entry.dir_fd).st_ino == entry.stat.st_ino
    assert found == ["a", "name-in-the-middle"] * depth + ["z"] * depth
    assert len(os.listdir("/proc/self/fd")) == before and most < before + 100
    remove("t", os.open(tmp_path, os.O_RDONLY))


@pytest.mark.parametrize("path", ["l/x", "a/l/x", "a/b/l/x", "a/b/c/l/x", "a/b/c/l"])
def test_opening_beneath_refuses_a_link_at_any_depth_even_one_that_stays_inside(tmp_path, path):
    place = tmp_path / path.removesuffix("/x")
    place.parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "real").mkdir()
    (tmp_path / "real/x").touch()
    place.symlink_to(os.path.relpath(tmp_path / "real", place.parent))
    root = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(OSError) as caught:
        open_beneath(root, path, os.O_RDONLY)
    os.close(root)
    assert caught.value.errno in (errno.ELOOP, errno.ENOTDIR)
