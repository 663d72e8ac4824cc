"""The mounts of an exec step: from what the op says to what the executor attaches, and results out of them."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from contextlib import AsyncExitStack

from buildkit.api import ops as pb
from buildkit.core.errors import BuildkitError, InvalidInput, NotFound, Unsupported
from buildkit.core.values import dataclass, field
from buildkit.executor.executor import Attachment, Secret, Source
from buildkit.fs.mount import Mount
from buildkit.ops.validate import NOTHING, ROOT
from buildkit.session.registry import joining
from buildkit.session.session import Agents, Session
from buildkit.solver.graph import Step
from buildkit.store.caches import Sharing
from buildkit.store.draft import Draft
from buildkit.store.lease import Lease
from buildkit.store.refs import Ref
from buildkit.worker.worker import Worker

_SHARING = {pb.SHARED: Sharing.SHARED, pb.PRIVATE: Sharing.PRIVATE, pb.LOCKED: Sharing.LOCKED}
_EXECUTABLE = 0o111

CacheKey = tuple[str, Ref | None]
"""The id of a cache mount, and what it begins as."""


@dataclass(slots=True)
class Prepared:
    """Everything mounted for one step; good until its scope ends."""

    root: Source = ()
    readonly_root: bool = False
    attachments: list[Attachment] = field(default_factory=list[Attachment])
    results: dict[int, Draft | Ref] = field(default_factory=dict[int, Draft | Ref])
    """By the number of the output."""
    drafts: dict[int, Draft] = field(default_factory=dict[int, Draft])
    """Every tree that the process can write, by the number of the mount."""


class Preparation:
    """Prepares the mounts of one exec op for one run."""

    def __init__(self, op: pb.ExecOp, worker: Worker, lease: Lease, step: Step, scope: AsyncExitStack) -> None:
        self._op = op
        self._worker = worker
        self._store = worker.store
        self._lease = lease
        self._step = step
        self._scope = scope
        self._words = " ".join(op.meta.args)
        self._made = Prepared()

    async def run(self, inputs: Sequence[Ref | None], forget: set[CacheKey] | None) -> Prepared:
        """Prepare every mount. Cache mounts begin anew unless their key is in ``forget`` (None: they stay)."""
        for number, mount in enumerate(self._op.mounts):
            ref = None
            if mount.input != NOTHING:
                if not 0 <= mount.input < len(inputs):
                    raise InvalidInput(f"missing input {mount.input}")
                ref = inputs[mount.input]
            if mount.dest == ROOT:
                await self._root(number, mount, ref)
            elif mount.mountType == pb.BIND:
                await self._bind(number, mount, ref)
            elif mount.mountType == pb.CACHE:
                await self._cache(mount, ref, forget)
            elif mount.mountType == pb.TMPFS:
                self._tmpfs(mount)
            elif mount.mountType == pb.SECRET:
                await self._secret(mount)
            elif mount.mountType == pb.SSH:
                await self._ssh(mount)
            else:
                raise Unsupported(f"mount type {mount.mountType} not implemented")
        if sorted(self._made.results) != list(range(len(self._made.results))):
            raise InvalidInput(f"invalid outputs of exec op: {sorted(self._made.results)}")
        self._made.attachments.sort(key=lambda attachment: attachment.destination)
        return self._made

    async def _draft(self, number: int, mount: pb.Mount, parent: Ref | None) -> Draft:
        description = f"mount {mount.dest} from exec {self._words}"
        draft = await self._scope.enter_async_context(self._store.draft(parent, self._lease, description=description))
        self._made.drafts[number] = draft
        return draft

    async def _root(self, number: int, mount: pb.Mount, ref: Ref | None) -> None:
        """Always a tree that can be written, since mount points are made in it."""
        if mount.mountType != pb.BIND:
            raise InvalidInput(f"invalid mount type {_kind(mount.mountType)} for {mount.dest}")
        draft = await self._draft(number, mount, ref)
        self._made.root = draft.mounts()
        self._made.readonly_root = mount.readonly
        if mount.output != NOTHING:
            self._keep(mount, draft)

    async def _bind(self, number: int, mount: pb.Mount, ref: Ref | None) -> None:
        if mount.readonly and ref is not None:
            if mount.output != NOTHING:
                self._keep(mount, ref)
            self._attach(mount, await self._store.mounts(ref, self._lease))
            return
        draft = await self._draft(number, mount, ref)
        if mount.output != NOTHING:
            self._keep(mount, draft)
        self._attach(mount, draft.mounts())

    async def _cache(self, mount: pb.Mount, ref: Ref | None, forget: set[CacheKey] | None) -> None:
        if not mount.HasField("cacheOpt"):
            raise InvalidInput("missing cache mount options")
        option = mount.cacheOpt
        if option.sharing not in _SHARING:
            raise InvalidInput(f"invalid cache sharing option: {option.sharing}")
        if forget is not None and (option.ID, ref) not in forget:
            forget.add((option.ID, ref))
            await self._store.forget_cache_mount(option.ID, ref)
        description = f"cached mount {mount.dest} from exec {self._words}"
        if mount.dest != option.ID:
            description += f' with id "{option.ID}"'
        sharing = _SHARING[option.sharing]
        path = await self._scope.enter_async_context(
            self._store.cache_mount(option.ID, sharing, ref, description, self._lease, holder=self._step)
        )
        if mount.output != NOTHING and ref is not None:
            self._keep(mount, ref)
        self._attach(mount, str(path))

    def _tmpfs(self, mount: pb.Mount) -> None:
        options = ["nosuid"]
        if mount.HasField("TmpfsOpt") and mount.TmpfsOpt.size > 0:
            options.append(f"size={mount.TmpfsOpt.size}")
        self._attach(mount, (Mount("tmpfs", "tmpfs", "", tuple(options)),))

    async def _secret(self, mount: pb.Mount) -> None:
        if not mount.HasField("secretOpt"):
            raise InvalidInput("invalid secret mount options")
        option = mount.secretOpt
        if not option.ID:
            raise InvalidInput("secret ID missing from mount options")
        content = await find_secret(self._worker, self._step, option.ID, optional=option.optional)
        if content is not None:
            secret = Secret(content, option.uid, option.gid, option.mode & 0o777)
            flags = ("nodev", "nosuid") if option.mode & _EXECUTABLE else ("nodev", "nosuid", "noexec")
            self._attach(mount, secret, readonly=True, options=flags)

    async def _ssh(self, mount: pb.Mount) -> None:
        if not mount.HasField("SSHOpt"):
            raise InvalidInput("invalid ssh mount options")
        from buildkit.session.ssh import agent_socket

        option = mount.SSHOpt

        async def find(session: Session) -> Agents:
            if session.ssh is None:
                raise NotFound(f'no SSH key "{option.ID}" forwarded from the client')
            await session.ssh.check(option.ID)
            return session.ssh

        try:
            agents = await self._worker.sessions.any(joining(self._step.sessions), find)
        except BuildkitError:
            if option.optional:
                return
            raise
        socket = agent_socket(agents, option.ID, uid=option.uid, gid=option.gid, mode=option.mode & 0o777)
        self._attach(mount, await self._scope.enter_async_context(socket))

    def _keep(self, mount: pb.Mount, what: Draft | Ref) -> None:
        if mount.output in self._made.results:
            raise InvalidInput(f"duplicate output {mount.output} of exec op")
        self._made.results[mount.output] = what

    def _attach(
        self, mount: pb.Mount, source: Source, *, readonly: bool | None = None, options: tuple[str, ...] = ()
    ) -> None:
        destination = mount.dest
        if not destination.startswith("/"):
            destination = posixpath.join("/", self._op.meta.cwd, destination)
        self._made.attachments.append(
            Attachment(
                posixpath.normpath(destination),
                source,
                mount.selector,
                mount.readonly if readonly is None else readonly,
                options,
            )
        )


async def find_secret(worker: Worker, step: Step, id: str, *, optional: bool) -> bytes | None:
    """A secret of any session that waits for the step; None when it is optional and nobody has it."""

    async def get(session: Session) -> bytes:
        if session.secrets is None:
            raise NotFound("not found")
        return await session.secrets.get(id)

    try:
        return await worker.sessions.any(joining(step.sessions), get)
    except NotFound as error:
        if optional:
            return None
        raise error.prefixed(f"secret {id}: ") from None


def _kind(number: pb.MountType.ValueType) -> str:
    try:
        return pb.MountType.Name(number)
    except ValueError:
        return str(number)
