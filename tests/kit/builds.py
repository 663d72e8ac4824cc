"""A whole engine's parts put together for tests: store, sources, ops, solver; containers if a test runs as root."""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from buildkit.core.db import Database
from buildkit.core.errors import NotFound
from buildkit.core.identity import new_id
from buildkit.core.progress import Stream, Update
from buildkit.core.values import dataclass
from buildkit.llb.state import State
from buildkit.oci.registry import Registry
from buildkit.ops.load import load
from buildkit.ops.make import OpMaker
from buildkit.session.registry import Sessions
from buildkit.session.session import Session
from buildkit.solver.job import Solver
from buildkit.solver.keys import MemoryKeys
from buildkit.source.image import Images
from buildkit.source.local import Locals
from buildkit.source.source import Sources
from buildkit.store.refs import Ref
from buildkit.store.store import Store
from buildkit.worker.leases import Leases
from buildkit.worker.platforms import Platforms
from buildkit.worker.worker import Worker


class StoredRefs:
    """Results by their refs' ids."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def name(self, result: Ref | None) -> str:
        return result.id if result is not None else "scratch"

    async def load(self, name: str) -> Ref | None:
        if name == "scratch":
            return None
        found = self._store.find_ref(name)
        if found is None:
            raise NotFound(f"{name} is gone")
        return found

    def exists(self, name: str) -> bool:
        return name == "scratch" or self._store.find_ref(name) is not None


@dataclass
class Built:
    """What a build gave: for each file of the result, its text; and the updates on the way."""

    files: dict[str, str]
    updates: list[Update]

    @property
    def executed(self) -> list[str]:
        """Names of the steps that did something, in the order in which they ended."""
        return [u.name for u in self.updates if getattr(u, "completed", None) and getattr(u, "cached", None) is False]


class Builder:
    """Builds states, one after the other, with what the builds before left in the store."""

    def __init__(self, folder: Path, *, executor: Any = None) -> None:
        db = Database(folder / "db")
        self.store = Store.open(folder / "store", db, snapshotter="native")
        self.sessions = Sessions(wait=0)
        self.images = Images(Registry(), self.sessions, self.store)
        self.locals = Locals(self.sessions, self.store)
        self.leases = Leases(self.store)
        self.solver = Solver[Ref | None](MemoryKeys(), StoredRefs(self.store))
        self.worker = Worker(
            id="test",
            store=self.store,
            executor=executor,
            sources=Sources(self.images, self.locals),
            sessions=self.sessions,
            leases=self.leases,
            platforms=Platforms(probe=lambda architecture: False),
        )

    @asynccontextmanager
    async def job(self, session: Session, progress: Stream):
        """A job of the solver under a lease of its own."""
        async with self.sessions.attach(session), self.store.lease() as lease:
            with self.leases.lent(session.id, lease):
                async with self.solver.job(new_id(), session=session.id, progress=progress, hold=lease.hold) as job:
                    yield job, lease

    async def build(self, state: State, session: Session) -> Built:
        """Build and read the result."""
        progress = Stream()
        async with self.job(session, progress) as (job, lease):
            ref = await job.build(await load(state.marshal().to_pb(), OpMaker(self.worker)))
            async with self.store.mounted(ref, lease) as path:
                found = {str(p.relative_to(path)): p.read_text() for p in path.rglob("*") if p.is_file()}
        progress.close()
        updates = [update async for batch in progress.read() for update in batch]
        return Built(found, updates)
