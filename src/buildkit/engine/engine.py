"""Wire the parts into one engine: for a client with no daemon, and for the daemon."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from buildkit.core.db import Database
from buildkit.core.platform import Platform
from buildkit.core.progress import Stream
from buildkit.core.values import dataclass, field
from buildkit.engine.lock import root_lock
from buildkit.engine.results import RefResults
from buildkit.engine.sources import open_sources
from buildkit.executor.later import LaterExecutor
from buildkit.executor.network import resolve_mode
from buildkit.executor.settings import DeviceSettings, Settings
from buildkit.frontend.frontend import Frontend
from buildkit.frontend.remembered import Remembered
from buildkit.oci.hosts import HostConfig
from buildkit.oci.registry import Registry
from buildkit.session.registry import Sessions
from buildkit.solve.request import SolveRequest, SolveResponse
from buildkit.solve.solve import Builder, Explained
from buildkit.solver.job import Solver
from buildkit.solver.keydb import DatabaseKeys
from buildkit.solver.record import StepRecords
from buildkit.source.answers import Answers
from buildkit.source.image import Images
from buildkit.source.pull import Pulls
from buildkit.store.recovery import worker_id
from buildkit.store.refs import Ref
from buildkit.store.store import Store
from buildkit.worker.leases import Leases
from buildkit.worker.platforms import Platforms, runs_here
from buildkit.worker.worker import Worker

if TYPE_CHECKING:
    from buildkit.store.gc import PrunePolicy, Usage

_PACKAGE = Path(__file__).parent.parent
_DOCKERFILE_CODE = tuple(str(_PACKAGE / name) for name in ("core", "llb", "frontend", "frontend/dockerfile"))


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """How an engine is put together. ``root`` is its state folder, made if it is not there."""

    root: Path
    snapshotter: str = "auto"
    registries: Mapping[str, HostConfig] = field(default_factory=dict[str, HostConfig])
    max_parallelism: int | None = 0
    """Steps that run at once; 0 is as many as there are processors, None without limit."""
    platforms: tuple[Platform, ...] = ()
    """Where steps can run, the default first; () is what this machine can do."""
    executor: Settings = field(default_factory=Settings)
    """How steps are run: their network, name service, control groups, runtime."""
    devices: DeviceSettings = DeviceSettings()
    """Where the devices are described that steps may be given."""
    entitlements: frozenset[str] = frozenset()
    """What builds may be granted."""
    last: bool = False
    """Whether the process ends with the engine: the database is then left as it is, with no wait for the disk."""
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    """What the worker says of itself, beyond what it knows."""
    without_frontends: frozenset[str] = frozenset()
    """Frontends that are switched off."""
    environment: Mapping[str, object] = field(default_factory=dict[str, object])
    """What the provenance of every build says of this place."""


@dataclass(frozen=True, slots=True)
class Engine:
    """An open engine. Builds run at once and share their work."""

    config: EngineConfig
    db: Database
    store: Store
    sessions: Sessions
    builder: Builder
    executor: LaterExecutor

    async def prepare(self) -> None:
        """Make ready what the first step that runs a process would wait for; see `LaterExecutor.prepare`."""
        await self.executor.prepare()

    async def prune(self, *policies: PrunePolicy) -> AsyncIterator[Usage]:
        """Remove what the policies let go, and give each record that went; then forget the keys that led there."""
        pruned = False
        async for usage in self.store.prune(*policies):
            pruned = True
            yield usage
        if pruned:
            await self.builder.solver.forget_lost()

    async def solve(
        self,
        request: SolveRequest,
        progress: Stream,
        *,
        driver: Frontend | None = None,
        explained: Explained | None = None,
    ) -> SolveResponse:
        """Run one build; see `buildkit.solve.solve.Builder.solve`."""
        return await self.builder.solve(request, progress, driver=driver, explained=explained)


@asynccontextmanager
async def open_engine(
    config: EngineConfig, *, waiting: Callable[[str], None] = lambda holder: None
) -> AsyncIterator[Engine]:
    """An engine on its state folder, for as long as the scope lasts; ``waiting`` hears who holds the folder now."""
    resolve_mode(config.executor.network)
    config.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    async with root_lock(config.root, waiting):
        db = Database(config.root / "buildkit.db")
        try:
            store = Store.open(config.root, db, snapshotter=config.snapshotter)
            try:
                with closing(LaterExecutor(config.root / "executor", config.executor)) as executor:
                    yield _assemble(config, db, store, executor)
            finally:
                await store.close()
        finally:
            if config.last:
                db.leave()
            else:
                db.close()


def _assemble(config: EngineConfig, db: Database, store: Store, executor: LaterExecutor) -> Engine:
    sessions = Sessions()
    registry = Registry(config.registries)
    answers, pulls = Answers(db), Pulls()
    images = Images(registry, sessions, store, answers, pulls)
    limit = config.max_parallelism
    parallelism = None if limit is None else asyncio.Semaphore(limit or os.cpu_count() or 1)
    worker = Worker(
        id=worker_id(config.root),
        store=store,
        executor=executor,
        sources=open_sources(images, answers, pulls, db),
        sessions=sessions,
        leases=Leases(store),
        platforms=Platforms(config.platforms, probe=partial(runs_here, root=config.root / "platforms")),
        labels=config.labels,
        devices=config.devices,
        parallelism=parallelism,
    )
    solver: Solver[Ref | None] = Solver(DatabaseKeys(db), RefResults(store))
    frontends: dict[str, Frontend] = {"dockerfile.v0": Remembered(_make_dockerfile_frontend, db, _DOCKERFILE_CODE)}
    for name in config.without_frontends:
        frontends.pop(name, None)
    builder = Builder(worker, solver, images, frontends, pulls, StepRecords(db), config.environment)
    return Engine(config, db, store, sessions, builder, executor)


def _make_dockerfile_frontend() -> Frontend:
    from buildkit.frontend.dockerfile.build import DockerfileFrontend

    return DockerfileFrontend()
