"""Everything that ops need, for real: a store, a solver, an executor; and sources that are directories of the test."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from buildkit.api import ops as pb
from buildkit.core.db import Database
from buildkit.core.identity import new_id
from buildkit.core.platform import Platform
from buildkit.core.progress import LogUpdate, Update
from buildkit.engine.results import RefResults
from buildkit.executor.runc import RuncExecutor
from buildkit.executor.settings import Settings
from buildkit.ops.load import NOTHING_SPECIAL, Rules, load
from buildkit.ops.make import OpMaker
from buildkit.session.registry import Sessions
from buildkit.session.session import Session
from buildkit.solver.job import Solver
from buildkit.solver.keydb import DatabaseKeys
from buildkit.solver.record import StepRecord, StepRecords
from buildkit.source.local import Locals
from buildkit.source.source import Asking, Sources
from buildkit.store.lease import Lease
from buildkit.store.refs import Ref
from buildkit.store.store import Store
from buildkit.worker.leases import Leases
from buildkit.worker.platforms import Platforms
from buildkit.worker.worker import Worker


class Trees:
    """The scheme ``tree``: ``tree:///some/directory``, known by that name alone."""

    schemes = ("tree",)

    def __init__(self, store: Store) -> None:
        self._store = store
        self.taken: list[str] = []

    def open(self, scheme: str, name: str, attrs: Mapping[str, str], platform: Platform) -> Tree:
        return Tree(self._store, name, self.taken)


class Tree:
    pin = "pinned"

    def __init__(self, store: Store, name: str, taken: list[str]) -> None:
        self._store, self._name, self._taken = store, name, taken

    async def keys(self, step: Asking) -> AsyncIterator[str]:
        yield self._name

    async def snapshot(self, step: Asking, lease: Lease) -> Ref | None:
        self._taken.append(self._name)
        async with self._store.draft(None, lease, description=self._name) as draft:
            async with draft.mounted() as path:
                shutil.copytree(self._name, path, symlinks=True, dirs_exist_ok=True)
            return await draft.commit()


class Records(StepRecords):
    """Keeps the records of the last build at hand."""

    def __init__(self, db: Database) -> None:
        super().__init__(db)
        self.last: list[StepRecord] = []

    def save(self, record: StepRecord) -> None:
        self.last.append(record)
        super().save(record)


class Workshop:
    """Builds definitions. ``updates`` is the progress, ``records`` the steps' records of the last build."""

    def __init__(self, root: Path, store: Store, db: Database) -> None:
        self.root = root
        self.store = store
        self.trees = Trees(store)
        self.executor = RuncExecutor(root / "executor", Settings())
        self.sessions = Sessions(wait=0)
        self.worker = Worker(
            id="here",
            store=store,
            executor=self.executor,
            sources=Sources(self.trees, Locals(self.sessions, store)),
            sessions=self.sessions,
            leases=Leases(store),
            platforms=Platforms(probe=lambda architecture: False),
        )
        self.records = Records(db)
        self.solver: Solver[Ref | None] = Solver(DatabaseKeys(db), RefResults(store), self.records)
        self.updates: list[Update] = []

    def write(self, update: Update) -> None:
        """Take progress from the solver."""
        self.updates.append(update)

    @property
    def log(self) -> str:
        """What the steps wrote."""
        return b"".join(u.content for u in self.updates if isinstance(u, LogUpdate)).decode()

    @asynccontextmanager
    async def built(
        self, definition: pb.Definition, rules: Rules = NOTHING_SPECIAL, session: Session | None = None
    ) -> AsyncIterator[Path]:
        """The tree that a definition describes, mounted."""
        self.updates.clear()
        self.records.last.clear()
        session = session or Session.new()
        async with self.sessions.attach(session), self.store.lease() as lease:
            with self.worker.leases.lent(session.id, lease):
                job = self.solver.job(new_id(), session=session.id, progress=self, hold=lease.hold)
                async with job:
                    ref = await job.build(await load(definition, OpMaker(self.worker, rules), rules))
                    async with self.store.mounted(ref, lease) as path:
                        yield path

    async def text(self, definition: pb.Definition, path: str = "out", **options: object) -> str:
        """A file of the tree that a definition describes."""
        async with self.built(definition, **options) as root:  # type: ignore[arg-type]
            return (root / path).read_text()


@asynccontextmanager
async def workshop(root: Path) -> AsyncIterator[Workshop]:
    """A workshop in a directory, empty or left by an earlier one."""
    root.mkdir(exist_ok=True)
    db = Database(root / "db")
    store = Store.open(root / "store", db)
    made = Workshop(root, store, db)
    try:
        yield made
    finally:
        made.executor.close()
        await store.close()
        db.close()
