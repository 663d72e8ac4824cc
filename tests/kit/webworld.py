"""Files of the web as builds see them: a store, sessions, and what was remembered."""

from __future__ import annotations

from tests.kit.steps import Asker, Op

from buildkit.core.db import Database
from buildkit.core.platform import host_platform
from buildkit.oci.transport import Transport
from buildkit.session.registry import Sessions
from buildkit.session.session import Session
from buildkit.source.answers import Answers
from buildkit.source.http import Web
from buildkit.source.pull import Pull, Pulls
from buildkit.source.source import Sources
from buildkit.store.store import Store


class WebWorld:
    """A store with what it remembers; each `step` is a step of a new build."""

    def __init__(self, root) -> None:
        root.mkdir(exist_ok=True)
        db = Database(root / "db")
        self.store = Store.open(root / "store", db, snapshotter="native")
        self.sessions, self.pulls = Sessions(wait=0), Pulls()
        self.transport = Transport()
        self.web = Web(self.transport, self.sessions, self.store, Answers(db), self.pulls)

    def open(self, url, **attrs):
        return Sources(self.web).open(Op(url, {f"http.{k}": v for k, v in attrs.items()}), host_platform())

    async def get(self, url, *, secrets=None, pull=Pull.ALWAYS, **attrs):
        """Build a file in a build of its own: (key, {name: (content, stat)})."""
        async with self.store.lease() as lease, self.sessions.attach(Session.new(secrets=secrets)) as session:
            with self.pulls.lent(session.id, pull):
                asker, source = Asker(session), self.open(url, **attrs)
                asker.hold = lease.hold
                keys = [key async for key in source.keys(asker)]
                ref = await source.snapshot(asker, lease)
                self.asker, self.source = asker, source
                async with self.store.mounted(ref, lease) as root:
                    return keys[0], {p.name: (p.read_bytes(), p.lstat()) for p in root.iterdir()}
