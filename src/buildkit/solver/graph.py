"""The nouns of the solver: vertices, their outputs (edges), and what an op tells about its cache keys.

The solver is generic in ``R``, the type of a result; in this project ``R`` is ``Ref | None`` (None: scratch).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Generic, Protocol, TypeVar

from buildkit.core.digest import Digest
from buildkit.core.progress import ProgressGroup, Reporter
from buildkit.core.values import dataclass, field

R = TypeVar("R")

CURRENT_COMPATIBILITY = 30
"""BuildKit's compatibility version of today: how ops behave where a later version changed it."""


class Step(Protocol):
    """What a running op may use: its progress, and who is asking for it right now."""

    @property
    def progress(self) -> Reporter:
        """Logs and statuses of this vertex."""

    def sessions(self) -> tuple[str, ...]:
        """Session ids of every job that waits for this vertex, oldest first; may grow while it runs."""

    def compatibility(self) -> int:
        """The compatibility version of the jobs; raises `FailedPrecondition` when they disagree."""

    def limits(self) -> tuple[Any, ...]:
        """What the op may use, as each job said that said it."""

    def note(self, **facts: object) -> None:
        """Add facts to this step's record (key inputs as data, timings, resource use); JSON-able, never secrets."""

    def hold(self, result: Any) -> None:
        """Keep a result as long as the jobs last that wait for this vertex; what `Op.execute` returns is held anyway.

        For an op that makes results under a lease of its own: call it before that lease ends.
        """

    async def build(self, edge: Edge[Any]) -> Any:
        """Solve an edge that is part of this op's own work; raises `InvalidInput` if it leads back to this vertex."""


@dataclass(frozen=True, slots=True)
class CacheInput(Generic[R]):
    """How one input enters the key."""

    selector: Digest = ""
    """Digest of the part of the input that the op looks at; ``""`` for the whole."""
    content: Callable[[R, Step], Awaitable[Digest]] | None = None
    """Digests the input's content (the slow key); None where only the input's own key counts."""


@dataclass(frozen=True, slots=True)
class CacheMap(Generic[R]):
    """One answer of an op to "what identifies you?": its own digest and one entry for each input."""

    digest: Digest
    inputs: tuple[CacheInput[R], ...] = ()


class Op(Protocol[R]):
    """Work with a key. One instance serves every job that shares the vertex."""

    def cache_maps(self, step: Step) -> AsyncIterator[CacheMap[R]]:
        """Cheapest first; only roots (no inputs) give more than one. Each is an alternative key.

        This and `CacheInput.content` run outside of any task until they first suspend, so that what needs no I/O
        costs no task: no `asyncio.timeout` and no `asyncio.TaskGroup` before the first real await.
        """

    async def execute(self, inputs: Sequence[R], step: Step) -> Sequence[R]:
        """Do the work: one result for each output. Cancellation is asyncio's."""


@dataclass(frozen=True, slots=True)
class VertexOptions:
    """What a definition says of a vertex outside of its digest (``pb.OpMetadata``)."""

    ignore_cache: bool = False
    export_cache: bool | None = None
    description: Mapping[str, str] = field(default_factory=dict[str, str])
    group: ProgressGroup | None = None
    limits: Any = None
    """What the op may use in this job; see `Step.limits`."""


@dataclass(frozen=True, slots=True, eq=False)
class Vertex(Generic[R]):
    """A node: what to do, known by the digest of its description."""

    digest: Digest
    name: str
    resolve: Callable[[], Op[R]]
    """Makes the op; called at most once for each shared vertex."""
    inputs: tuple[Edge[R], ...] = ()
    options: VertexOptions = VertexOptions()
    client_digest: Digest = ""
    """The digest in the client's own definition, when loading changed it."""
    turn: Callable[[], AbstractAsyncContextManager[Any]] | None = None
    """What must be held while it executes. Until then it does not show as started."""


@dataclass(frozen=True, slots=True, eq=False)
class Edge(Generic[R]):
    """One output of a vertex."""

    vertex: Vertex[R]
    output: int = 0


class Results(Protocol[R]):
    """Where results live between builds: the solver stores names only."""

    def name(self, result: R) -> str:
        """A name under which `load` finds the result while it exists."""

    async def load(self, name: str) -> R:
        """The result; raises `buildkit.core.errors.NotFound` when it is gone (pruned, or not fetchable)."""

    def exists(self, name: str) -> bool:
        """Whether `load` would find it; cheap and synchronous."""
