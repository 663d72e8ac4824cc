"""Lending OCI layouts of this process's machine."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from buildkit.core.digest import Digest
from buildkit.core.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from buildkit.oci.layout import Layout


class Layouts:
    """Layout directories by name. Raises `InvalidInput` for one that is no layout."""

    def __init__(self, paths: Mapping[str, str | Path]) -> None:
        self._layouts: dict[str, Layout] = {}
        for name, path in paths.items():
            if not Path(path, "index.json").is_file():
                raise InvalidInput(f"oci-layout {name}: {path} has no index.json")
            from buildkit.oci.layout import Layout

            self._layouts[name] = Layout(Path(path))

    async def size(self, store: str, digest: Digest) -> int:
        """Bytes of a blob."""
        return await asyncio.to_thread(self._get(store).size, digest)

    async def open(self, store: str, digest: Digest) -> BinaryIO:
        """A blob's bytes."""
        return self._get(store).open(digest)

    def _get(self, store: str) -> Layout:
        found = self._layouts.get(store)
        if found is None:
            raise NotFound(f"oci-layout store {store!r} not found")
        return found
