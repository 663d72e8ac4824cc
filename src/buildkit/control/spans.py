"""The trace of a build for its record: spans as OpenTelemetry's SDK writes them down, one JSON object a line (row A51).

One span is the build, and one each time that a vertex was at work.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from typing import Any

from buildkit.core.progress import Update, VertexUpdate
from buildkit.core.version import SPOKEN
from buildkit.exporter.epoch import format_rfc3339

TRACE_TYPE = "application/vnd.buildkit.otlp.json.v0"

_SOLVE = "moby.buildkit.v1.Control/Solve"
_INTERNAL, _SERVER = 1, 2
_UNSET, _ERROR = 0, 1
_SAMPLED = "01"
_NOWHERE = {"TraceID": "0" * 32, "SpanID": "0" * 16, "TraceFlags": "00", "TraceState": "", "Remote": False}


def trace_of(updates: Sequence[Update], started: int, ended: int, error: str, parent: str = "") -> bytes:
    """The trace of a build that began and ended at these nanoseconds since 1970; ``error`` "" when it went well.

    ``parent`` is the ``traceparent`` of the client's span, if it has one: then this is a part of its trace.
    """
    _, trace, above, flags = parent.split("-") if parent else ("", os.urandom(16).hex(), "", "")
    beyond = {**_NOWHERE, "TraceID": trace, "SpanID": above, "TraceFlags": flags, "Remote": True} if above else _NOWHERE
    solve = _place(trace)
    children = [
        _span(
            f"load cache: {run.name}" if run.cached else run.name,
            _place(trace),
            solve,
            _INTERNAL,
            (run.started or 0, run.completed or ended),
            run.error,
            [_attribute("vertex", run.digest)],
        )
        for run in _runs(updates)
    ]
    method = [_attribute("rpc.method", _SOLVE), _attribute("rpc.system.name", "grpc")]
    top = _span(_SOLVE, solve, beyond, _SERVER, (started, ended), error, method)
    top["ChildSpanCount"] = len(children)
    return b"".join(json.dumps(span).encode() + b"\n" for span in (*children, top))


def _runs(updates: Sequence[Update]) -> Iterator[VertexUpdate]:
    """The last that was heard of every vertex since each of its starts."""
    found: dict[tuple[str, int], VertexUpdate] = {}
    for update in updates:
        if isinstance(update, VertexUpdate) and update.started is not None:
            found[update.digest, update.started] = update
    yield from found.values()


def _place(trace: str) -> dict[str, Any]:
    place = {"TraceID": trace, "SpanID": os.urandom(8).hex(), "TraceFlags": _SAMPLED}
    return {**place, "TraceState": "", "Remote": False}


def _attribute(key: str, value: str) -> dict[str, Any]:
    return {"Key": key, "Value": {"Type": "STRING", "Value": value}}


def _span(
    name: str,
    place: dict[str, Any],
    parent: dict[str, Any],
    kind: int,
    times: tuple[int, int],
    error: str,
    attributes: list[dict[str, Any]],
) -> dict[str, Any]:
    return {
        "Name": name,
        "SpanContext": place,
        "Parent": parent,
        "SpanKind": kind,
        "StartTime": format_rfc3339(times[0]),
        "EndTime": format_rfc3339(times[1]),
        "Attributes": attributes,
        "Events": None,
        "Links": None,
        "Status": {"Code": _ERROR if error else _UNSET, "Description": error},
        "DroppedAttributes": 0,
        "DroppedEvents": 0,
        "DroppedLinks": 0,
        "ChildSpanCount": 0,
        "Resource": [_attribute("service.name", "buildkitd"), _attribute("service.version", SPOKEN)],
        "InstrumentationScope": {"Name": "buildkitd", "Version": SPOKEN, "SchemaURL": "", "Attributes": {}},
        "InstrumentationLibrary": {"Name": "buildkitd", "Version": SPOKEN, "SchemaURL": "", "Attributes": {}},
    }
