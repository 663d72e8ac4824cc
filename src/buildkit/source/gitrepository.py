"""The shared bare repository of each remote: kept in the store, used by one checkout at a time, mended by renewal."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakValueDictionary

from buildkit.core.errors import BuildkitError, FailedPrecondition
from buildkit.core.values import dataclass
from buildkit.llb.giturl import is_commit
from buildkit.source.gitbundle import Bundle, import_bundle
from buildkit.source.gitcommand import Git, GitFailed, Repository
from buildkit.source.gitrefs import Resolved, check_sums
from buildkit.source.gitwanted import Wanted
from buildkit.store.caches import Sharing
from buildkit.store.lease import Lease
from buildkit.store.store import Store

if TYPE_CHECKING:
    from buildkit.source.origin import Origin

T = TypeVar("T")

RECORD_TYPE = "source.git.checkout"
_DAMAGE = re.compile(
    r"corrupt|not (?:a git repository|in a git directory)|unable to read|bad object|bad tree|bad signature|missing blob"
    r"|broken|object file .* is empty|packfile .* (?:cannot|does not|is )|does not match index|index file"
    r"|invalid (?:object|sha1|index)|bad config|did not send all necessary objects|garbage|inflate|mismatch"
)
_NO_SHALLOW = ("--depth", "shallow", "dumb http")
_MADE_LAST = "objects/info"
"""What ``git init`` makes when all else is there."""
_LOCKS = ("shallow.lock", "config.lock", "HEAD.lock", "packed-refs.lock")


class Missing(FailedPrecondition):
    """A commit is not there although it was fetched."""


class Repositories:
    """The shared repositories of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def turn(self, name: str) -> asyncio.Lock:
        """Who works for the same remote, or on the same tree, takes turns."""
        lock = self._turns.get(name)
        if lock is None:
            lock = self._turns[name] = asyncio.Lock()
        return lock

    async def work_in(
        self,
        wanted: Wanted,
        found: Resolved,
        git: Git,
        lease: Lease,
        work: Callable[[Repository], Awaitable[T]],
        *,
        offline: BuildkitError | None = None,
    ) -> T:
        """Do ``work`` in the remote's repository with the commit in it.

        ``offline`` is raised where something would have to be fetched. A repository that turns out to be damaged is
        made anew and the work done again, once. Raises what `Git.run` and ``work`` raise.
        """
        id = "git-remote:" + sha256(wanted.remote.encode()).hexdigest() + (":sha256" if _is_long(found) else "")

        async def prepare(repository: Repository) -> None:
            await _prepare(repository, wanted, found, offline)

        return await self._work_in(id, wanted.remote, git, lease, prepare, work, lasting=offline is not None)

    async def work_in_bundle(
        self,
        wanted: Wanted,
        bundle: Bundle,
        git: Git,
        lease: Lease,
        work: Callable[[Repository], Awaitable[T]],
        origin: Origin,
        *,
        offline: BuildkitError | None = None,
    ) -> T:
        """The same in a repository made of a bundle."""

        async def prepare(repository: Repository) -> None:
            await import_bundle(repository, bundle, wanted.checksum, origin, offline)

        id = "git-bundle:" + bundle.digest
        return await self._work_in(id, wanted.remote, git, lease, prepare, work, lasting=offline is not None)

    async def _work_in(
        self,
        id: str,
        remote: str,
        git: Git,
        lease: Lease,
        prepare: Callable[[Repository], Awaitable[None]],
        work: Callable[[Repository], Awaitable[T]],
        *,
        lasting: bool,
    ) -> T:
        description = f"shared git repo for {remote}"
        async with self.turn(id):
            for attempt in (1, 2):
                try:
                    async with self._store.cache_mount(
                        id, Sharing.LOCKED, None, description, lease, record_type="regular"
                    ) as path:
                        repository = Repository(git.at(path.absolute()), path.absolute())
                        await prepare(repository)
                        return await work(repository)
                except (GitFailed, Missing) as error:
                    if attempt == 2 or lasting or not _is_damage(error):
                        raise
                    git.log(f"{error}\nthe shared repository of {remote} is made anew\n")
                    await self._store.forget_cache_mount(id)
        raise AssertionError("the second attempt ends or raises")


def _is_damage(error: GitFailed | Missing) -> bool:
    return isinstance(error, Missing) or _DAMAGE.search(error.stderr) is not None


def _is_long(found: Resolved) -> bool:
    return len(found.checksum) == 64


async def _prepare(repository: Repository, wanted: Wanted, found: Resolved, offline: BuildkitError | None) -> None:
    git, path = repository.git, repository.path
    for name in _LOCKS:  # what a git that was killed left behind; whoever is here is here alone
        with suppress(FileNotFoundError):
            (path / name).unlink()
    if not ((path / "config").is_file() and (path / "HEAD").is_file() and (path / _MADE_LAST).is_dir()):
        kind = ["--object-format=sha256"] if _is_long(found) else []
        await git.run("init", "--quiet", "--bare", "--template=", *kind)
    await git.run("config", "remote.origin.url", wanted.remote)
    if await _lacks(git, found.checksum) or (wanted.as_bundle and (path / "shallow").exists()):
        if offline is not None:
            raise offline
        try:
            await _Fetching(git, path, wanted, found).run()
        except BuildkitError as error:
            raise error.prefixed(f"failed to fetch remote {wanted.remote}: ") from None
    if wanted.checksum:
        ids = [await git.text("rev-parse", found.checksum), await git.text("rev-parse", found.checksum + "^{}")]
        check_sums(wanted.checksum, *dict.fromkeys(ids))


async def _lacks(git: Git, id: str) -> bool:
    """Whether the commit (or tag), or its tree, is not there."""
    return not await git.succeeds("cat-file", "-e", id) or not await git.succeeds("cat-file", "-e", id + "^{tree}")


@dataclass(frozen=True, slots=True)
class _Fetching:
    """Ways to get one commit, cheapest first."""

    git: Git
    path: Path
    wanted: Wanted
    found: Resolved

    async def run(self) -> None:
        wanted, found = self.wanted, self.found
        if is_commit(found.ref) or wanted.by_commit:
            await self._by_id(found.checksum)
        else:
            await self._shallow(f"+{found.ref}:{self._kept(found.ref)}")
            if await _lacks(self.git, found.checksum):  # the ref has moved on since it was resolved
                await self._by_id(found.checksum)
        if await _lacks(self.git, found.checksum):
            raise Missing(
                f"fetched ref {wanted.ref or found.ref} does not match expected commit {found.checksum} "
                "and commit can not be found in the repository"
            )

    async def _by_id(self, id: str) -> None:
        try:
            await self._shallow(f"+{id}:{self._kept(id)}")
        except GitFailed as error:
            if self.wanted.by_commit or _DAMAGE.search(error.stderr):
                raise
            # servers need not give what no ref leads to: then it may be among the ancestors of one
            await self._everything()

    async def _shallow(self, spec: str) -> None:
        remote = self.wanted.remote
        depth = ["--depth=1"]
        if self.wanted.as_bundle:  # which has all of the history
            depth = ["--unshallow"] if (self.path / "shallow").exists() else []
        try:
            await self.git.run("fetch", *depth, "--no-tags", "--", remote, spec)
        except GitFailed as error:
            if not any(text in error.stderr for text in _NO_SHALLOW):
                raise
            await self.git.run("fetch", "--no-tags", "--", remote, spec)

    async def _everything(self) -> None:
        whole = ["--unshallow"] if (self.path / "shallow").exists() else []
        specs = ("+refs/heads/*:refs/buildkit/heads/*", "+refs/tags/*:refs/buildkit/tags/*")
        await self.git.run("fetch", "--prune", "--no-tags", *whole, "--", self.wanted.remote, *specs)

    def _kept(self, name: str) -> str:
        """A name that no other can clash with, under which it is offered to the remote the next time."""
        return f"refs/buildkit/one/{sha256(name.encode()).hexdigest()}"
