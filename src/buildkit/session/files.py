"""Lending directories of this process's machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from buildkit.core.errors import InvalidInput, NotFound
from buildkit.session.session import LocalTree


class Directories:
    """Named directories, read in place. Raises `InvalidInput` for one that is not a directory."""

    def __init__(self, paths: Mapping[str, str | Path]) -> None:
        self._trees: dict[str, LocalTree] = {}
        for name, path in paths.items():
            place = Path(path).absolute()
            if not place.exists():
                raise InvalidInput(f"local {name}: {path}: no such file or directory")
            if not place.is_dir():
                raise InvalidInput(f"local {name}: {path} is not a directory")
            self._trees[name] = LocalTree(name, place)

    def tree(self, name: str) -> LocalTree:
        """The directory called ``name``; raises `NotFound`."""
        found = self._trees.get(name)
        if found is None:
            raise NotFound(f'no access allowed to dir "{name}"')
        return found
