"""Results of the solver as refs of the store, by name."""

from __future__ import annotations

from buildkit.core.errors import NotFound
from buildkit.core.values import dataclass
from buildkit.store.refs import Ref
from buildkit.store.store import Store

SCRATCH = "scratch"
"""The name of the empty tree, which is no ref."""


@dataclass(frozen=True, slots=True)
class RefResults:
    """`buildkit.solver.graph.Results` over the store."""

    store: Store

    def name(self, result: Ref | None) -> str:
        """The ref's id."""
        return SCRATCH if result is None else result.id

    async def load(self, name: str) -> Ref | None:
        """The ref, if it is still there with all that it needs."""
        if name == SCRATCH:
            return None
        ref = self.store.find_ref(name)
        if ref is None:
            raise NotFound(f"ref {name} is gone")
        return ref

    def exists(self, name: str) -> bool:
        """Whether `load` would find it."""
        return name == SCRATCH or self.store.find_ref(name) is not None
