"""Progress for programs: one JSON object for each batch of updates, in the form of BuildKit's Go client."""

from __future__ import annotations

import json
import time
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, BinaryIO

from buildkit.core.errors import Range, SourceDetail
from buildkit.core.progress import LogUpdate, StatusUpdate, Update, VertexUpdate, WarningUpdate

_SECOND = 1_000_000_000
_ESCAPES = str.maketrans({c: f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"})


def format_time(nanoseconds: int) -> str:
    """RFC 3339 in UTC with as many decimals as needed: ``2026-11-20T21:52:24.765124483Z``."""
    seconds, rest = divmod(nanoseconds, _SECOND)
    fraction = f".{rest:09d}".rstrip("0") if rest else ""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + fraction + "Z"


def to_json(value: Any) -> str:
    """Compact JSON, with the characters escaped that Go escapes for HTML."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).translate(_ESCAPES)


class RawJSONDisplay:
    """Prints to ``out``; nothing is held back."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out

    def take(self, batch: Sequence[Update]) -> None:
        """Print one object."""
        text = to_json(status_of(batch)) + "\n"
        self._out.write(text.encode(errors="surrogateescape"))
        self._out.flush()

    def refresh(self) -> None:
        """Nothing is held back."""

    def finish(self) -> None:
        """Nothing is held back."""


def status_of(batch: Iterable[Update]) -> dict[str, list[dict[str, Any]]]:
    """A batch as JSON-able values; empty lists and empty fields are left out."""
    out: dict[str, list[dict[str, Any]]] = {"vertexes": [], "statuses": [], "logs": [], "warnings": []}
    for update in batch:
        if isinstance(update, VertexUpdate):
            out["vertexes"].append(_vertex(update))
        elif isinstance(update, StatusUpdate):
            out["statuses"].append(_status(update))
        elif isinstance(update, LogUpdate):
            out["logs"].append(_log(update))
        else:
            out["warnings"].append(_warning(update))
    return {key: entries for key, entries in out.items() if entries}


def _filled(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if value or value == {}}


def _time(nanoseconds: int | None) -> str:
    return "" if nanoseconds is None else format_time(nanoseconds)


def _vertex(update: VertexUpdate) -> dict[str, Any]:
    group = update.group
    return _filled(
        {
            "digest": update.digest,
            "inputs": list(update.inputs),
            "name": update.name,
            "started": _time(update.started),
            "completed": _time(update.completed),
            "cached": update.cached,
            "error": update.error,
            "progressGroup": group and _filled({"id": group.id, "name": group.name, "weak": group.weak}),
        }
    )


def _status(update: StatusUpdate) -> dict[str, Any]:
    head = _filled({"vertex": update.vertex, "name": update.name, "total": update.total})
    tail = _filled({"started": _time(update.started), "completed": _time(update.completed)})
    return {"id": update.id, **head, "current": update.current, "timestamp": format_time(update.timestamp), **tail}


def _log(update: LogUpdate) -> dict[str, Any]:
    head = _filled({"vertex": update.vertex, "stream": update.stream})
    return {**head, "data": b64encode(update.content).decode(), "timestamp": format_time(update.timestamp)}


def _warning(update: WarningUpdate) -> dict[str, Any]:
    source = update.source
    return _filled(
        {
            "vertex": update.vertex,
            "level": update.level,
            "short": b64encode(update.short).decode(),
            "detail": [b64encode(line).decode() for line in update.detail],
            "url": update.url,
            "sourceInfo": source and _source(source),
            "range": [_range(one) for one in source.ranges] if source else [],
        }
    )


def _source(source: SourceDetail) -> dict[str, Any]:
    return _filled(
        {
            "filename": source.filename,
            "data": b64encode(source.content).decode(),
            "definition": _definition(source.definition) if source.definition else None,
            "language": source.language,
        }
    )


def _range(one: Range) -> dict[str, Any]:
    return {
        "start": _filled({"line": one.start_line, "character": one.start_character}),
        "end": _filled({"line": one.end_line, "character": one.end_character}),
    }


def _definition(serialized: bytes) -> Any:
    from buildkit.api import ops_pb2

    return _message(ops_pb2.Definition.FromString(serialized))


def _message(value: Any) -> Any:
    """A protobuf message as Go's ``encoding/json`` prints its struct: set fields only, bytes in base64."""
    if isinstance(value, bytes):
        return b64encode(value).decode()
    if not hasattr(value, "ListFields"):
        return value
    out: dict[str, Any] = {}
    for field, content in value.ListFields():
        if isinstance(content, Mapping):
            out[field.name] = {key: _message(content[key]) for key in sorted(content)}
        elif not isinstance(content, bytes | str) and isinstance(content, Sequence):
            out[field.name] = [_message(one) for one in content]
        else:
            out[field.name] = _message(content)
    return out
