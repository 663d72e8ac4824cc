from __future__ import annotations

import io
import os
import stat
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.kit.trees import layer_of, listing, plant, tar_of, unpack

from buildkit.core.errors import BuildkitError, Corrupt, Exhausted, PermissionDenied, Unsupported
from buildkit.fs.layer import apply_layer


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    return plant(tmp_path / "outside", "secret")


def member(name: str, **fields) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    for key, value in fields.items():
        setattr(made, key, value)
    return made


@pytest.mark.parametrize("name", ["../escaped", "a/../../escaped", "/../escaped", ".."])
def test_a_name_that_climbs_out_of_the_root_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(Corrupt, match="leaves its root"):
        unpack(tar_of((name, b"x")), tmp_path / "root")
    assert not (tmp_path / "escaped").exists()


def test_an_absolute_name_is_taken_relative_to_the_root(tmp_path: Path) -> None:
    assert unpack(tar_of(("/etc/passwd", b"x")), tmp_path / "root") == {"etc": "d", "etc/passwd": "x"}


@pytest.mark.parametrize("climb", ["", "..", "../../../../../.."])
def test_a_link_out_of_the_root_followed_by_a_file_below_it_stays_inside(
    tmp_path: Path, outside: Path, climb: str
) -> None:
    content = tar_of(("evil", f"-> {climb}{outside}"), ("evil/secret", b"overwritten"))
    found = unpack(content, tmp_path / "root")
    assert found[f"{outside}/secret".lstrip("/")] == "overwritten"
    assert (outside / "secret").read_text() == "secret"


def test_a_directory_that_a_link_points_to_is_made_when_something_comes_below_it(tmp_path: Path) -> None:
    content = tar_of(("var/", b""), ("var/run", "-> ../run"), ("var/run/lock/pid", b"1"))
    assert unpack(content, tmp_path / "root")["run/lock/pid"] == "1"


def test_a_loop_of_links_above_a_file_is_refused(tmp_path: Path) -> None:
    content = tar_of(("a", "-> b"), ("b", "-> a"), ("a/f", b"x"))
    with pytest.raises(Corrupt, match="a/f: cannot unpack"):
        unpack(content, tmp_path / "root")


def test_a_link_inside_the_root_is_followed_on_the_way(tmp_path: Path) -> None:
    content = tar_of(("usr/bin/", b""), ("bin", "-> /usr/bin"), ("bin/sh", b"x"))
    assert unpack(content, tmp_path / "root")["usr/bin/sh"] == "x"


def test_a_directory_swapped_for_a_link_in_the_archive_is_not_written_through(tmp_path: Path, outside: Path) -> None:
    content = tar_of(("d/", b""), ("d/a", b"1"), ("d", f"-> {outside}"), ("d/secret", b"2"))
    found = unpack(content, tmp_path / "root")
    assert found[f"{outside}/secret".lstrip("/")] == "2"
    assert listing(outside) == {"secret": "secret"}


def test_a_file_over_a_link_replaces_the_link(tmp_path: Path, outside: Path) -> None:
    content = tar_of(("f", f"-> {outside}/secret"), ("f", b"mine"))
    assert unpack(content, tmp_path / "root") == {"f": "mine"}
    assert (outside / "secret").read_text() == "secret"


def test_a_directory_over_a_link_replaces_the_link(tmp_path: Path, outside: Path) -> None:
    os.chmod(outside, 0o700)
    assert unpack(tar_of(("d", f"-> {outside}"), ("d/", b"")), tmp_path / "root") == {"d": "d"}
    assert stat.S_IMODE(outside.stat().st_mode) == 0o700


@pytest.mark.parametrize("target", ["../outside/secret", "/../outside/secret", "evil/secret"])
def test_a_hard_link_cannot_reach_outside(tmp_path: Path, outside: Path, target: str) -> None:
    with pytest.raises(Corrupt):
        unpack(tar_of(("evil", "-> ../outside"), ("h", f"= {target}")), tmp_path / "root")
    assert (outside / "secret").stat().st_nlink == 1


def test_a_hard_link_to_a_symlink_links_the_symlink(tmp_path: Path, outside: Path) -> None:
    content = tar_of(("l", f"-> {outside}/secret"), ("h", "= l"))
    assert unpack(content, tmp_path / "root")["h"] == f"-> {outside}/secret"
    assert (outside / "secret").stat().st_nlink == 1


@pytest.mark.parametrize("target", ["missing", "missing/deep", "d", ""])
def test_a_hard_link_to_nothing_or_to_a_directory_is_refused_by_name(tmp_path: Path, target: str) -> None:
    with pytest.raises(Corrupt, match="h: hard link to"):
        unpack(tar_of(("d/", b""), ("h", f"= {target}")), tmp_path / "root")


def test_hard_links_share_one_inode(tmp_path: Path) -> None:
    unpack(tar_of(("a", b"x"), ("b", "= a")), tmp_path / "root")
    assert (tmp_path / "root/a").stat().st_ino == (tmp_path / "root/b").stat().st_ino


@pytest.mark.parametrize("name", [".wh...", ".wh..", "d/.wh...", ".wh."])
def test_a_whiteout_of_dots_is_refused(tmp_path: Path, name: str) -> None:
    plant(tmp_path / "root", "keep", "d/keep")
    with pytest.raises(Corrupt, match="invalid whiteout name"):
        unpack(tar_of((name, b"")), tmp_path / "root")
    assert (tmp_path / "root/keep").exists()


def test_a_whiteout_below_a_link_deletes_inside_only(tmp_path: Path, outside: Path) -> None:
    root = plant(tmp_path / "root", "evil -> ../outside", "outside/secret")
    unpack(tar_of(("evil/.wh.secret", b"")), root)
    assert (outside / "secret").exists() and not (root / "outside/secret").exists()


def test_a_whiteout_of_a_link_deletes_the_link(tmp_path: Path, outside: Path) -> None:
    root = plant(tmp_path / "root", f"l -> {outside}")
    assert unpack(tar_of((".wh.l", b"")), root) == {}
    assert listing(outside) == {"secret": "secret"}


@pytest.mark.row("X63")
def test_whiteouts_delete_trees_and_opaque_spares_what_the_layer_brought(tmp_path: Path) -> None:
    root = plant(tmp_path / "root", "gone/a/b", "o/old", "o/in/old", "stays")
    content = tar_of((".wh.gone", b""), ("o/in/", b""), ("o/in/new", b"n"), ("o/.wh..wh..opq", b""), ("o/later", b"l"))
    assert unpack(content, root) == {"o": "d", "o/in": "d", "o/in/new": "n", "o/later": "l", "stays": "stays"}


def test_whiteouts_can_be_taken_as_files(tmp_path: Path) -> None:
    assert unpack(tar_of((".wh.a", b"")), tmp_path / "root", whiteouts="none") == {".wh.a": ""}


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_of_every_format_are_read(tmp_path: Path, format: int) -> None:
    name = "/".join(["d" * 50] * 3) + "/f" if format == tarfile.USTAR_FORMAT else "/".join(["d" * 150] * 3)
    assert unpack(tar_of((name, b"x"), format=format), tmp_path / "root")[name] == "x"


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_link_targets_of_both_formats_are_read(tmp_path: Path, format: int) -> None:
    content = tar_of(("l", "-> " + "t" * 300), format=format)
    assert unpack(content, tmp_path / "root") == {"l": "-> " + "t" * 300}


def test_modes_times_and_sizes_are_those_of_the_archive(tmp_path: Path) -> None:
    entries = [
        member("d", type=tarfile.DIRTYPE, mode=0o1751, mtime=100, uid=os.geteuid(), gid=os.getegid()),
        member("d/f", mode=0o640, mtime=200.5, size=3000, uid=os.geteuid(), gid=os.getegid()),
    ]
    unpack(tar_of(*entries), tmp_path / "root")
    directory, file = (tmp_path / "root/d").stat(), (tmp_path / "root/d/f").stat()
    assert (stat.S_IMODE(directory.st_mode), directory.st_mtime) == (0o1751, 100)
    assert (stat.S_IMODE(file.st_mode), file.st_mtime, file.st_size) == (0o640, 200.5, 3000)


def test_directories_keep_their_time_when_they_come_after_their_content(tmp_path: Path) -> None:
    mine = {"uid": os.geteuid(), "gid": os.getegid()}
    unpack(tar_of(("d/f", b"x"), member("d", type=tarfile.DIRTYPE, mode=0o755, mtime=9, **mine)), tmp_path / "root")
    assert (tmp_path / "root/d").stat().st_mtime == 9


def test_missing_parents_get_the_status_that_the_caller_knows(tmp_path: Path) -> None:
    known = plant(tmp_path / "known", "d/")
    os.chmod(known / "d", 0o710)
    unpack(
        tar_of(("d/e/f", b"x")),
        tmp_path / "root",
        parent_status=lambda path: os.stat(known / path) if path == "d" else None,
    )
    assert stat.S_IMODE((tmp_path / "root/d").stat().st_mode) == 0o710
    assert stat.S_IMODE((tmp_path / "root/d/e").stat().st_mode) == 0o755


@pytest.mark.parametrize("cut", [100, 512, 600, 1024, 1100])
def test_a_truncated_archive_is_refused(tmp_path: Path, cut: int) -> None:
    content = tar_of(("f", b"x" * 700), ("g", b"y" * 700))
    with pytest.raises(Corrupt, match="truncated"):
        unpack(content[:cut], tmp_path / "root")


def test_an_archive_without_an_end_mark_is_read(tmp_path: Path) -> None:
    assert unpack(tar_of(("f", b"x"))[:1024], tmp_path / "root") == {"f": "x"}


@pytest.mark.parametrize("cut", [513, 600, 1023])
def test_the_last_file_of_an_archive_may_lack_what_fills_its_block(tmp_path: Path, cut: int) -> None:
    assert unpack(tar_of(("f", b"x"))[:cut], tmp_path / "root") == {"f": "x"}


def test_a_damaged_header_is_refused(tmp_path: Path) -> None:
    content = bytearray(tar_of(("f", b"x")))
    content[0] ^= 1
    with pytest.raises(Corrupt, match="checksum"):
        unpack(bytes(content), tmp_path / "root")


def test_a_huge_pax_header_is_refused_before_it_is_read(tmp_path: Path) -> None:
    block = member("x", type=tarfile.XHDTYPE, size=1 << 32).tobuf(tarfile.GNU_FORMAT)
    with pytest.raises(Corrupt, match="extended header of 4294967296 bytes"):
        unpack(block, tmp_path / "root")


@pytest.mark.parametrize("text", [b"99 path=x\n", b"0 path=x\n", b"path=x\n", b"9 path=xx", b"-5 a=b\n", b"8 apath\n"])
def test_malformed_pax_records_are_refused(tmp_path: Path, text: bytes) -> None:
    block = member("x", type=tarfile.XHDTYPE, size=len(text)).tobuf()
    with pytest.raises(Corrupt, match=r"PAX|number"):
        unpack(block + text.ljust(512, b"\0") + tar_of(("f", b"x")), tmp_path / "root")


def test_sparse_members_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="holes: sparse"):
        unpack(member("holes", type=tarfile.GNUTYPE_SPARSE).tobuf(), tmp_path / "root")


def test_unknown_member_types_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="volume: archive member of type b'V'"):
        unpack(member("volume", type=b"V").tobuf(), tmp_path / "root")


def test_limits_on_bytes_and_entries_hold(tmp_path: Path) -> None:
    content = tar_of(("a", b"x" * 600), ("b", b"x" * 600))
    with pytest.raises(Exhausted, match="b: archive unpacks to more than 1000 bytes"):
        unpack(content, tmp_path / "root", most_bytes=1000)
    with pytest.raises(Exhausted, match="more than 1 entries"):
        unpack(content, tmp_path / "root2", most_entries=1)


def test_a_device_without_permission_is_refused_by_name_or_left_out(tmp_path: Path, monkeypatch) -> None:
    def refuse(*args, **kwargs) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "mknod", refuse)
    content = tar_of(member("dev/null", type=tarfile.CHRTYPE, devmajor=1, devminor=3))
    with pytest.raises(PermissionDenied, match="dev/null: cannot unpack: Operation not permitted"):
        unpack(content, tmp_path / "root")
    assert unpack(content, tmp_path / "root2", skip_devices=True) == {"dev": "d"}


def test_attributes_that_steer_overlayfs_are_not_taken_from_archives(tmp_path: Path) -> None:
    entry = member("d", type=tarfile.DIRTYPE, mode=0o755)
    entry.pax_headers = {"SCHILY.xattr.user.overlay.opaque": "y", "SCHILY.xattr.user.mine": "1"}
    unpack(tar_of(entry), tmp_path / "root")
    assert "user.overlay.opaque" not in os.listxattr(tmp_path / "root/d")


def test_deep_trees_are_replaced_without_running_out_of_anything(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    here = os.open(root, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    assert unpack(tar_of(("d", b"flat")), root) == {"d": "flat"}


def test_the_stream_is_read_to_its_end_for_who_digests_it(tmp_path: Path) -> None:
    stream = io.BytesIO(tar_of(("f", b"x")) + bytes(10240))
    apply_layer(stream, str(tmp_path))
    assert stream.read() == b""


def test_a_stream_of_single_bytes_gives_the_same(tmp_path: Path) -> None:
    class Dripping(io.BytesIO):
        def read(self, size: int = -1) -> bytes:
            return super().read(min(size, 1))

    (tmp_path / "root").mkdir()
    apply_layer(Dripping(tar_of(("a/" + "b" * 200, b"x" * 1000))), str(tmp_path / "root"))
    assert listing(tmp_path / "root")["a/" + "b" * 200] == "x" * 1000


@given(st.binary(max_size=2048), st.integers(0, 1500))
def test_damaged_archives_never_escape_or_crash(tmp_path_factory, noise: bytes, place: int) -> None:
    base = tmp_path_factory.mktemp("fuzz")
    content = bytearray(tar_of(("a/b", b"x" * 600), ("l", "-> a"), ("h", "= a/b")))
    content[place : place + len(noise)] = noise
    try:
        unpack(bytes(content), base / "root")
    except BuildkitError:
        pass
    assert os.listdir(base) == ["root"]


def test_what_was_written_is_unpacked_the_same(tmp_path: Path) -> None:
    upper = plant(tmp_path / "upper", "a/b/c", "l -> a", "é", "n" * 120)
    assert unpack(layer_of(upper), tmp_path / "root") == listing(upper)


@pytest.mark.parametrize("key", ["path", "linkpath"])
def test_a_name_with_a_zero_byte_is_refused(tmp_path, key):
    member = tarfile.TarInfo("x")
    member.type, member.linkname = tarfile.SYMTYPE, "y"
    member.pax_headers = {key: "a\0b"}
    with pytest.raises(Corrupt, match="a name with a NUL byte"):
        unpack(tar_of(member), tmp_path / "root")


@pytest.mark.parametrize("number", [-1, 2**32 - 1, 2**40])
def test_an_owner_that_no_system_takes_is_refused(tmp_path, number):
    member = tarfile.TarInfo("x")
    member.pax_headers = {"uid": str(number)}
    with pytest.raises(Corrupt, match=f"owner number {number}"):
        unpack(tar_of(member), tmp_path / "root")
