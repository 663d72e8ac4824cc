"""Trees as dictionaries, and what merging and comparing them means, said in the most naive way."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TypeAlias

Tree: TypeAlias = dict[str, str]
"""Content by path; ``DIR`` for directories."""
DIR = "<dir>"


def read_tree(root: Path) -> Tree:
    return {str(p.relative_to(root)): DIR if p.is_dir() else p.read_text() for p in root.rglob("*")}


def put(tree: Tree, path: str, content: str) -> None:
    """A directory stays one where a directory is put; all else is replaced."""
    parent = path.rpartition("/")[0]
    if parent and tree.get(parent) != DIR:
        put(tree, parent, DIR)
    if not (content == DIR and tree.get(path) == DIR):
        remove(tree, path)
        tree[path] = content


def remove(tree: Tree, path: str) -> None:
    for name in [name for name in tree if name == path or name.startswith(path + "/")]:
        del tree[name]


def applied(target: Tree, lower: Tree, upper: Tree) -> Tree:
    """The target with what changed from lower to upper."""
    out = dict(target)
    for path in sorted(lower):
        parent = path.rpartition("/")[0]
        if path not in upper and (not parent or upper.get(parent) == DIR):
            if parent:
                put(out, parent, DIR)
            remove(out, path)
    for path in sorted(upper):
        if lower.get(path) != upper[path]:
            put(out, path, upper[path])
    return out


def play(root: Path, tree: Tree, deeds: list[tuple[str, str]]) -> None:
    """Do the same to a real tree and to a model: ``(path, content)`` writes, ``(path, "")`` removes."""
    for path, content in deeds:
        place = root / path
        if not content:
            if place.is_dir():
                shutil.rmtree(place)
            elif path in tree:
                place.unlink()
            remove(tree, path)
            continue
        for ancestor in reversed(place.relative_to(root).parents[:-1]):
            if (root / ancestor).is_file():
                (root / ancestor).unlink()
        if place.is_dir():
            shutil.rmtree(place)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(content)
        put(tree, path, content)
