from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.kit.trees import plant

from buildkit.core.digest import EMPTY
from buildkit.core.errors import FailedPrecondition, InvalidInput, NotFound
from buildkit.fs import filehash
from buildkit.fs.contenthash import ContentTree, Selector

GOLDEN = json.loads((Path(__file__).parent.parent / "golden" / "contenthash.json").read_text())
ROOT = (0, 0)


def content(root):
    with ContentTree(str(root)) as tree:
        return tree.digest_all([])


def text_digest(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def header(mode: int, kind: str, size: int = 0, link: str = "") -> str:
    return f"namemode{mode}uid0gid0size{size}typeflag{kind}linkname{link}unamegnamedevmajor0devminor0"


def digest(root: Path, path: str = "/", **options) -> str:
    with ContentTree(str(root), owner=ROOT) as tree:
        return tree.digest(Selector(path, **options))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> Path:
    """The tree that the recorded build copied from."""
    root = tmp_path_factory.mktemp("recorded")
    contents = {"d/a.txt": "1", "d/b.go": "2", "d/sub/c.txt": "3", "e/f/g/h.txt": "4", "d.txt": "z", "d-x": "x"}
    plant(root / "ctx", "d/link -> a.txt", "e/dlink -> ../d", "dirlink -> d", "d/empty/", "sp ace/", *contents, "é")
    for path, text in {**contents, "é": "é"}.items():
        (root / "ctx" / path).write_text(text + "\n")
    (root / "ctx/none").touch()
    os.link(root / "ctx/d/a.txt", root / "ctx/d/hard")
    for directory, _, files in os.walk(root):
        os.chmod(directory, 0o755)
        for name in files:
            if not os.path.islink(f"{directory}/{name}"):
                os.chmod(f"{directory}/{name}", 0o644)
    os.chmod(root / "ctx/d/b.go", 0o4755)
    os.chmod(root / "ctx/d/empty", 0o1777)
    return root


@pytest.mark.parametrize(
    "case", GOLDEN["cases"], ids=lambda case: f"{case['path']} {' '.join(case['exclude'])}".strip()
)
@pytest.mark.row("S27", "S28", "S29", "S30", "S32")
def test_digests_equal_those_of_the_real_daemon(recorded: Path, case: dict) -> None:
    wildcard = any(char in case["path"] for char in "*?[")
    selector = Selector(case["path"], wildcard=wildcard, follow_links=True, exclude=tuple(case["exclude"]))
    with ContentTree(str(recorded), owner=ROOT) as tree:
        assert tree.digest_all([selector]) == case["digest"]


@pytest.mark.row("S6", "S28")
def test_one_selector_is_a_list_of_one(tmp_path: Path) -> None:
    (plant(tmp_path, "f.txt") / "f.txt").write_text("hello\n")
    os.chmod(tmp_path / "f.txt", 0o644)
    with ContentTree(str(tmp_path), owner=ROOT) as tree:
        assert tree.digest(Selector("/f.txt")) == text_digest(header(420, "0", 6) + "hello\n")
        listed = tree.digest_all([Selector("/f.txt")])
    assert listed == "sha256:286f4db492f491f7b3f357be9b60a4964ab5322915dda76c7810107aa9e116c3"


@pytest.mark.row("S27")
def test_a_directory_is_its_header_and_its_names_with_their_digests(tmp_path: Path) -> None:
    plant(tmp_path, "d/a/x", "d/a-b")
    for path, mode in (("d", 0o750), ("d/a", 0o755), ("d/a/x", 0o600), ("d/a-b", 0o644)):
        os.chmod(tmp_path / path, mode)
    x = text_digest(header(0o600, "0", 5) + "d/a/x")
    inner = text_digest(f"\0{text_digest(header(0o755, '5'))}\0x{x}")
    dashed = text_digest(header(0o644, "0", 5) + "d/a-b")
    assert digest(tmp_path, "/d") == text_digest(f"\0{text_digest(header(0o750, '5'))}\0a{inner}\0a-b{dashed}")


@pytest.mark.row("S27")
def test_times_do_not_count_and_modes_do(tmp_path: Path) -> None:
    plant(tmp_path, "d/f")
    before = digest(tmp_path)
    os.utime(tmp_path / "d/f", (1, 1))
    assert digest(tmp_path) == before
    os.chmod(tmp_path / "d/f", 0o600)
    assert digest(tmp_path) != before


@pytest.mark.row("S32")
def test_a_link_counts_by_its_target_text_unless_followed(tmp_path: Path) -> None:
    plant(tmp_path, "f", "l -> f", "d/up -> ../f", "loop -> loop")
    assert digest(tmp_path, "/l") == text_digest(header(0o777, "2", 0, "f"))
    assert digest(tmp_path, "/l", follow_links=True) == digest(tmp_path, "/f")
    assert digest(tmp_path, "/d/up", follow_links=True) == digest(tmp_path, "/f")
    with pytest.raises(FailedPrecondition, match="too many links"):
        digest(tmp_path, "/loop", follow_links=True)


@pytest.mark.row("S31")
def test_a_missing_path_is_not_found_in_quotes(tmp_path: Path) -> None:
    plant(tmp_path, "d/f")
    for path in ("/x", "/d/x", "/d/f/x"):
        with pytest.raises(NotFound, match=f'^"{path}": not found$'):
            digest(tmp_path, path)


@pytest.mark.row("S29")
def test_a_wildcard_that_matches_nothing_is_the_empty_digest(tmp_path: Path) -> None:
    assert digest(plant(tmp_path, "f"), "/x*", wildcard=True) == EMPTY


@pytest.mark.row("S29")
def test_links_and_dots_never_lead_out_of_the_tree(tmp_path: Path) -> None:
    plant(tmp_path, "root/f", "f")
    (tmp_path / "f").write_text("outside")
    os.symlink("../f", tmp_path / "root/l")
    assert digest(tmp_path / "root", "/l", follow_links=True) == digest(tmp_path / "root", "/f")
    assert digest(tmp_path / "root", "/../f") == digest(tmp_path / "root", "/f")


@pytest.mark.row("L128")
def test_a_required_path_that_is_not_selected_is_named(tmp_path: Path) -> None:
    plant(tmp_path, "d/f")
    assert digest(tmp_path, "/d", include=("f",), required=("/d/f",))
    with pytest.raises(NotFound, match='"/d/g": not found'):
        digest(tmp_path, "/d", include=("f",), required=("/d/g",))


@pytest.mark.row("S30")
def test_only_what_is_included_counts(tmp_path: Path) -> None:
    plant(tmp_path, "d/a", "d/b", "d/e/a")
    before = digest(tmp_path, "/d", include=("a", "e/a"))
    (tmp_path / "d/b").write_text("changed")
    assert digest(tmp_path, "/d", include=("a", "e/a")) == before
    (tmp_path / "d/e/a").write_text("changed")
    assert digest(tmp_path, "/d", include=("a", "e/a")) != before


def test_a_bad_pattern_is_named_with_its_list(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"invalid excludepatterns: \[\[\]: syntax error"):
        digest(plant(tmp_path, "f"), exclude=("[",))


def test_a_selected_tree_hashes_as_if_the_rest_were_not_there(tmp_path: Path) -> None:
    full, part = plant(tmp_path / "full", "a/x", "a/y", "b"), plant(tmp_path / "part", "a/x")
    for root in (full, part):
        (root / "a/x").write_text("same")
    with ContentTree(str(full), owner=ROOT, exclude=["**/y", "b"]) as tree:
        assert tree.digest(Selector()) == digest(part)


def test_each_file_is_read_once_per_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(tmp_path, "d/a", "d/e/b", "c")
    reads = []
    real = filehash._read
    monkeypatch.setattr(filehash, "_read", lambda fd, name, *rest: reads.append(name) or real(fd, name, *rest))
    with ContentTree(str(tmp_path)) as tree:
        tree.digest(Selector("/d/e"))
        assert reads == ["b"]
        tree.digest(Selector("/"))
        tree.digest(Selector("/*", wildcard=True))
    assert sorted(reads) == ["a", "b", "c"]


class Remembered:
    """A memory that is not kept anywhere."""

    def __init__(self) -> None:
        self.digests: dict[tuple[int, ...], str] = {}
        self.get = self.digests.get
        self.put = self.digests.__setitem__

    def save(self) -> None:
        """There is nothing to do."""


def test_a_memory_spares_reading_settled_files_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(tmp_path, "f")
    memory = Remembered()
    with ContentTree(str(tmp_path), memory=memory) as tree:
        first = tree.digest(Selector("/f"))
    assert memory.digests == {}
    monkeypatch.setattr(filehash, "_SETTLED", -1)
    with ContentTree(str(tmp_path), memory=memory) as tree:
        tree.digest(Selector("/f"))
    monkeypatch.setattr(filehash, "_read", lambda *args: pytest.fail("read again"))
    with ContentTree(str(tmp_path), memory=memory) as tree:
        assert tree.digest(Selector("/f")) == first
    assert len(memory.digests) == 1


def test_a_file_that_changes_after_it_was_listed_is_noticed(tmp_path: Path) -> None:
    plant(tmp_path, "d/f", "d/g")
    with ContentTree(str(tmp_path)) as tree:
        tree.digest(Selector("/d/g"))
        (tmp_path / "d/f").write_text("longer than before")
        with pytest.raises(FailedPrecondition, match="/d/f: changed while it was read"):
            tree.digest(Selector("/d"))


def test_deep_trees_are_hashed_without_recursion(tmp_path: Path) -> None:
    deep = tmp_path
    for _ in range(300):
        deep = deep / "d"
    deep.mkdir(parents=True)
    assert digest(tmp_path).startswith("sha256:")


@given(st.dictionaries(st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map("/".join), st.text(max_size=3)))
def test_equal_trees_have_equal_digests_and_different_ones_differ(tmp_path_factory, tree: dict[str, str]) -> None:
    roots = []
    for name in ("one", "two"):
        root = tmp_path_factory.mktemp(name)
        for path in sorted(tree) if name == "one" else sorted(tree, reverse=True):
            try:
                plant(root, path)
                (root / path).write_text(tree[path])
            except OSError:
                (root / path).exists()
        roots.append(root)
    from tests.kit.trees import listing

    same = listing(roots[0]) == listing(roots[1])
    assert (content(roots[0]) == content(roots[1])) is same
