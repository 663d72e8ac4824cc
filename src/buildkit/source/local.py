"""Local directories: a session lends them, and those of this process are read in place."""

from __future__ import annotations

import json
import os
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from buildkit.core.aio import finish_in_thread
from buildkit.core.digest import Digest, sha256
from buildkit.core.errors import FailedPrecondition, InvalidInput, NotFound, Unsupported
from buildkit.core.gobool import FALSE, TRUE
from buildkit.core.platform import Platform
from buildkit.core.progress import Reporter
from buildkit.core.values import dataclass
from buildkit.fs.filehash import Memory
from buildkit.oci import spec
from buildkit.session.registry import Sessions, joining
from buildkit.session.session import Fetch, LocalTree, Patterns, Session
from buildkit.source.memory import Fresh
from buildkit.source.source import Asking
from buildkit.store.lease import Lease
from buildkit.store.refs import Ref
from buildkit.store.store import Store
from buildkit.store.view import View

RECORD_TYPE = "source.local"
_PAUSE = 100_000_000
"""Nanoseconds between two statuses of a transfer."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a definition says about a local directory."""

    name: str
    session: str = ""
    include: tuple[str, ...] | None = None
    exclude: tuple[str, ...] | None = None
    follow: tuple[str, ...] | None = None
    shared_key_hint: str = ""
    compare: bool = True
    """Whether files that look the same are taken for the same (``local.differ``)."""
    metadata: bool = False
    """Whether only the metadata of files is wanted (``local.metadatatransfer``)."""
    excepted: tuple[str, ...] = ()
    """Patterns of those whose content is wanted all the same."""

    def key(self, session: str) -> Digest:
        """BuildKit's digest of what is asked for, and from whom."""
        fields: dict[str, object] = {"SessionID": session}
        for field, patterns in (
            ("IncludePatterns", self.include),
            ("ExcludePatterns", self.exclude),
            ("FollowPaths", self.follow),
        ):
            fields[field] = list(patterns) if patterns is not None else None
        if self.metadata:
            fields["MetadataTransfer"] = True
        if self.excepted:
            fields["MetadataExceptions"] = list(self.excepted)
        return sha256(spec.encode(fields))


class Locals:
    """The scheme ``local``."""

    schemes = ("local",)

    def __init__(self, sessions: Sessions, store: Store, memory: Memory | None = None) -> None:
        self.sessions = sessions
        self.store = store
        self.memory = memory

    def open(self, scheme: str, name: str, attrs: Mapping[str, str], platform: Platform) -> Local:
        """A source for one directory; raises `InvalidInput`."""
        session = attrs.get("local.session", "")
        prefix, _, rest = session.partition(":")
        if rest:
            name, session = f"{prefix}-{name}", rest
        transfer = attrs.get("local.metadatatransfer", "")
        if transfer not in ("", *FALSE, *TRUE):
            raise InvalidInput(f"invalid value for local.metadatatransfer {transfer!r}")
        wanted = Wanted(
            name,
            session,
            _parse_list(attrs, "local.includepattern"),
            _parse_list(attrs, "local.excludepatterns"),
            _parse_list(attrs, "local.followpaths"),
            attrs.get("local.sharedkeyhint", ""),
            compare=attrs.get("local.differ", "") != "none",
            metadata=transfer in TRUE,
            excepted=_parse_list(attrs, "local.metadatatransferexclude") or (),
        )
        return Local(self, wanted)


class Local:
    """One local directory."""

    def __init__(self, locals: Locals, wanted: Wanted) -> None:
        self._locals = locals
        self._wanted = wanted
        self._pin = ""

    @property
    def pin(self) -> str:
        """The digest of what was asked for."""
        return self._pin

    async def keys(self, step: Asking) -> AsyncIterator[str]:
        """One key, good for one session: what is reused is found by content."""
        session = self._wanted.session or next(iter(step.sessions()), "")
        if not session:
            raise FailedPrecondition("could not access local files without session")
        self._pin = self._wanted.key(session)
        yield f"session:{self._wanted.name}:{self._pin}"

    async def snapshot(self, step: Asking, lease: Lease) -> Ref | None:
        """The directory as it is, to be read in place; one of a far client is brought here first."""
        sessions, wanted = self._locals.sessions, self._wanted
        if wanted.session:
            try:
                return await self._borrow(await sessions.get(wanted.session), step, lease)
            except NotFound:
                if not step.sessions():
                    raise

        async def use(session: Session) -> Ref:
            return await self._borrow(session, step, lease)

        return await sessions.any(joining(step.sessions), use)

    async def _borrow(self, session: Session, step: Asking, lease: Lease) -> Ref:
        if session.locals is None:
            raise FailedPrecondition("no local sources enabled")
        tree = session.locals.tree(self._wanted.name)
        if self._wanted.metadata and (tree.fetch is not None or tree.path is not None):
            return await self._collect(tree, session.shared_key, step, lease)
        if tree.fetch is not None:
            return await self._receive(tree.fetch, session.shared_key, step, lease)
        if tree.path is None:
            raise Unsupported(f"local directory {self._wanted.name} can not be read")
        return self._view(tree.path, step, lease)

    async def _receive(self, fetch: Fetch, shared_key: str, step: Asking, lease: Lease) -> Ref:
        """Have the client's directory sent into the copy of the last time."""
        from buildkit.fs.receive import Receiver

        wanted = self._wanted
        key = ":".join((wanted.name, wanted.shared_key_hint, shared_key))
        description = f"local source for {wanted.name}"
        patterns = Patterns(wanted.include or (), wanted.exclude or (), wanted.follow or ())
        store = self._locals.store
        async with store.kept_tree(key, lease, description=description, record_type=RECORD_TYPE) as kept:
            memory = Fresh(self._locals.memory)
            receiver = Receiver(kept.path, compare=wanted.compare, remember=memory.remember, before=kept.announced)
            with receiver, _Counter(f"transferring {wanted.name}:", step.progress) as seen:
                await fetch(patterns, receiver, seen)
            step.note(local=wanted.name, received=receiver.received, changed=receiver.changed)
            return kept.lend(changed=receiver.changed, announced=receiver.announced, memory=memory)

    async def _collect(self, tree: LocalTree, shared_key: str, step: Asking, lease: Lease) -> Ref:
        """Have the metadata of a directory, and the files in it that are excepted."""
        from buildkit.fs.metadata import MetadataReceiver, collect
        from buildkit.fs.send import SentTree

        wanted = self._wanted
        key = ":".join((wanted.name, wanted.shared_key_hint, shared_key, "metadata"))
        patterns = Patterns(wanted.include or (), wanted.exclude or (), wanted.follow or ())
        description = f"local source for {wanted.name}"
        store = self._locals.store
        async with store.kept_tree(key, lease, description=description, record_type=RECORD_TYPE) as kept:
            receiver = MetadataReceiver(kept.path, wanted.excepted, compare=wanted.compare)
            with receiver, _Counter(f"transferring {wanted.name}:", step.progress) as seen:
                if tree.fetch is not None:
                    await tree.fetch(patterns, receiver, seen)
                else:
                    sent = SentTree(str(tree.path), patterns.include, patterns.exclude, patterns.follow, owner=(0, 0))
                    await finish_in_thread(collect, sent, receiver)
                    seen(receiver.received)
            step.note(local=wanted.name, received=receiver.received)
            return kept.lend(changed=True)

    def _view(self, path: Path, step: Asking, lease: Lease) -> Ref:
        wanted = self._wanted
        status, started = f"reading {wanted.name} in place", time.time_ns()
        view = View(
            str(path),
            include=wanted.include or (),
            exclude=wanted.exclude or (),
            follow=wanted.follow or (),
            memory=self._locals.memory,
        )
        ref = self._locals.store.add_view(
            view, lease, description=f"local source for {wanted.name}", record_type=RECORD_TYPE
        )
        step.progress.status(status, started=started, completed=time.time_ns())
        step.note(local=wanted.name, path=os.fspath(path))
        return ref


class _Counter:
    """A status that counts bytes, written ten times a second at most."""

    def __init__(self, id: str, progress: Reporter) -> None:
        self._id = id
        self._progress = progress
        self._started = self._written = 0
        self._current = 0

    def __enter__(self) -> _Counter:
        self._started = time.time_ns()
        self._write(self._started)
        return self

    def __call__(self, current: int) -> None:
        self._current = current
        now = time.time_ns()
        if now - self._written > _PAUSE:
            self._write(now)

    def __exit__(self, *args: object) -> None:
        self._write(time.time_ns(), last=True)

    def _write(self, now: int, *, last: bool = False) -> None:
        self._written = now
        self._progress.status(
            self._id,
            name="transferring",
            current=self._current,
            started=self._started,
            completed=now if last else None,
        )


def _parse_list(attrs: Mapping[str, str], key: str) -> tuple[str, ...] | None:
    if key not in attrs:
        return None
    text = attrs[key]
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"invalid value for {key}: {error}") from error
    if found is None:
        return None
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise InvalidInput(f"invalid value for {key}: not a list of strings")
    return tuple(found)
