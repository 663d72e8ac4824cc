"""A worker: the parts that ops work with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Protocol

from buildkit.api import ops_pb2 as pb
from buildkit.core.platform import Platform
from buildkit.executor.executor import Executor
from buildkit.session.registry import Sessions
from buildkit.solver.graph import Step
from buildkit.store.lease import Lease
from buildkit.store.refs import Ref
from buildkit.store.store import Store
from buildkit.worker.leases import Leases
from buildkit.worker.platforms import Platforms


class Source(Protocol):
    """Something to begin with; see `buildkit.source`."""

    def keys(self, step: Step) -> AsyncIterator[str]:
        """What identifies it, the cheapest answer first."""

    async def snapshot(self, step: Step, lease: Lease) -> Ref | None:
        """The tree."""

    @property
    def pin(self) -> str:
        """The digest or commit that it was resolved to; "" before that, or when there is none."""


class Sources(Protocol):
    """Opens sources by the scheme of their identifiers."""

    def open(self, op: pb.SourceOp, platform: Platform | None) -> Source:
        """The source that ``op`` names; raises `InvalidInput` or `Unsupported`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """One machine's store, executor and sources. ``parallelism`` bounds the steps that work at once."""

    id: str
    store: Store
    executor: Executor
    sources: Sources
    sessions: Sessions
    leases: Leases
    platforms: Platforms = field(default_factory=Platforms)
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    parallelism: asyncio.Semaphore | None = None

    def turn(self) -> AbstractAsyncContextManager[None]:
        """One of the places for steps at work; waits for it where they are limited."""
        return self.parallelism if self.parallelism is not None else nullcontext()
