"""Git sources as builds see them: a store, sessions, and what was remembered."""

from __future__ import annotations

from tests.kit.steps import Asker, Op

from buildkit.core.db import Database
from buildkit.core.errors import NotFound
from buildkit.core.platform import host_platform
from buildkit.oci.registry import Registry
from buildkit.session.registry import Sessions
from buildkit.session.session import Session
from buildkit.source.answers import Answers
from buildkit.source.git import GitRepositories
from buildkit.source.origin import Visits
from buildkit.source.pull import Pull, Pulls
from buildkit.source.source import Sources
from buildkit.store.store import Store


class Secrets:
    def __init__(self, **secrets: str) -> None:
        self._secrets = secrets

    async def get(self, id):
        if id not in self._secrets:
            raise NotFound("not found")
        return self._secrets[id].encode()


class GitWorld:
    """A store with what it remembers; each `get` is a build of its own."""

    def __init__(self, root) -> None:
        root.mkdir(exist_ok=True)
        db = Database(root / "db")
        self.root = root
        self.store = Store.open(root / "store", db, snapshotter="native")
        self.sessions, self.pulls = Sessions(wait=0), Pulls()
        answers = Answers(db)
        visits = Visits(Registry(), self.sessions, answers, self.pulls)
        self.git = GitRepositories(self.sessions, self.store, answers, self.pulls, visits)

    def open(self, url, ref="", **attrs):
        name = url.partition("://")[2].rpartition("@")[2]
        attrs = {"git.fullurl": url} | {f"git.{key}": value for key, value in attrs.items()}
        return Sources(self.git).open(Op(f"git://{name}" + (f"#{ref}" if ref else ""), attrs), host_platform())

    async def get(self, url, ref="", *, pull=Pull.ALWAYS, lends=None, look=lambda root: None, **attrs):
        """Build a tree: {path: content} of its files, ``.git`` left out."""
        async with self.store.lease() as lease, self.sessions.attach(Session.new(**(lends or {}))) as session:
            with self.pulls.lent(session.id, pull):
                self.asker, self.source = Asker(session), self.open(url, ref, **attrs)
                self.keys = [key async for key in self.source.keys(self.asker)]
                tree = await self.source.snapshot(self.asker, lease)
                async with self.store.mounted(tree, lease) as root:
                    self.looked = look(root)
                    files = [p for p in sorted(root.rglob("*")) if p.is_file() and ".git" not in p.parts]
                    return {str(p.relative_to(root)): p.read_text() for p in files}

    @property
    def log(self) -> str:
        return b"".join(getattr(update, "content", b"") for update in self.asker.updates).decode()
