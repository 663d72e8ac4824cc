"""What is being executed right now, found by key: equal keys are executed once, whoever asks."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Generic, TypeVar

from buildkit.core.digest import Digest
from buildkit.core.values import dataclass
from buildkit.solver.keys import KeyId
from buildkit.solver.vertex import VertexState

R = TypeVar("R")


@dataclass(frozen=True, slots=True, eq=False)
class Call(Generic[R]):
    """One execution: of which op, on what, for which vertex."""

    state: VertexState[R]
    digests: AbstractSet[Digest]
    """Cache map digests: alternatives for a root, else one."""
    inputs: tuple[AbstractSet[tuple[Digest, KeyId]], ...]
    """For each input its keys, each with the selector under which it counts."""

    def equals(self, other: Call[R]) -> bool:
        """Whether both would give the same: one key in common for the op and for each input."""
        return (
            not self.digests.isdisjoint(other.digests)
            and len(self.inputs) == len(other.inputs)
            and not any(mine.isdisjoint(theirs) for mine, theirs in zip(self.inputs, other.inputs, strict=True))
        )


class Running(Generic[R]):
    """The calls under way."""

    def __init__(self) -> None:
        self._calls: dict[Digest, list[Call[R]]] = {}

    def find(self, call: Call[R]) -> VertexState[R] | None:
        """A vertex that executes an equal call. A forced one serves all; one that is not forced, only its like."""
        for digest in call.digests:
            for other in self._calls.get(digest, ()):
                allowed = other.state.ignoring or not call.state.ignoring
                if allowed and call.equals(other) and not _leads_to(other.state, call.state):
                    return other.state
        return None

    def add(self, call: Call[R]) -> None:
        """The call begins."""
        for digest in call.digests:
            self._calls.setdefault(digest, []).append(call)

    def remove(self, call: Call[R]) -> None:
        """The call ended."""
        for digest in call.digests:
            self._calls[digest].remove(call)
            if not self._calls[digest]:
                del self._calls[digest]


def _leads_to(runner: VertexState[R], state: VertexState[R]) -> bool:
    """Whether ``state`` is part of what the op of ``runner`` builds: waiting for it would never end."""
    seen = {state}
    states = [state]
    for one in states:
        if one is runner:
            return True
        for above in one.above():
            if above not in seen:
                seen.add(above)
                states.append(above)
    return False
