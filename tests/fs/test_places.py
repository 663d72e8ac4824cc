from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.kit.trees import listing, plant

from buildkit.core.errors import AlreadyExists, FailedPrecondition, InvalidInput, NotFound
from buildkit.fs.modes import parse_mode
from buildkit.fs.places import make_directory, make_file, make_link, remove_path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return plant(
        tmp_path / "root", "f", "d/a", "d/b", "link -> f", "dirlink -> d", "out -> ../outside", "dangling -> no"
    )


@pytest.fixture
def fd(root: Path) -> Iterator[int]:
    opened = os.open(root, os.O_RDONLY)
    yield opened
    os.close(opened)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.mark.row("L136", "L130")
def test_directories_are_made_with_their_parents_and_dressed(root: Path, fd: int) -> None:
    make_directory(fd, "/x/y", 0o4711, parents=True, timestamp=9)
    assert (mode(root / "x"), mode(root / "x/y")) == (0o711, 0o711)
    assert ((root / "x").stat().st_mtime_ns, (root / "x/y").stat().st_mtime_ns) == (9, 9)


@pytest.mark.row("L136")
def test_an_existing_directory_is_fine_and_a_missing_parent_is_not(root: Path, fd: int) -> None:
    make_directory(fd, "/d", 0o700, parents=False)
    assert mode(root / "d") != 0o700
    with pytest.raises(NotFound, match="mkdir /no/deep: no such file or directory"):
        make_directory(fd, "/no/deep", 0o755, parents=False)
    with pytest.raises(FailedPrecondition, match="mkdir /f/x: not a directory"):
        make_directory(fd, "/f/x", 0o755, parents=True)


@pytest.mark.row("L142")
def test_directories_are_made_behind_links_inside_the_root_only(root: Path, fd: int) -> None:
    make_directory(fd, "/dirlink/new", 0o755, parents=True)
    make_directory(fd, "/out/new", 0o755, parents=True)
    assert (root / "d/new").is_dir() and (root / "outside/new").is_dir()
    assert not (root.parent / "outside").exists()


@pytest.mark.row("L135")
def test_files_are_written_and_existing_ones_keep_their_mode(root: Path, fd: int) -> None:
    os.chmod(root / "f", 0o600)
    make_file(fd, "/link", 0o4755, b"new", timestamp=7)
    make_file(fd, "/fresh", 0o4755, b"1")
    assert ((root / "f").read_text(), mode(root / "f"), (root / "f").stat().st_mtime_ns) == ("new", 0o600, 7)
    assert mode(root / "fresh") == 0o755


def test_a_file_over_a_directory_is_an_error(fd: int) -> None:
    for path in ("/d", "/"):
        with pytest.raises(FailedPrecondition, match=f"open {path}: is a directory"):
            make_file(fd, path, 0o644, b"")


@pytest.mark.row("L138")
def test_links_are_made_as_told_and_not_over_what_exists(root: Path, fd: int) -> None:
    make_link(fd, "/anywhere/../x", "/d/new", timestamp=3)
    assert os.readlink(root / "d/new") == "/anywhere/../x"
    assert (root / "d/new").lstat().st_mtime_ns == 3
    with pytest.raises(AlreadyExists, match="symlink t /f: file exists"):
        make_link(fd, "t", "/f")


@pytest.mark.row("L137")
def test_removing_takes_links_themselves_and_whole_trees(root: Path, fd: int) -> None:
    for path in ("/link", "/dirlink", "/dangling", "/out"):
        remove_path(fd, path, allow_not_found=False, wildcard=False)
    assert listing(root) == {"d": "d", "d/a": "d/a", "d/b": "d/b", "f": "f"}
    remove_path(fd, "/d", allow_not_found=False, wildcard=False)
    assert listing(root) == {"f": "f"}


@pytest.mark.row("L137")
def test_removing_what_is_not_there_is_named_unless_allowed(fd: int) -> None:
    for path in ("/x", "/x/y", "/f/y"):
        with pytest.raises(NotFound, match=f"stat {path}: no such file or directory"):
            remove_path(fd, path, allow_not_found=False, wildcard=False)
        remove_path(fd, path, allow_not_found=True, wildcard=False)
    with pytest.raises(InvalidInput, match="rmPath: invalid empty path"):
        remove_path(fd, "/", allow_not_found=True, wildcard=False)


@pytest.mark.row("L137", "L125")
def test_wildcards_remove_what_they_match(root: Path, fd: int) -> None:
    remove_path(fd, "/d/*", allow_not_found=False, wildcard=True)
    remove_path(fd, "*link", allow_not_found=False, wildcard=True)
    assert sorted(listing(root)) == ["d", "dangling", "f", "out"]


def test_removing_below_a_link_stays_in_the_root(root: Path, fd: int) -> None:
    outside = plant(root.parent / "outside", "keep")
    remove_path(fd, "/out/keep", allow_not_found=True, wildcard=False)
    assert listing(outside) == {"keep": "keep"}


@pytest.mark.parametrize(
    ("text", "before", "is_dir", "after"),
    [
        ("755", 0o600, False, 0o755),
        ("4755", 0o600, False, 0o4755),
        ("u+x", 0o644, False, 0o744),
        ("go-w", 0o666, False, 0o644),
        ("a=r", 0o4777, False, 0o444),
        ("=", 0o6777, False, 0),
        ("u=rwx,g=rx,o=", 0o644, False, 0o750),
        ("+X", 0o644, False, 0o644),
        ("+X", 0o644, True, 0o755),
        ("+X", 0o744, False, 0o755),
        ("g=u", 0o740, False, 0o770),
        ("o=g-w", 0o660, False, 0o664),
        ("u+s,g+s", 0o755, False, 0o6755),
        ("o+s", 0o755, False, 0o755),
        ("+t", 0o755, True, 0o1755),
        ("u+t", 0o755, True, 0o1755),
        ("u-x+w", 0o555, False, 0o655),
    ],
)
@pytest.mark.row("L130")
def test_modes_are_read_as_chmod_reads_them(text: str, before: int, is_dir: bool, after: int) -> None:
    assert oct(parse_mode(text)(before, is_dir)) == oct(after)


@pytest.mark.parametrize("text", ["", "x", "u", "u+q", "8", "77777", "u+x,", "u!x", "0o7"])
def test_malformed_modes_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="invalid mode"):
        parse_mode(text)
