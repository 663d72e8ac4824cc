from __future__ import annotations

import os
from pathlib import Path

from buildkit.store.eraser import Eraser, erase


def deep_tree(path: Path, depth: int) -> Path:
    path.mkdir()
    here = os.open(path, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    return path


def test_trees_deeper_than_any_stack_or_path_are_removed(tmp_path):
    erase(deep_tree(tmp_path / "deep", 3000))
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_there_is_no_error(tmp_path):
    erase(tmp_path / "nothing")
    erase(tmp_path / "nothing" / "below")


def test_everything_is_gone_after_finish(tmp_path):
    eraser = Eraser()
    for name in "abc":
        eraser.erase(deep_tree(tmp_path / name, 50))
    eraser.finish()
    assert list(tmp_path.iterdir()) == [] and not eraser.busy
