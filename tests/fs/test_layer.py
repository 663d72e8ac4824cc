from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.kit.trees import digest, layer_of, listing, members, plant, unpack

from buildkit.core.errors import FailedPrecondition
from buildkit.fs import layer
from buildkit.fs.layer import Kind, changes_between, clamp, write_layer
from buildkit.fs.tarwrite import header


def kinds(lower: Path | None, upper: Path) -> list[tuple[str, str]]:
    changes = changes_between(str(lower) if lower else None, str(upper))
    return [(change.kind.value, change.path) for change in changes if change.kind is not Kind.UNCHANGED]


@pytest.mark.row("E57")
def test_one_file_gives_the_diff_id_that_buildkit_gives(tmp_path: Path) -> None:
    upper = plant(tmp_path / "upper", "f.txt")
    (upper / "f.txt").write_text("hello\n")
    os.chmod(upper / "f.txt", 0o644)
    os.utime(upper / "f.txt", (1795211544, 1795211544))
    content = layer_of(upper)
    if os.geteuid() == 0:
        assert digest(content).startswith("sha256:b9fd13fa")
    assert content[329:345] == b"0000000\0" * 2
    assert len(content) == 512 * 4


@pytest.mark.row("E55")
def test_no_change_is_two_empty_blocks(tmp_path: Path) -> None:
    content = layer_of(plant(tmp_path / "a", "x"), tmp_path / "a")
    assert content == bytes(1024)


@pytest.mark.row("E57", "X62")
def test_a_layer_holds_parents_changes_and_whiteouts_in_order(tmp_path: Path) -> None:
    lower = plant(tmp_path / "lower", "a/b/gone", "a/b/same", "dir/x", "dir/y", "z")
    upper = plant(tmp_path / "upper", "a/b/same", "a/b/new", "a-b", "z")
    for path in ("a/b/same", "z"):
        os.utime(lower / path, (5, 5))
        os.utime(upper / path, (5, 5))
    found = members(layer_of(upper, lower))
    assert [member.name for member in found] == ["a", "a/b", "a/b/.wh.gone", "a/b/new", "a-b", ".wh.dir"]
    whiteout = found[2]
    assert (whiteout.size, whiteout.mode, whiteout.mtime, whiteout.type) == (0, 0, 0, tarfile.REGTYPE)


@pytest.mark.row("X62")
def test_a_directory_replaced_by_a_file_is_one_change(tmp_path: Path) -> None:
    lower = plant(tmp_path / "lower", "x/inside/deep", "y")
    upper = plant(tmp_path / "upper", "x", "y/new")
    assert kinds(lower, upper) == [("modify", "x"), ("modify", "y"), ("add", "y/new")]


def test_times_cut_to_seconds_make_contents_be_compared(tmp_path: Path) -> None:
    lower, upper = plant(tmp_path / "lower", "f", "g"), plant(tmp_path / "upper", "f", "g")
    (upper / "f").write_text("F")
    for root in (lower, upper):
        for name in "fg":
            os.utime(root / name, (7, 7))
    assert kinds(lower, upper) == [("modify", "f")]


def test_equal_precise_times_and_sizes_are_believed(tmp_path: Path) -> None:
    lower, upper = plant(tmp_path / "lower", "f"), plant(tmp_path / "upper", "f")
    (upper / "f").write_text("F")
    for root in (lower, upper):
        os.utime(root / "f", ns=(7_000_000_001, 7_000_000_001))
    assert kinds(lower, upper) == []


@pytest.mark.parametrize("target", ["one", "two"])
def test_a_changed_link_target_is_a_change(tmp_path: Path, target: str) -> None:
    lower, upper = plant(tmp_path / "lower", "l -> one"), plant(tmp_path / "upper", f"l -> {target}")
    for root in (lower, upper):
        os.utime(root / "l", (7, 7), follow_symlinks=False)
    assert kinds(lower, upper) == ([] if target == "one" else [("modify", "l")])


@pytest.mark.row("E57")
def test_hard_links_point_to_the_first_name(tmp_path: Path) -> None:
    upper = plant(tmp_path / "upper", "b")
    os.link(upper / "b", upper / "c")
    os.link(upper / "b", upper / "a")
    found = members(layer_of(upper))
    assert [(member.name, member.type, member.linkname) for member in found] == [
        ("a", tarfile.REGTYPE, ""),
        ("b", tarfile.LNKTYPE, "a"),
        ("c", tarfile.LNKTYPE, "a"),
    ]


def test_an_unchanged_name_of_a_file_comes_along_when_another_name_is_new(tmp_path: Path) -> None:
    lower, upper = plant(tmp_path / "lower", "d/old"), plant(tmp_path / "upper", "d/old")
    for root in (lower, upper):
        os.utime(root / "d/old", (7, 7))
    os.link(upper / "d/old", upper / "new")
    assert [member.name for member in members(layer_of(upper, lower))] == ["new", "d", "d/old"]


def test_sockets_are_left_out(tmp_path: Path) -> None:
    import socket

    upper = plant(tmp_path / "upper", "f")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(upper / "s"))
        assert [member.name for member in members(layer_of(upper))] == ["f"]


def test_a_time_policy_sees_paths_and_never_whiteouts(tmp_path: Path) -> None:
    lower, upper = plant(tmp_path / "lower", "gone"), plant(tmp_path / "upper", "d/f")
    assert {member.name: member.mtime for member in members(layer_of(upper, lower, mtime=clamp(1000)))} == {
        "d": 1000,
        "d/f": 1000,
        ".wh.gone": 0,
    }
    stamped = members(layer_of(upper, mtime=lambda path, seconds: len(path)))
    assert [member.mtime for member in stamped] == [1, 3]


def test_blocks_are_large_and_memory_does_not_grow_with_a_file(tmp_path: Path) -> None:
    upper = plant(tmp_path / "upper", "small")
    with open(upper / "large", "wb") as file:
        file.truncate(10 << 20)
    sizes: list[int] = []
    write_layer(changes_between(None, str(upper)), lambda block: sizes.append(len(block)))
    assert all(1 << 18 <= size <= 3 << 20 for size in sizes[:-1])


def test_a_file_that_grows_while_it_is_read_is_noticed(tmp_path: Path) -> None:
    upper = plant(tmp_path / "upper", "f")
    changes = changes_between(None, str(upper))

    def growing():
        for change in changes:
            with open(upper / "f", "a") as file:
                file.write("more")
            yield change

    with pytest.raises(FailedPrecondition, match="f: changed its size"):
        write_layer(growing(), lambda block: None)


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("a" * 100, "ustar"),
        ("a" * 101, "pax"),
        ("d" * 60 + "/" + "f" * 60, "prefix"),
        ("d" * 155 + "/" + "f" * 100, "prefix"),
        ("d" * 156 + "/" + "f" * 100, "pax"),
        ("é", "pax"),
        ("x" * 99 + "/", "ustar"),
        ("x" * 100 + "/", "pax"),
    ],
)
@pytest.mark.row("E57")
def test_long_and_foreign_names_use_the_least_of_a_header(name: str, stored: str) -> None:
    content = header(name, b"5" if name.endswith("/") else b"0") + bytes(1024)
    kind = "pax" if content[156:157] == b"x" else "prefix" if content[345] else "ustar"
    assert kind == stored
    assert members(content)[0].name == name.rstrip("/")


@pytest.mark.parametrize(
    "fields",
    [
        {"uid": 2**21},
        {"gid": 2**32 - 2},
        {"size": 8 << 30},
        {"mtime": -1},
        {"mtime": 8**11},
        {"link": "t" * 101},
        {"link": "zielé"},
    ],
)
def test_numbers_too_large_for_ustar_survive_in_pax(fields: dict) -> None:
    kind = b"2" if "link" in fields else b"0"
    member = members(header("f", kind, **fields) + bytes(1024))[0] if "size" not in fields else None
    if member is None:
        member = tarfile.TarInfo.frombuf(header("f", kind, **fields)[-512:], "utf-8", "strict")
        assert b"size=8589934592\n" in header("f", kind, **fields)
        return
    names = {"link": "linkname"}
    for key, wanted in fields.items():
        assert getattr(member, names.get(key, key)) == wanted


@given(
    st.dictionaries(
        st.lists(st.sampled_from(["a", "b", "c", "long" * 30]), min_size=1, max_size=3).map("/".join),
        st.sampled_from(["file", "other", "link", "dir"]),
        max_size=8,
    ),
    st.dictionaries(
        st.lists(st.sampled_from(["a", "b", "c", "long" * 30]), min_size=1, max_size=3).map("/".join),
        st.sampled_from(["file", "other", "link", "dir"]),
        max_size=8,
    ),
)
def test_applying_a_difference_to_the_lower_tree_gives_the_upper_one(tmp_path_factory, old: dict, new: dict) -> None:
    base = tmp_path_factory.mktemp("trip")
    lower, upper = base / "lower", base / "upper"
    for root, tree in ((lower, old), (upper, new)):
        root.mkdir()
        for path, kind in tree.items():
            place = root / path
            try:
                place.parent.mkdir(parents=True, exist_ok=True)
                if kind == "dir":
                    place.mkdir()
                elif kind == "link":
                    os.symlink("c/elsewhere", place)
                else:
                    place.write_text(kind)
            except OSError:
                continue
    assert unpack(layer_of(upper, lower), lower) == listing(upper)


def test_the_facade_names_what_the_layers_above_use() -> None:
    assert {"apply_layer", "changes_between", "changes_of_upper", "write_layer"} <= set(layer.__all__)
