"""Trees that someone elsewhere keeps up to date from build to build, such as a far client's directories.

Such a tree is a mutable record, private to one user at a time. While it is lent as a ref it stands still and is
read in place, like a view; whoever builds on it takes it over as it is, without a copy, and the next user begins
anew. Digests of its parts are remembered until it changes.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import lru_cache
from pathlib import Path

from buildkit.core.db import Database
from buildkit.core.digest import Digest, sha256
from buildkit.core.errors import AlreadyExists
from buildkit.core.values import astuple
from buildkit.fs.contenthash import Selector
from buildkit.fs.filehash import Memory
from buildkit.store.caches import Caches, Sharing
from buildkit.store.lease import Lease
from buildkit.store.lent import add_view
from buildkit.store.parts import Parts
from buildkit.store.records import Record, Records
from buildkit.store.refs import Ref
from buildkit.store.snapshot import Snapshotter
from buildkit.store.view import View

_SCHEMA = """
CREATE TABLE IF NOT EXISTS kept_digests (
    ref TEXT NOT NULL REFERENCES refs (id) ON DELETE CASCADE, boot TEXT NOT NULL, selectors TEXT NOT NULL,
    digest TEXT NOT NULL, PRIMARY KEY (ref, selectors)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS kept_announcements (
    ref TEXT PRIMARY KEY REFERENCES refs (id) ON DELETE CASCADE, content BLOB NOT NULL
);
"""
_ANNOUNCED = ""
"""The name of the digest of what a tree's sender announced, beside those of selectors."""


class Digests:
    """Digests of parts of kept trees, by record. Those of before the machine's last start do not count.

    They are taken away before a tree is written to, so that a killed process leaves none that are wrong; what the
    database may lose when the power fails is the taking away, hence the machine's start.
    """

    def __init__(self, db: Database) -> None:
        self._db = db
        db.ensure(_SCHEMA)

    def take(self, record: str) -> dict[str, Digest]:
        """All of a tree's, by selectors; from now on there are none."""
        found = self._db.execute(
            "SELECT selectors, digest FROM kept_digests WHERE ref = ? AND boot = ?", (record, _boot())
        )
        self._db.execute("DELETE FROM kept_digests WHERE ref = ?", (record,))
        return {str(selectors): str(digest) for selectors, digest in found}

    def put(self, record: str, found: dict[str, Digest]) -> None:
        """Remember."""
        rows = [(record, _boot(), selectors, digest) for selectors, digest in found.items()]
        if rows:
            self._db.execute_many("INSERT OR REPLACE INTO kept_digests VALUES (?, ?, ?, ?)", rows)

    def announcement(self, record: str, digest: Digest) -> bytes:
        """What the sender of a tree announced, if it is that with a digest."""
        for (content,) in self._db.execute("SELECT content FROM kept_announcements WHERE ref = ?", (record,)):
            return bytes(content) if sha256(content) == digest else b""
        return b""

    def put_announcement(self, record: str, content: bytes) -> None:
        """Remember."""
        self._db.execute("INSERT OR REPLACE INTO kept_announcements VALUES (?, ?)", (record, content))


@lru_cache
def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


class KeptTree:
    """A tree to bring up to date, at ``path``."""

    def __init__(
        self, record: str, path: Path, digests: Digests, scope: AsyncExitStack, offer: Callable[[View], Ref]
    ) -> None:
        self.path = path
        self._record = record
        self._digests = digests
        self._scope = scope
        self._offer = offer
        self._known = digests.take(record)
        self.announced = digests.announcement(record, self._known.get(_ANNOUNCED, ""))
        """What was announced to whoever made the tree what it is: `buildkit.fs.receive.Receiver.announced`."""

    def lend(self, *, changed: bool, announced: bytes = b"", memory: Memory | None = None) -> Ref:
        """A ref of the tree as it is now; ``changed`` False: as it was when it was handed out.

        Until the ref's last lease ends, nobody else gets the tree. ``memory`` as `buildkit.store.view.View` has it.
        """
        if announced != self.announced:
            self._digests.put_announcement(self._record, announced)
        known = {_ANNOUNCED: sha256(announced)} if changed else {**self._known, _ANNOUNCED: sha256(announced)}
        self._digests.put(self._record, known)
        return self._offer(KeptView(self._record, self.path, known, self._digests, self._scope.pop_all(), memory))


class KeptView(View):
    """A kept tree while it is lent."""

    still = True

    def __init__(
        self,
        record: str,
        path: Path,
        known: dict[str, Digest],
        digests: Digests,
        scope: AsyncExitStack,
        memory: Memory | None,
    ) -> None:
        super().__init__(str(path), owner=None, memory=memory)
        self._record = record
        self._known = known
        self._digests = digests
        self._scope = scope

    def digest(self, selectors: Sequence[Selector]) -> Digest:
        """See `View.digest`; known ones are not computed again."""
        name = json.dumps([astuple(one) for one in selectors])
        with self._lock:
            if name not in self._known:
                self._known[name] = super().digest(selectors)
                self._digests.put(self._record, {name: self._known[name]})
            return self._known[name]

    def settle(self, snapshotter: Snapshotter, records: Records, record: Record) -> None:
        """Make the tree the snapshot of its ref: nobody brings it up to date any more."""
        with self._lock:
            try:
                snapshotter.commit(record.snapshot, self._record)
            except AlreadyExists:
                return
            records.remove(self._record)
            records.add(record)

    async def leave(self) -> None:
        """Nobody needs the tree as it is any more."""
        await super().leave()
        await self._scope.aclose()


@asynccontextmanager
async def keep(
    parts: Parts, caches: Caches, digests: Digests, key: str, lease: Lease, *, description: str, record_type: str
) -> AsyncIterator[KeptTree]:
    """See `buildkit.store.store.Store.kept_tree`."""
    async with AsyncExitStack() as scope:
        use = await scope.enter_async_context(
            caches.taken(key, Sharing.PRIVATE, description=description, record_type=record_type)
        )

        def offer(view: View) -> Ref:
            return add_view(parts, view, lease, description, record_type)

        yield KeptTree(use.record, use.path, digests, scope, offer)
