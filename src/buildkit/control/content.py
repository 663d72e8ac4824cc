"""``containerd.services.content.v1.Content``, to read only: what the store has, else what history has (row A9)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from google.protobuf.empty_pb2 import Empty

from buildkit.api import content_pb2 as pb
from buildkit.control.calls import listing, unary
from buildkit.control.progress import stamp
from buildkit.core.digest import parse_digest
from buildkit.core.errors import FailedPrecondition, InvalidInput, NotFound
from buildkit.core.values import dataclass
from buildkit.rpc.server import Method, ServerCall
from buildkit.store.content import Blob, ContentStore
from buildkit.store.filters import parse_filters

SERVICE = "containerd.services.content.v1.Content"
_CHUNK = 1 << 20
_AT_ONCE = 100
"""Entries in one message of a list."""


@dataclass(frozen=True, slots=True)
class ContentCalls:
    """The service over stores of which the first that has a blob gives it."""

    stores: Sequence[ContentStore]

    def methods(self) -> dict[str, Method]:
        """The methods by path."""
        named = {
            "Info": unary(pb.InfoRequest, self.info),
            "List": listing(pb.ListContentRequest, self.list),
            "Read": listing(pb.ReadContentRequest, self.read),
            "Status": unary(pb.StatusRequest, self.status),
            "ListStatuses": unary(pb.ListStatusesRequest, self.list_statuses),
            "Update": unary(pb.UpdateRequest, _refuse),
            "Delete": unary(pb.DeleteContentRequest, _refuse),
            "Abort": unary(pb.AbortRequest, _refuse),
            "Write": Method(streaming=_refuse_stream),
        }
        return {f"/{SERVICE}/{name}": method for name, method in named.items()}

    def _find(self, digest: str) -> tuple[ContentStore, Blob]:
        parse_digest(digest)
        for store in self.stores:
            if (blob := store.find(digest)) is not None:
                return store, blob
        raise NotFound(f"content {digest}: not found")

    async def info(self, request: pb.InfoRequest) -> pb.InfoResponse:
        """Size and age of a blob."""
        return pb.InfoResponse(info=_info(self._find(request.digest)[1]))

    async def list(self, request: pb.ListContentRequest) -> AsyncIterator[pb.ListContentResponse]:
        """Every blob of the first store that passes the filters (by ``digest`` and ``size``)."""
        passes = parse_filters([text for text in request.filters if text])
        found: list[pb.Info] = []
        for blob in self.stores[0].walk():
            if passes({"digest": blob.digest, "size": str(blob.size)}):
                found.append(_info(blob))
            if len(found) == _AT_ONCE:
                yield pb.ListContentResponse(info=found)
                found = []
        if found:
            yield pb.ListContentResponse(info=found)

    async def read(self, request: pb.ReadContentRequest) -> AsyncIterator[pb.ReadContentResponse]:
        """A blob, or a part of it: ``size`` 0 is up to the end."""
        store, blob = self._find(request.digest)
        at, end = request.offset, blob.size
        if at < 0 or request.size < 0 or at > end:
            raise InvalidInput(f"content {request.digest}: offset {at} and size {request.size} are not within {end}")
        if request.size:
            end = min(end, at + request.size)
        with store.open(request.digest) as file:
            file.seek(at)
            while at < end and (part := file.read(min(_CHUNK, end - at))):
                yield pb.ReadContentResponse(offset=at, data=part)
                at += len(part)

    async def status(self, request: pb.StatusRequest) -> pb.StatusResponse:
        """Nothing is ever being written through this service."""
        raise NotFound(f"status for ref {request.ref!r}: not found")

    async def list_statuses(self, request: pb.ListStatusesRequest) -> pb.ListStatusesResponse:
        """See `status`."""
        return pb.ListStatusesResponse()


def _info(blob: Blob) -> pb.Info:
    written = stamp(blob.created)
    return pb.Info(digest=blob.digest, size=blob.size, created_at=written, updated_at=written)


async def _refuse(request: object) -> Empty:
    raise FailedPrecondition("read-only content store")


async def _refuse_stream(call: ServerCall) -> None:
    raise FailedPrecondition("read-only content store")
