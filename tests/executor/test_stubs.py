from __future__ import annotations

import os

import pytest

from buildkit.executor.stubs import missing_places, remove_stubs


@pytest.fixture
def root(tmp_path):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/hosts").touch()
    return tmp_path


def create(root, path):
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).touch()


@pytest.mark.row("X24")
def test_what_was_created_for_mounts_goes_and_what_was_there_stays(root):
    places = missing_places(str(root), ["/c"], recursive=False)
    create(root, "etc/resolv.conf")
    (root / "c").mkdir()
    os.utime(root / "etc", (5, 5))
    remove_stubs(str(root), places)
    assert [p.name for p in root.iterdir()] == ["etc"]
    assert [p.name for p in (root / "etc").iterdir()] == ["hosts"]
    assert (root / "etc").stat().st_mtime == 5


@pytest.mark.row("X24", "L87")
@pytest.mark.parametrize(("recursive", "left"), [(False, ["run"]), (True, [])])
def test_created_parents_go_when_asked(root, recursive, left):
    places = missing_places(str(root), ["/run/secrets/s"], recursive=recursive)
    create(root, "run/secrets/s")
    remove_stubs(str(root), places)
    assert [p.name for p in root.iterdir() if p.name != "etc"] == left


def test_a_place_that_the_process_filled_stays(root):
    places = missing_places(str(root), ["/c", "/f"], recursive=True)
    create(root, "c/x")
    (root / "f").write_text("x")
    remove_stubs(str(root), places)
    assert (root / "c/x").exists() and (root / "f").exists()


def test_a_link_made_meanwhile_leads_nowhere(root, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    (outside / "s").touch()
    places = missing_places(str(root), ["/run/s"], recursive=True)
    (root / "run").symlink_to(outside)
    remove_stubs(str(root), places)
    assert (outside / "s").exists()
