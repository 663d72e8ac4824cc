"""Git repositories: refs resolved by asking the remote, trees checked out of one shared repository per remote."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TypeVar
from weakref import WeakKeyDictionary

from buildkit.core.errors import FailedPrecondition
from buildkit.core.platform import Platform
from buildkit.core.sockets import socket_folder
from buildkit.core.values import asdict, replace
from buildkit.llb.giturl import is_commit
from buildkit.session.registry import Sessions
from buildkit.session.session import Agents, Session
from buildkit.source.answers import Answers
from buildkit.source.credentials import git_authorization
from buildkit.source.gitbundle import Bundle, bundle_ref
from buildkit.source.gitcheckout import Checkout
from buildkit.source.gitcommand import Door, Git, Repository
from buildkit.source.gitrefs import Resolved, check_sums, resolve_ref
from buildkit.source.gitrepository import RECORD_TYPE, Repositories
from buildkit.source.gitsigned import Objects, verify_objects
from buildkit.source.gitwanted import Wanted, read_wanted
from buildkit.source.origin import FromLayout, FromRegistry, Origin, Visits
from buildkit.source.pull import Pull, Pulls, forbid, look_up
from buildkit.source.source import Asking, Inquiry, Known
from buildkit.store.lease import Lease
from buildkit.store.refs import Ref
from buildkit.store.store import Store

T = TypeVar("T")

_REFS, _TREES = "git-ref", "git-tree"


class GitRepositories:
    """The scheme ``git``."""

    schemes = ("git",)

    def __init__(self, sessions: Sessions, store: Store, answers: Answers, pulls: Pulls, visits: Visits) -> None:
        self.sessions = sessions
        self.store = store
        self.answers = answers
        self.pulls = pulls
        self.visits = visits
        self.repositories = Repositories(store)
        self._resolved: WeakKeyDictionary[Session, dict[str, Resolved]] = WeakKeyDictionary()

    def open(self, scheme: str, name: str, attrs: Mapping[str, str], platform: Platform) -> GitTree:
        """A source for one tree; raises `InvalidInput`."""
        return GitTree(self, read_wanted(name, attrs))

    def known_to(self, ids: tuple[str, ...]) -> dict[str, Resolved]:
        """What the first attached session has learnt: one build asks each question once."""
        for id in ids:
            session = self.sessions.find(id)
            if session is not None:
                return self._resolved.setdefault(session, {})
        return {}


class GitTree:
    """One tree of one repository."""

    def __init__(self, remotes: GitRepositories, wanted: Wanted) -> None:
        self._remotes = remotes
        self._wanted = wanted
        self._resolved: Resolved | None = None
        self._turn = asyncio.Lock()

    @property
    def pin(self) -> str:
        """The commit, or the annotated tag, that the ref stands for."""
        return self._resolved.checksum if self._resolved is not None else ""

    async def keys(self, step: Asking) -> AsyncIterator[str]:
        """One key; a full commit id needs no remote."""
        key = await self._key(step)
        wanted, found = self._wanted, await self.resolve(step)
        step.note(
            remote=wanted.remote,
            ref=wanted.ref,
            commit=found.commit_for(wanted.keep_git_dir),
            subdir=wanted.subdir,
            keep_git_dir=wanted.keep_git_dir,
            submodules=wanted.submodules,
        )
        yield key

    async def _key(self, step: Asking) -> str:
        found = await self.resolve(step)
        return self._wanted.key(found.commit_for(self._wanted.keep_git_dir), found.ref)

    async def resolve(self, step: Asking) -> Resolved:
        """What the ref stands for, signed as wished; asked once."""
        async with self._turn:
            if self._resolved is None:
                found = await self._resolve(step)
                if self._wanted.signing is not None:
                    async with self._remotes.store.lease() as lease:
                        objects = await self._objects(step, lease, found)
                    await asyncio.to_thread(verify_objects, objects, self._wanted.signing)
                self._resolved = found
            return self._resolved

    async def _resolve(self, step: Asking) -> Resolved:
        wanted, remotes = self._wanted, self._remotes
        if wanted.bundle is not None:
            return await self._resolve_in_bundle(step)
        if is_commit(wanted.ref):
            return Resolved(wanted.ref, wanted.ref)
        if wanted.by_commit:
            ref = wanted.ref or wanted.checksum
            qualified = ref if is_commit(ref) or ref.startswith("refs/") else "refs/heads/" + ref
            return Resolved(qualified, wanted.checksum)
        async with remotes.repositories.turn(wanted.remote):
            session = remotes.known_to(step.sessions())
            found = session.get(wanted.question)
            if found is None:
                answer = remotes.answers.find(_REFS, wanted.question)
                known = Resolved(**answer) if answer is not None else None

                async def ask() -> Resolved:
                    async with self._git(step) as git:
                        return await resolve_ref(git, wanted.remote, wanted.ref)

                def log(line: str) -> None:
                    step.progress.log(2, line.encode())

                found = await look_up(wanted.question, remotes.pulls.of(step.sessions()), known, ask, log)
                session[wanted.question] = found
                if found != known:
                    remotes.answers.put(_REFS, wanted.question, asdict(found))
        check_sums(wanted.checksum, found.checksum, found.commit)
        return found

    async def _resolve_in_bundle(self, step: Asking) -> Resolved:
        wanted = self._wanted
        if not wanted.ref or is_commit(wanted.ref):
            id = wanted.ref or wanted.checksum
            return Resolved(id, id)

        async def ask(repository: Repository) -> Resolved:
            local = repository.git.at(repository.path, protocols=("file",))
            return await resolve_ref(local, f"file://{repository.path}", wanted.ref)

        async with self._remotes.store.lease() as lease:
            found = await self._in_repository(step, lease, Resolved("", wanted.checksum), ask)
        check_sums(wanted.checksum, found.checksum, found.commit)
        return found

    async def snapshot(self, step: Asking, lease: Lease) -> Ref | None:
        """The tree, from an earlier checkout if there is one."""
        wanted, remotes = self._wanted, self._remotes
        name = f"{await self._key(step)} {wanted.remote}"
        if wanted.as_bundle:
            name += f" {bundle_ref(wanted.ref)}"
        async with remotes.repositories.turn(name):
            answer = remotes.answers.find(_TREES, name)
            if answer is not None:
                ref = remotes.store.find_ref(answer["ref"], lease)
                if ref is not None:
                    return ref
            ref = await self._check_out(step, lease)
            remotes.answers.put(_TREES, name, {"ref": ref.id})
            return ref

    async def describe(self, step: Asking, lease: Lease, inquiry: Inquiry) -> Known:
        """What the remote says of the ref, and the objects for those who want to know a time or an author."""
        found = await self.resolve(step)
        known = Known(found.checksum, found.ref, found.commit)
        if not inquiry.objects and self._wanted.signing is None:
            return known
        objects = await self._objects(step, lease, found)
        return replace(known, commit=objects.commit, tag=objects.tag)

    async def _objects(self, step: Asking, lease: Lease, found: Resolved) -> Objects:
        async def read(repository: Repository) -> Objects:
            git, id = repository.git, found.checksum
            kind = await git.text("cat-file", "-t", id)
            if kind not in ("commit", "tag"):
                raise FailedPrecondition(f"expected commit or tag object, got {kind}")
            commit_id = await git.text("rev-parse", id + "^{commit}")
            commit = await git.run("cat-file", "commit", commit_id)
            return Objects(commit_id, commit, id, await git.run("cat-file", "tag", id) if kind == "tag" else b"")

        return await self._in_repository(step, lease, found, read)

    async def _check_out(self, step: Asking, lease: Lease) -> Ref:
        wanted, store, found = self._wanted, self._remotes.store, await self.resolve(step)
        description = f"git snapshot for {wanted.remote}#{wanted.ref}"

        async def check_out(repository: Repository) -> Ref:
            async with store.draft(None, lease, description=description, record_type=RECORD_TYPE) as draft:
                async with draft.mounted() as root:
                    await Checkout(repository, wanted, found, root.absolute()).run()
                return await draft.commit()

        return await self._in_repository(step, lease, found, check_out)

    async def _in_repository(
        self, step: Asking, lease: Lease, found: Resolved, work: Callable[[Repository], Awaitable[T]]
    ) -> T:
        wanted, remotes = self._wanted, self._remotes
        offline = forbid(wanted.question) if remotes.pulls.of(step.sessions()) is Pull.NEVER else None
        async with self._git(step) as git:
            if wanted.bundle is None:
                return await remotes.repositories.work_in(wanted, found, git, lease, work, offline=offline)
            origin = self._origin(wanted.bundle, step.sessions())
            return await remotes.repositories.work_in_bundle(
                wanted, wanted.bundle, git, lease, work, origin, offline=offline
            )

    def _origin(self, bundle: Bundle, ids: tuple[str, ...]) -> Origin:
        if bundle.reference is None:
            return FromLayout(self._remotes.sessions, ids, bundle.session, bundle.store, bundle.digest)
        return FromRegistry(self._remotes.visits.of(ids), bundle.reference)

    @asynccontextmanager
    async def _git(self, step: Asking) -> AsyncIterator[Git]:
        """git with what the sessions lend to open the remote."""
        wanted, sessions, ids = self._wanted, self._remotes.sessions, step.sessions()

        def log(text: str) -> None:
            step.progress.log(2, text.encode())

        if wanted.scheme != "ssh":
            login = await git_authorization(sessions, ids, wanted.host, wanted.header_secret, wanted.token_secret)
            yield Git(Door(wanted.scope, login or wanted.login), log=log)
            return
        async with AsyncExitStack() as scope:
            agent = await scope.enter_async_context(self._agent(ids)) if wanted.agent else ""
            hosts = ""
            if wanted.known_hosts:
                folder = scope.enter_context(socket_folder())
                hosts = f"{folder}/known_hosts"
                Path(hosts).write_text(wanted.known_hosts)
            yield Git(Door(agent=agent, known_hosts=hosts), log=log)

    @asynccontextmanager
    async def _agent(self, ids: tuple[str, ...]) -> AsyncIterator[str]:
        """A socket that leads to the agent that the definition names."""
        from buildkit.session.ssh import agent_socket

        id = self._wanted.agent

        async def find(session: Session) -> Agents:
            if session.ssh is None:
                raise FailedPrecondition(f'no SSH key "{id}" forwarded from the client')
            await session.ssh.check(id)
            return session.ssh

        async with agent_socket(await self._remotes.sessions.any(ids, find), id, uid=os.geteuid()) as socket:
            yield socket
