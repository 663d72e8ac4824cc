"""A daemon at the other end of a wire, as a client: the same calls as to the engine in this process, and some more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from buildkit.client.dial import NO_TLS, TIMEOUT, dial
from buildkit.client.options import PruneOptions, SolveOptions, UsageRecord
from buildkit.client.running import RunningBuild
from buildkit.client.solving import CONTROL, Solving, told
from buildkit.client.statuses import updates_of
from buildkit.client.tls import TLSFiles
from buildkit.core import wire
from buildkit.core.digest import sha256_text
from buildkit.core.errors import BuildkitError, Unsupported
from buildkit.core.identity import new_id
from buildkit.core.progress import Stream, Update
from buildkit.core.values import dataclass
from buildkit.rpc.client import Channel

if TYPE_CHECKING:
    from buildkit.api import control_pb2
    from buildkit.client.workers import Version, WorkerRecord

_CONTENT = "/containerd.services.content.v1.Content/"


@asynccontextmanager
async def open_remote(
    address: str,
    *,
    tls: TLSFiles = NO_TLS,
    timeout: float = TIMEOUT,  # noqa: ASYNC109
    wait: bool = False,
) -> AsyncIterator[RemoteClient]:
    """A client of the daemon at ``address`` (`buildkit.client.dial`); raises `Unavailable` when nobody is there."""
    async with dial(address, tls, timeout=timeout, wait=wait) as channel:
        yield RemoteClient(channel)


@dataclass(frozen=True, slots=True, eq=False)
class RemoteClient:
    """A client of a daemon, for as long as the connection's scope lasts."""

    channel: Channel

    @asynccontextmanager
    async def build(self, options: SolveOptions) -> AsyncIterator[RunningBuild]:
        """Start a build; leaving the scope early cancels it and waits until the daemon has said so."""
        from buildkit.client.lending import open_session

        _refuse_what_is_missing(options)
        stream = Stream()
        async with open_session(options, stream, _shared_key(options)) as session:
            solving = Solving(self.channel, options, options.ref or new_id(), session, stream)
            task = asyncio.create_task(solving.run())
            try:
                yield RunningBuild(stream, task)
            finally:
                if not task.done():
                    task.cancel()
                    await asyncio.wait([task])

    async def usage(self, filters: Sequence[str] = ()) -> list[UsageRecord]:
        """What takes space, smallest first."""
        from buildkit.api.control_pb2 import DiskUsageRequest, DiskUsageResponse

        request = DiskUsageRequest(filter=filters).SerializeToString()
        found = DiskUsageResponse.FromString(await self._ask("DiskUsage", request, "failed to call diskusage"))
        return sorted(map(_usage_of, found.record), key=lambda record: (record.size, record.id))

    async def prune(self, options: PruneOptions) -> AsyncIterator[UsageRecord]:
        """Free space; yields each record once it is gone."""
        from buildkit.api.control_pb2 import PruneRequest, UsageRecord

        request = PruneRequest(
            filter=options.filters,
            all=options.all,
            keepDuration=options.keep_duration,
            reservedSpace=options.reserved_space,
            maxUsedSpace=options.max_used_space,
            minFreeSpace=options.min_free_space,
        )
        async for message in self._stream("Prune", request.SerializeToString()):
            yield _usage_of(UsageRecord.FromString(message))

    async def workers(self, filters: Sequence[str] = ()) -> list[WorkerRecord]:
        """The daemon's workers, the default one first."""
        from buildkit.api.control_pb2 import ListWorkersRequest, ListWorkersResponse
        from buildkit.client.workers import WorkerRecord

        request = ListWorkersRequest(filter=filters).SerializeToString()
        found = ListWorkersResponse.FromString(await self._ask("ListWorkers", request, "failed to list workers"))
        return [WorkerRecord.from_pb(one) for one in found.record]

    async def version(self) -> Version:
        """Which BuildKit the daemon is."""
        from buildkit.api.control_pb2 import InfoResponse
        from buildkit.client.workers import Version

        answer = InfoResponse.FromString(await self._ask("Info", b"", "failed to call info"))
        return Version.from_pb(answer.buildkitVersion)

    async def status(self, ref: str) -> AsyncIterator[Sequence[Update]]:
        """The progress of a build, running or remembered, until it ends; raises `NotFound`."""
        async for message in self._stream("Status", wire.text(1, ref)):
            yield updates_of(message)

    async def history(
        self, *, active: bool = False, ref: str = "", follow: bool = False
    ) -> AsyncIterator[control_pb2.BuildHistoryEvent]:
        """The builds that the daemon remembers or, with ``active``, runs; with ``follow`` also what comes."""
        from buildkit.api.control_pb2 import BuildHistoryEvent, BuildHistoryRequest

        request = BuildHistoryRequest(ActiveOnly=active, Ref=ref, EarlyExit=not follow)
        async for message in self._stream("ListenBuildHistory", request.SerializeToString()):
            yield BuildHistoryEvent.FromString(message)

    async def update_history(self, ref: str, *, pinned: bool = False, delete: bool = False) -> None:
        """Pin a build's record, free it again, or delete it; raises `NotFound`."""
        from buildkit.api.control_pb2 import UpdateBuildHistoryRequest

        request = UpdateBuildHistoryRequest(Ref=ref, Pinned=pinned, Delete=delete)
        await self._ask("UpdateBuildHistory", request.SerializeToString(), "")

    async def read_blob(self, digest: str) -> AsyncIterator[bytes]:
        """A blob of the daemon's content store, in parts; raises `NotFound`."""
        from buildkit.api.content_pb2 import ReadContentRequest, ReadContentResponse

        request = ReadContentRequest(digest=digest).SerializeToString()
        async for message in self._stream(_CONTENT + "Read", request):
            yield ReadContentResponse.FromString(message).data

    async def _ask(self, method: str, request: bytes, what: str) -> bytes:
        try:
            return await self.channel.unary(CONTROL + method, request)
        except BuildkitError as error:
            raise told(error, what) from None

    async def _stream(self, method: str, request: bytes) -> AsyncIterator[bytes]:
        call = self.channel.call(method if method.startswith("/") else CONTROL + method)
        try:
            call.send_all([request])
            call.end()
            async for message in call:
                yield message
        except BuildkitError as error:
            raise told(error, "") from None
        finally:
            call.cancel()


def _shared_key(options: SolveOptions) -> str:
    """Names the directory that is built, and this machine: the same for every build of it, and for no other."""
    names = ("context",) if "context" in options.locals else sorted(options.locals)
    if not names:
        return ""
    import os

    places = (f"{name}={os.path.realpath(options.locals[name])}" for name in names)
    return sha256_text("\0".join((os.uname().nodename, *places)))


def _refuse_what_is_missing(options: SolveOptions) -> None:
    for what, caches in (("exporting a build cache", options.exports), ("importing a build cache", options.imports)):
        for cache in caches:
            if cache.type == "local":
                raise Unsupported(f"{what} to or from a directory of the client (type=local) is not supported yet")


def _usage_of(message: control_pb2.UsageRecord) -> UsageRecord:
    return UsageRecord(
        id=message.ID,
        size=message.Size,
        created=message.CreatedAt.ToNanoseconds(),
        last_used=message.LastUsedAt.ToNanoseconds() if message.HasField("LastUsedAt") else None,
        usage_count=message.UsageCount,
        parents=tuple(message.Parents),
        description=message.Description,
        record_type=message.RecordType,
        mutable=message.Mutable,
        in_use=message.InUse,
        shared=message.Shared,
    )
