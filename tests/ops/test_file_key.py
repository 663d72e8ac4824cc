from __future__ import annotations

import pytest

from buildkit.api import ops as pb
from buildkit.core.errors import InvalidInput
from buildkit.fs.contenthash import Selector
from buildkit.ops import gojson
from buildkit.ops.file_key import distinct, file_key, selected_paths, selectors_of
from buildkit.solver.digests import record_digest

DOCKERFILE_COPY = {
    "dest": "/f.txt",
    "mode": -1,
    "followSymlink": True,
    "dirCopyContents": True,
    "createDestPath": True,
    "allowWildcard": True,
    "allowEmptyWildcard": True,
    "timestamp": -1,
}


def copy(src, *, input=0, secondary=1, output=0, **fields):
    return pb.FileAction(
        input=input,
        secondaryInput=secondary,
        output=output,
        copy=pb.FileActionCopy(src=src, **{"dest": "/d", **fields}),
    )


def key(*actions, count=2):
    return file_key(pb.FileOp(actions=actions), count)


@pytest.mark.row("S5", "L139")
def test_the_key_of_a_copy_is_the_recorded_one():
    found = gojson.digest(key(copy("/f.txt", **DOCKERFILE_COPY)))
    assert found.startswith("sha256:9bf0f9a8") and found.endswith("3d45")
    assert record_digest(found, 0) == "sha256:91d4d26c6dc04298d52ffd84e105b33a55d7aee1862e07c18050f732063b1e5b"


@pytest.mark.row("L139")
@pytest.mark.parametrize(("src", "base"), [("/a/b", "b"), ("a/b/", "b"), ("/", "/"), ("", ".")])
def test_only_the_last_part_of_what_is_copied_is_in_the_key(src, base):
    assert key(copy(src)) == key(copy(base))


@pytest.mark.row("L139")
def test_who_reads_whose_result_is_in_the_key_unless_it_is_usual():
    mkdir = pb.FileActionMkDir(path="/a")
    usual = [pb.FileAction(input=0, secondaryInput=-1, output=-1, mkdir=mkdir), copy("/x", input=2)]
    assert "indexes" not in key(*usual)
    assert key(copy("/x", input=-1))["indexes"] == [[-1, 1, 0]]


@pytest.mark.row("L140")
def test_inputs_that_are_written_on_have_no_selectors():
    assert selectors_of(pb.FileOp(actions=[copy("/x", secondary=0)]), 1) == [None]
    assert selectors_of(pb.FileOp(actions=[copy("/x")]), 2) == [None, [Selector("/x")]]


@pytest.mark.row("L140", "L131")
def test_names_of_owners_are_looked_up_in_an_input():
    owner = pb.ChownOpt(
        user=pb.UserOpt(byName=pb.NamedUserOpt(name="a", input=1)),
        group=pb.UserOpt(byName=pb.NamedUserOpt(name="b", input=1)),
    )
    found = selectors_of(pb.FileOp(actions=[copy("/x", secondary=-1, owner=owner)]), 2)
    assert found == [None, [Selector("/etc/passwd", follow_links=True), Selector("/etc/group", follow_links=True)]]


def test_wildcards_count_only_where_there_are_some():
    found = selectors_of(pb.FileOp(actions=[copy("/x", allowWildcard=True), copy("/*", allowWildcard=True)]), 2)
    assert [selector.wildcard for selector in found[1] or ()] == [False, True]


def test_owners_of_inputs_that_are_not_there_are_refused():
    owner = pb.ChownOpt(user=pb.UserOpt(byName=pb.NamedUserOpt(name="a", input=5)))
    with pytest.raises(InvalidInput, match=r"invalid (user|input) index"):
        selectors_of(pb.FileOp(actions=[copy("/x", owner=owner)]), 2)


@pytest.mark.row("L139", "S34")
def test_selected_paths_stand_backwards_in_the_key():
    assert selected_paths([Selector("/a"), Selector("/c"), Selector("/b")]) == ["/c", "/b", "/a"]


def test_plain_paths_below_others_are_not_digested_twice():
    filtered = Selector("/a/b", include=("x",))
    selectors = [Selector("/a/c"), filtered, Selector("/a"), Selector("/a/d", follow_links=True)]
    assert distinct(selectors) == [Selector("/a"), filtered, Selector("/a/d", follow_links=True)]
