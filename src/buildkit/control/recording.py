"""What history keeps of one build, gathered while it runs and when it ends."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterable, Mapping

from buildkit.control.progress import responses
from buildkit.control.spans import TRACE_TYPE, trace_of
from buildkit.core.progress import Stream, Update, VertexUpdate, WarningUpdate
from buildkit.core.values import replace
from buildkit.oci.spec import IN_TOTO, Descriptor
from buildkit.rpc import status
from buildkit.solve.history import History
from buildkit.solve.provenance.predicate import PREDICATE_TYPE
from buildkit.solve.record import BlobRef, BuildRecord, Failure, ResultBlobs, Steps
from buildkit.solve.request import SolveRequest, SolveResponse

LOGS_TYPE = "application/vnd.buildkit.status.v0"
ERROR_TYPE = "application/vnd.googeapis.google.rpc.status+proto"
"""Misspelt on the wire, and so it stays."""
TYPE_KEY = "in-toto.io/predicate-type"

_AT_ONCE = 1000
"""Updates in one stored message."""


def begin(history: History, request: SolveRequest) -> BuildRecord:
    """Tell history that a build begins."""
    record = BuildRecord(
        ref=request.id,
        frontend=request.frontend,
        frontend_attrs=request.frontend_attrs,
        exporters=request.exporters,
        created_at=time.time_ns(),
    )
    history.start(record)
    return record


def finish(
    history: History,
    record: BuildRecord,
    progress: Stream,
    *,
    response: SolveResponse | None = None,
    error: BaseException | None = None,
    trace_parent: str = "",
) -> BuildRecord:
    """Write down how a build ended, its blobs first. ``trace_parent`` is the client's span."""
    updates = progress.updates
    record = replace(
        record,
        completed_at=time.time_ns(),
        logs=store_blob(history, LOGS_TYPE, _framed(updates)),
        steps=_steps(updates),
    )
    if response is not None:
        results = {platform: _attested(history, content) for platform, content in response.provenance.items()}
        documents = {
            digest: content for image in response.images.values() for digest, content in image.documents.items()
        }
        for content in documents.values():
            history.content.put(content)
        images = {str(place): _blob_ref(image.root) for place, image in response.images.items()}
        alone = results.pop("", ResultBlobs())
        record = replace(
            record,
            exporter_response={key: value.decode("utf-8", "replace") for key, value in response.metadata.items()},
            result=replace(alone, images=images) if images or alone.attestations else None,
            results=results,
            manifests=tuple(documents),
        )
    if error is not None:
        found = status.to_status(error)
        full = store_blob(history, ERROR_TYPE, found.SerializeToString())
        record = replace(record, error=Failure(found.code, found.message), full_error=full)
    failure = record.error.message if record.error is not None else ""
    spans = trace_of(updates, record.created_at, record.completed_at or 0, failure, trace_parent)
    record = replace(record, trace=store_blob(history, TRACE_TYPE, spans))
    history.complete(record)
    return record


def _blob_ref(descriptor: Descriptor) -> BlobRef:
    return BlobRef(descriptor.media_type, descriptor.digest, descriptor.size, descriptor.annotations)


def _attested(history: History, predicate: bytes) -> ResultBlobs:
    """The bare predicate, which is what clients expect here."""
    return ResultBlobs(attestations=(store_blob(history, IN_TOTO, predicate, {TYPE_KEY: PREDICATE_TYPE}),))


def store_blob(history: History, media_type: str, content: bytes, annotations: Mapping[str, str] = {}) -> BlobRef:
    """Keep a blob for a record that is about to be written."""
    return BlobRef(media_type, history.content.put(content), len(content), dict(annotations))


def unframed(content: bytes) -> Iterable[bytes]:
    """The serialized status messages in a blob of logs."""
    at = 0
    while at + 4 <= len(content):
        (size,) = struct.unpack_from("<I", content, at)
        yield content[at + 4 : at + 4 + size]
        at += 4 + size


def _framed(updates: list[Update]) -> bytes:
    framed = []
    for at in range(0, len(updates), _AT_ONCE):
        for message in responses(updates[at : at + _AT_ONCE]):
            content = message.SerializeToString()
            framed += [struct.pack("<I", len(content)), content]
    return b"".join(framed)


def _steps(updates: list[Update]) -> Steps:
    vertices = [update for update in updates if isinstance(update, VertexUpdate)]
    return Steps(
        total=len({v.digest for v in vertices}),
        cached=len({v.digest for v in vertices if v.cached}),
        completed=len({v.digest for v in vertices if v.completed is not None}),
        warnings=sum(isinstance(update, WarningUpdate) for update in updates),
    )
