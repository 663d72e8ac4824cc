"""A worker: the parts that ops work with."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import TYPE_CHECKING

from buildkit.core.values import dataclass, field
from buildkit.executor.settings import DeviceSettings
from buildkit.session.registry import Sessions
from buildkit.source.source import Sources
from buildkit.store.store import Store
from buildkit.worker.leases import Leases
from buildkit.worker.platforms import Platforms

if TYPE_CHECKING:
    from buildkit.executor.executor import Executor


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """One machine's store, executor and sources. ``parallelism`` bounds the steps that work at once."""

    id: str
    store: Store
    executor: Executor
    sources: Sources
    sessions: Sessions
    leases: Leases
    platforms: Platforms
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    parallelism: asyncio.Semaphore | None = None
    trace_parents: dict[str, str] = field(default_factory=dict[str, str])
    """The spans of clients that steps' spans are children of, by session; see `buildkit.worker.traces`."""
    devices: DeviceSettings = DeviceSettings()
    """Where the devices are described that steps may be given."""

    def turn(self) -> AbstractAsyncContextManager[None]:
        """One of the places for steps at work; waits for it where they are limited."""
        return self.parallelism if self.parallelism is not None else nullcontext()
