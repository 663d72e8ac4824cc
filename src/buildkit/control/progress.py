"""Progress as ``StatusResponse`` messages (specification rows A40 and A41)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from google.protobuf.timestamp_pb2 import Timestamp

from buildkit.api import control_pb2 as pb
from buildkit.api import ops_pb2
from buildkit.core.errors import SourceDetail
from buildkit.core.progress import LogUpdate, StatusUpdate, Update, VertexUpdate, WarningUpdate

MOST_LOG_BYTES = 1 << 20
"""Bytes of logs in one message, unless a single line has more."""


def stamp(nanoseconds: int | None) -> Timestamp | None:
    """A point of time as the wire has it."""
    if nanoseconds is None:
        return None
    seconds, nanos = divmod(nanoseconds, 10**9)
    return Timestamp(seconds=seconds, nanos=nanos)


def nanoseconds(message: Timestamp) -> int:
    """The reverse of `stamp`."""
    return message.seconds * 10**9 + message.nanos


def responses(batch: Sequence[Update]) -> Iterator[pb.StatusResponse]:
    """A batch of updates as messages: vertices by their start, the rest by time, logs in parts of bounded size."""
    vertices = sorted((u for u in batch if isinstance(u, VertexUpdate)), key=lambda u: u.started or 0)
    statuses = sorted((u for u in batch if isinstance(u, StatusUpdate)), key=lambda u: u.timestamp)
    logs = sorted((u for u in batch if isinstance(u, LogUpdate)), key=lambda u: u.timestamp)
    message = pb.StatusResponse(
        vertexes=[_vertex(u) for u in vertices],
        statuses=[_status(u) for u in statuses],
        warnings=[_warning(u) for u in batch if isinstance(u, WarningUpdate)],
    )
    for part in _parts(logs):
        message.logs.extend(_log(u) for u in part)
        yield message
        message = pb.StatusResponse()


def _parts(logs: Iterable[LogUpdate]) -> Iterator[list[LogUpdate]]:
    """Lists of bounded size; one empty list when there are no logs."""
    part: list[LogUpdate] = []
    size = 0
    for log in logs:
        if part and size + len(log.content) > MOST_LOG_BYTES:
            yield part
            part, size = [], 0
        part.append(log)
        size += len(log.content)
    yield part


def _vertex(update: VertexUpdate) -> pb.Vertex:
    group = update.group
    return pb.Vertex(
        digest=update.digest,
        inputs=update.inputs,
        name=update.name,
        cached=update.cached,
        started=stamp(update.started),
        completed=stamp(update.completed),
        error=update.error,
        progressGroup=ops_pb2.ProgressGroup(id=group.id, name=group.name, weak=group.weak) if group else None,
    )


def _status(update: StatusUpdate) -> pb.VertexStatus:
    return pb.VertexStatus(
        ID=update.id,
        vertex=update.vertex,
        name=update.name,
        current=update.current,
        total=update.total,
        timestamp=stamp(update.timestamp),
        started=stamp(update.started),
        completed=stamp(update.completed),
    )


def _log(update: LogUpdate) -> pb.VertexLog:
    return pb.VertexLog(
        vertex=update.vertex, timestamp=stamp(update.timestamp), stream=update.stream, msg=update.content
    )


def _warning(update: WarningUpdate) -> pb.VertexWarning:
    message = pb.VertexWarning(
        vertex=update.vertex, level=update.level, short=update.short, detail=update.detail, url=update.url
    )
    if update.source is not None:
        _add_source(message, update.source)
    return message


def _add_source(message: pb.VertexWarning, source: SourceDetail) -> None:
    message.info.filename = source.filename
    message.info.data = source.content
    message.info.language = source.language
    if source.definition:
        message.info.definition.ParseFromString(source.definition)
    for r in source.ranges:
        message.ranges.add(
            start=ops_pb2.Position(line=r.start_line, character=r.start_character),
            end=ops_pb2.Position(line=r.end_line, character=r.end_character),
        )
