"""``ListenBuildHistory`` and ``UpdateBuildHistory``: records as messages."""

from __future__ import annotations

from collections.abc import AsyncIterator

from google.rpc.status_pb2 import Status

from buildkit.api import control_pb2 as pb
from buildkit.control.progress import stamp
from buildkit.core.values import dataclass
from buildkit.solve.history import COMPLETE, DELETED, STARTED, History, Wanted
from buildkit.solve.record import BlobRef, BuildRecord, ResultBlobs

_KINDS = {STARTED: pb.STARTED, COMPLETE: pb.COMPLETE, DELETED: pb.DELETED}


@dataclass(frozen=True, slots=True)
class HistoryCalls:
    """The calls, over one history."""

    history: History

    async def listen(self, request: pb.BuildHistoryRequest) -> AsyncIterator[pb.BuildHistoryEvent]:
        """What is there and what happens."""
        wanted = Wanted(request.Ref, request.ActiveOnly, request.EarlyExit, tuple(request.Filter), request.Limit)
        async for event in self.history.listen(wanted):
            yield pb.BuildHistoryEvent(type=_KINDS[event.kind], record=record_to_pb(event.record))

    async def update(self, request: pb.UpdateBuildHistoryRequest) -> pb.UpdateBuildHistoryResponse:
        """Delete, pin or let go of a record; a finished one is final already."""
        if request.Delete:
            self.history.delete(request.Ref)
        elif not request.Finalize:
            self.history.pin(request.Ref, request.Pinned)
        return pb.UpdateBuildHistoryResponse()


def record_to_pb(record: BuildRecord) -> pb.BuildHistoryRecord:
    """The wire form of a record."""
    return pb.BuildHistoryRecord(
        Ref=record.ref,
        Frontend=record.frontend,
        FrontendAttrs=record.frontend_attrs,
        Exporters=[pb.Exporter(Type=one.type, Attrs=one.attrs) for one in record.exporters],
        error=Status(code=record.error.code, message=record.error.message) if record.error else None,
        CreatedAt=stamp(record.created_at) if record.created_at else None,
        CompletedAt=stamp(record.completed_at),
        logs=_blob(record.logs) if record.logs else None,
        trace=_blob(record.trace) if record.trace else None,
        ExporterResponse=record.exporter_response,
        Result=_result(record.result) if record.result else None,
        Results={platform: _result(one) for platform, one in record.results.items()},
        Generation=record.generation,
        pinned=record.pinned,
        numCachedSteps=record.steps.cached,
        numTotalSteps=record.steps.total,
        numCompletedSteps=record.steps.completed,
        numWarnings=record.steps.warnings,
        externalError=_blob(record.full_error) if record.full_error else None,
    )


def _result(result: ResultBlobs) -> pb.BuildResultInfo:
    images = {int(place): blob for place, blob in result.images.items()}
    return pb.BuildResultInfo(
        ResultDeprecated=_blob(images[min(images)]) if images else None,
        Attestations=[_blob(one) for one in result.attestations],
        Results={place: _blob(one) for place, one in images.items()},
    )


def _blob(blob: BlobRef) -> pb.Descriptor:
    return pb.Descriptor(media_type=blob.media_type, digest=blob.digest, size=blob.size, annotations=blob.annotations)
