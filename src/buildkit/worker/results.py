"""Results of the solver as the store keeps them."""

from __future__ import annotations

from buildkit.core.errors import NotFound
from buildkit.store.refs import Ref
from buildkit.store.store import Store

_SCRATCH = "scratch"
"""The name of the empty tree; no ref has it, since names of refs are longer."""


class RefResults:
    """Refs by their ids."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def name(self, result: Ref | None) -> str:
        """See `buildkit.solver.graph.Results`."""
        return result.id if result is not None else _SCRATCH

    async def load(self, name: str) -> Ref | None:
        """The ref; raises `NotFound` when it is gone, or needs blobs that are not here."""
        if name == _SCRATCH:
            return None
        ref = self._store.find_ref(name)
        if ref is None:
            raise NotFound(f"ref {name}: not found")
        return ref

    def exists(self, name: str) -> bool:
        """Whether `load` finds it."""
        return name == _SCRATCH or self._store.find_ref(name) is not None
