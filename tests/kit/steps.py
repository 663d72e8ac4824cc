"""Whoever asks an op or a source for something, as a value that remembers what it was told."""

from __future__ import annotations

from buildkit.core.progress import Reporter, StatusUpdate, Update, VertexUpdate
from buildkit.core.values import dataclass, field
from buildkit.session.session import Session


@dataclass
class Op:
    """A source op, as a definition has it."""

    identifier: str
    attrs: dict[str, str] = field(default_factory=dict)


class Asker:
    """A step of a build, asked by some sessions."""

    def __init__(self, *sessions: Session | str) -> None:
        self.updates: list[Update] = []
        self.held: list[object] = []
        self.facts: dict[str, object] = {}
        self.progress = Reporter(VertexUpdate("sha256:" + "0" * 64, "step"), [self])
        self._sessions = tuple(one if isinstance(one, str) else one.id for one in sessions)

    def sessions(self) -> tuple[str, ...]:
        return self._sessions

    def note(self, **facts: object) -> None:
        self.facts |= facts

    def hold(self, result: object) -> None:
        """Nothing is dropped while a test asks."""
        self.held.append(result)

    def write(self, update: Update) -> None:
        """Take progress."""
        self.updates.append(update)

    def done(self) -> list[str]:
        """Ids of the statuses that have completed, in order."""
        return [u.id for u in self.updates if isinstance(u, StatusUpdate) and u.completed]
