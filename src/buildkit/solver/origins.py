"""Where keys and results come from: the local store, and any number of imported ones that open when first needed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar

from buildkit.core.errors import BuildkitError
from buildkit.core.values import dataclass
from buildkit.solver.graph import Results
from buildkit.solver.keys import KeyStore, KeyWriter
from buildkit.solver.work import Mover, Queue, Work, begin

R = TypeVar("R")


class Prober(Protocol):
    """An edge whose keys are looked up."""

    def probe(self) -> None:
        """Look again where that was not done yet."""


@dataclass(frozen=True, slots=True)
class Origin(Generic[R]):
    """A graph of keys and the results that its records name."""

    keys: KeyStore
    results: Results[R]


@dataclass(frozen=True, slots=True)
class Home(Origin[R]):
    """The local origin: everything that is made or loaded is written down here."""

    keys: KeyWriter


class Import(Generic[R]):
    """An imported origin, by the id of where it comes from. Opened once, by whoever needs it first.

    One that cannot be opened counts as empty: a missing cache never fails a build. ``open`` reports its own
    progress and errors.
    """

    def __init__(self, id: str, open: Callable[[], Awaitable[Origin[R]]]) -> None:
        self.id = id
        self.origin: Origin[R] | None = None
        self.settled = False
        self.edges: dict[Prober, None] = {}
        """Edges that are defined, inputs before consumers: probed again when it opens."""
        self._open = open
        self._work: Work[Origin[R]] | None = None

    def opened(self, queue: Queue, edge: Mover) -> bool:
        """Whether it is open, or known not to be openable; if not yet, ``edge`` is moved on when it is."""
        if not self.settled:
            if self._work is None:
                self._work = begin(queue, self._open(), self._opened, self._ended)
            if self._work is not None:
                self._work.join(edge)
        return self.settled

    def _opened(self, origin: Origin[R] | None, error: BaseException | None) -> None:
        if error is not None and not isinstance(error, BuildkitError | OSError):
            raise error
        self.origin = origin
        self.settled = True
        for edge in self.edges:
            edge.probe()
        self.edges.clear()

    def _ended(self) -> None:
        self._work = None
