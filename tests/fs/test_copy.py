from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import resource
import stat
from contextlib import ExitStack
from pathlib import Path

import pytest
import zstandard
from tests.kit.trees import listing, plant, tar_of

from buildkit.core.errors import Canceled, Corrupt, FailedPrecondition, InvalidInput, NotFound
from buildkit.fs import transfer
from buildkit.fs.copy import CopyOptions, copy_tree
from buildkit.fs.removal import remove
from buildkit.fs.tree import walk


def copy(base: Path, source: str, dest: str, **options) -> dict[str, str]:
    """Copy from ``base/src`` to ``base/dst`` as a Dockerfile's COPY does by default, and list the outcome."""
    (base / "dst").mkdir(exist_ok=True)
    given = {"create_dest_path": True, "allow_wildcard": True, "dir_contents": True, "follow_links": True, **options}
    source_fd, dest_fd = os.open(base / "src", os.O_RDONLY), os.open(base / "dst", os.O_RDONLY)
    try:
        copy_tree(source_fd, dest_fd, source, dest, CopyOptions(**given))
    finally:
        os.close(source_fd)
        os.close(dest_fd)
    return listing(base / "dst")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    plant(tmp_path / "src", "f", "d/a", "d/b.go", "d/sub/c.go", "d/link -> a", "toplink -> d", "e/")
    return tmp_path


@pytest.mark.parametrize(
    ("source", "dest", "wanted"),
    [
        ("f", "/f", {"f": "f"}),
        ("f", "/new/", {"new": "d", "new/f": "f"}),
        ("f", "/x/y/g", {"x": "d", "x/y": "d", "x/y/g": "f"}),
        ("d/sub", "/", {"c.go": "d/sub/c.go"}),
        ("d/sub", "/new", {"new": "d", "new/c.go": "d/sub/c.go"}),
        ("d/link", "/got", {"got": "d/a"}),
        ("toplink/sub", "/n", {"n": "d", "n/c.go": "d/sub/c.go"}),
        ("toplink/sub", "/n/m", {"n": "d", "n/m": "d", "n/m/c.go": "d/sub/c.go"}),
        ("d/*.go", "/w/", {"w": "d", "w/b.go": "d/b.go"}),
        ("*/*/*.go", "/w/", {"w": "d", "w/c.go": "d/sub/c.go"}),
        ("[ef]", "/w/", {"w": "d", "w/f": "f"}),
    ],
)  # fmt: skip
@pytest.mark.row("L121", "L122", "L123", "L124", "L125")
def test_sources_land_where_a_dockerfile_expects_them(base: Path, source: str, dest: str, wanted: dict) -> None:
    assert copy(base, source, dest) == wanted


@pytest.mark.row("L123")
def test_a_directory_itself_is_copied_into_an_existing_one(base: Path) -> None:
    plant(base / "dst", "in/")
    assert copy(base, "d/sub", "/in", dir_contents=False) == {"in": "d", "in/sub": "d", "in/sub/c.go": "d/sub/c.go"}


@pytest.mark.row("L122")
def test_a_link_is_copied_as_a_link_unless_followed(base: Path) -> None:
    assert copy(base, "d/link", "/got", follow_links=False) == {"got": "-> a"}


@pytest.mark.row("L125")
def test_a_wildcard_without_matches_is_an_error_unless_allowed(base: Path) -> None:
    with pytest.raises(NotFound, match=r"^/x\* not found$"):
        copy(base, "x*", "/")
    assert copy(base, "x*", "/", allow_empty_wildcard=True) == {}


def test_a_missing_source_is_named(base: Path) -> None:
    with pytest.raises(NotFound, match="lstat /gone/deep: no such file or directory"):
        copy(base, "gone/deep", "/x")


@pytest.mark.row("L124")
def test_a_missing_destination_is_an_error_unless_it_may_be_made(base: Path) -> None:
    with pytest.raises(NotFound, match="failed to stat /no/where"):
        copy(base, "f", "/no/where", create_dest_path=False)


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"include": ["**/*.go"]}, ["b.go", "sub", "sub/c.go"]),
        ({"include": ["sub/*"]}, ["sub", "sub/c.go"]),
        ({"exclude": ["sub"]}, ["a", "b.go", "link"]),
        ({"exclude": ["*", "!sub/c.go"]}, ["sub", "sub/c.go"]),
        ({"include": ["sub/nothing"]}, []),
        ({"include": ["sub"], "exclude": ["**/*.go"]}, ["sub"]),
    ],
)
@pytest.mark.row("L127")
def test_patterns_choose_and_parents_come_only_with_what_they_hold(
    base: Path, options: dict, wanted: list[str]
) -> None:
    assert sorted(copy(base, "d", "/", **options)) == wanted


@pytest.mark.row("L130")
def test_modes_are_set_on_files_directories_and_made_parents(base: Path) -> None:
    copy(base, "d", "/new/x", mode=0o710)
    modes = {
        path: stat.S_IMODE((base / "dst" / path).lstat().st_mode) for path in ("new", "new/x", "new/x/a", "new/x/sub")
    }
    assert set(modes.values()) == {0o710}


@pytest.mark.row("L130")
def test_symbolic_modes_change_what_each_file_has(base: Path) -> None:
    os.chmod(base / "src/d/a", 0o640)
    os.chmod(base / "src/d/sub", 0o700)
    copy(base, "d", "/x", mode_text="go+rX,u-w")
    assert stat.S_IMODE((base / "dst/x/a").stat().st_mode) == 0o444
    assert stat.S_IMODE((base / "dst/x/sub").stat().st_mode) == 0o555


@pytest.mark.row("L132")
def test_times_are_kept_or_set_everywhere(base: Path) -> None:
    for path in ("d", "d/a", "d/sub", "d/sub/c.go"):
        os.utime(base / "src" / path, ns=(5, 6_000_000_007))
    copy(base, "d", "/x")
    assert {(base / "dst/x" / path).stat().st_mtime_ns for path in ("", "a", "sub", "sub/c.go")} == {6_000_000_007}
    copy(base, "d", "/new/y", timestamp=11)
    assert {(base / "dst/new" / path).lstat().st_mtime_ns for path in ("", "y", "y/a", "y/link", "y/sub/c.go")} == {11}


@pytest.mark.row("L133")
def test_kinds_that_do_not_fit_are_errors_with_the_place(base: Path) -> None:
    plant(base / "dst", "f/inside", "sub")
    with pytest.raises(FailedPrecondition, match="cannot replace to directory /f/f with file"):
        plant(base / "dst", "f/f/x")
        copy(base, "f", "/f/")
    plant(base / "dst", "t/sub")
    with pytest.raises(FailedPrecondition, match="cannot copy to non-directory: /t/sub"):
        copy(base, "d", "/t")


@pytest.mark.row("L129")
def test_kinds_that_do_not_fit_are_replaced_when_asked(base: Path) -> None:
    plant(base / "dst", "t/sub", "t/a/inside")
    found = copy(base, "d", "/t", replace=True)
    assert found["t/sub"] == "d" and found["t/a"] == "d/a"


@pytest.mark.row("L134")
def test_hard_links_stay_hard_links(base: Path) -> None:
    os.link(base / "src/d/a", base / "src/d/sub/same")
    copy(base, "d", "/x")
    assert (base / "dst/x/a").stat().st_ino == (base / "dst/x/sub/same").stat().st_ino


@pytest.mark.row("L134")
def test_named_pipes_are_made_again(base: Path) -> None:
    os.mkfifo(base / "src/d/pipe", 0o600)
    copy(base, "d", "/x")
    assert stat.S_ISFIFO((base / "dst/x/pipe").stat().st_mode)


@pytest.mark.parametrize("source", ["/out/secret", "/../outside/secret", "/up/secret"])
@pytest.mark.row("L142")
def test_no_link_or_dots_lead_out_of_the_source(base: Path, source: str) -> None:
    plant(base / "outside", "secret")
    plant(base / "src", f"out -> {base}/outside", "up -> ../outside")
    with pytest.raises(NotFound):
        copy(base, source, "/x")


@pytest.mark.row("L142")
def test_no_link_leads_out_of_the_destination(base: Path) -> None:
    outside = plant(base / "outside", "keep")
    plant(base / "dst", f"out -> {outside}", "up -> ../outside", f"file -> {outside}/keep", "outside/")
    copy(base, "f", "/up/")
    copy(base, "f", "/out/x/")
    copy(base, "f", "/file")
    assert listing(outside) == {"keep": "keep"}
    assert (base / "dst/outside/f").read_text() == "f"


def test_a_directory_does_not_merge_through_a_link_in_the_destination(base: Path) -> None:
    outside = plant(base / "outside", "keep")
    plant(base / "dst", f"t/sub -> {outside}")
    with pytest.raises(FailedPrecondition, match="cannot copy to non-directory: /t/sub"):
        copy(base, "d", "/t")
    assert listing(outside) == {"keep": "keep"}


@pytest.mark.parametrize("fallback", [False, True])
def test_large_files_are_copied_whole(base: Path, monkeypatch: pytest.MonkeyPatch, fallback: bool) -> None:
    if fallback:

        def refuse(*args) -> int:
            raise OSError(18, "cross-device")

        monkeypatch.setattr(transfer.os, "copy_file_range", refuse)
    content = os.urandom(3 << 20)
    (base / "src/big").write_bytes(content)
    copy(base, "big", "/big")
    assert (base / "dst/big").read_bytes() == content


@pytest.mark.parametrize("options", [{}, {"include": ["**/leaf"]}, {"exclude": ["none"]}])
def test_trees_of_any_depth_are_copied_with_few_descriptors(base: Path, options: dict) -> None:
    here = os.open(base / "src/e", os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("dir", 0o750, dir_fd=here)
        below = os.open("dir", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("leaf", os.O_CREAT | os.O_WRONLY, 0o640, dir_fd=here))
    os.close(here)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 200, limits[1]))
    try:
        (base / "dst").mkdir()
        with ExitStack() as scope:
            fds = [os.open(base / name, os.O_RDONLY) for name in ("src", "dst")]
            for fd in fds:
                scope.callback(os.close, fd)
            copy_tree(*fds, "e", "/x", CopyOptions(create_dest_path=True, timestamp=7_000_000_000, **options))
        found = list(walk(str(base / "dst")))
        assert len(found) == 1202 and found[-1].path == "x" + "/dir" * 1200 + "/leaf"
        modes = {"leaf": 0o640, "dir": 0o750, "x": 0o755}
        for entry in found:
            assert stat.S_IMODE(entry.stat.st_mode) == modes[entry.name], entry.path[-20:]
            assert entry.stat.st_mtime_ns == 7_000_000_000, entry.path[-20:]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for name in ("src", "dst"):  # too deep for the clean-up of tests
            fd = os.open(base, os.O_RDONLY)
            remove(name, fd)
            os.close(fd)


def decompress(stream):
    from buildkit.oci.compress import decompress as plain

    return plain(stream)


PACKERS = {
    "tar": bytes,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstandard.compress,
}


@pytest.mark.parametrize("kind", PACKERS)
@pytest.mark.row("L126", "D91")
def test_archives_are_unpacked_whatever_their_compression(base: Path, kind: str) -> None:
    (base / "src/x.tar").write_bytes(PACKERS[kind](tar_of(("in/file", b"1"), (".wh.x", b""))))
    assert copy(base, "x.tar", "/to", unpack=decompress) == {"to": "d", "to/.wh.x": "", "to/in": "d", "to/in/file": "1"}


@pytest.mark.parametrize("content", [b"", b"plain text", gzip.compress(b"no tar"), b"\x1f\x8b\x08broken"], ids=len)
@pytest.mark.row("L126")
def test_what_is_no_archive_is_copied(base: Path, content: bytes) -> None:
    (base / "src/x").write_bytes(content)
    copy(base, "x", "/x", unpack=decompress)
    assert (base / "dst/x").read_bytes() == content


def test_an_archive_cannot_leave_the_destination(base: Path) -> None:
    (base / "src/x.tar").write_bytes(tar_of(("ok", b"1"), ("../escaped", b"2")))
    with pytest.raises(Corrupt, match="leaves its root"):
        copy(base, "x.tar", "/to/", unpack=decompress)
    assert not (base / "dst/escaped").exists()


def test_a_bad_mode_is_named(base: Path) -> None:
    with pytest.raises(InvalidInput, match="invalid mode 'u!x'"):
        copy(base, "f", "/f", mode_text="u!x")


def test_copying_opens_nothing_that_it_leaves_open(base: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    copy(base, "d", "/x")
    (base / "src/x.tar").write_bytes(tar_of(("a", b"1")))
    copy(base, "x.tar", "/y", unpack=decompress)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_stream_can_be_any_readable() -> None:
    assert decompress(io.BytesIO(b"abc")).read(10) == b"abc"


def ending_after(calls: int):
    """A check that ends a copy when it is called for the last time."""
    left = iter(range(calls))

    def check() -> None:
        if next(left, None) is None:
            raise Canceled("context canceled")

    return check


def test_a_copy_ends_between_two_files(base: Path) -> None:
    with pytest.raises(Canceled):
        copy(base, "/", "/", check=ending_after(3))
    assert 0 < len(listing(base / "dst")) < len(listing(base / "src"))


@pytest.mark.parametrize("in_kernel", [True, False])
def test_a_copy_ends_between_two_pieces_of_a_file(base: Path, monkeypatch, in_kernel) -> None:
    monkeypatch.setattr(transfer, "_PIECE", 1 << 16)
    monkeypatch.setattr(transfer, "_CHUNK", 1 << 16)
    if not in_kernel:
        monkeypatch.setattr(transfer, "_copy_in_kernel", lambda source, target, size, check: size)
    (base / "src/big").write_bytes(bytes(1 << 20))
    with pytest.raises(Canceled):
        copy(base, "big", "/", check=ending_after(3))
    assert (base / "dst/big").stat().st_size == 3 << 16
