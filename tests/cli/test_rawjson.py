"""Progress as JSON, against a recording."""

from __future__ import annotations

import io
import json

import pytest
from tests.kit.progress_records import GOLDEN, records

from buildkit.api import ops_pb2
from buildkit.cli.display.rawjson import RawJSONDisplay, format_time
from buildkit.core.errors import Range, SourceDetail
from buildkit.core.progress import VertexUpdate, WarningUpdate


def printed(*batches):
    out = io.BytesIO()
    display = RawJSONDisplay(out)
    for batch in batches:
        display.take(batch)
    return out.getvalue().decode().splitlines()


@pytest.mark.row("T91")
@pytest.mark.parametrize("name", ["first", "failing"])
def test_recorded_progress_prints_as_it_was(name):
    recorded = (GOLDEN / f"{name}.jsonl").read_text().splitlines()
    pairs = [(a, b) for a, b in zip(recorded, printed(*records(name)), strict=True) if '"definition"' not in a]
    assert len(pairs) > 20 and all(a == b for a, b in pairs)


@pytest.mark.row("T91")
def test_a_warning_carries_the_definition_of_its_source():
    definition = ops_pb2.Definition(metadata={"sha256:x": ops_pb2.OpMetadata(caps={"b": True, "a": True})})
    getattr(definition, "def").append(b"op")
    definition.Source.locations["sha256:x"].SetInParent()
    source = SourceDetail("f", b"FROM x", "Dockerfile", (Range(5, 0, 5, 3),), definition.SerializeToString())
    (line,) = printed([WarningUpdate("v", 1, b"short", source=source)])
    warning = json.loads(line)["warnings"][0]
    assert warning["range"] == [{"start": {"line": 5}, "end": {"line": 5, "character": 3}}]
    assert json.dumps(warning["sourceInfo"]["definition"]) == (
        '{"def": ["b3A="], "metadata": {"sha256:x": {"caps": {"a": true, "b": true}}},'
        ' "Source": {"locations": {"sha256:x": {}}}}'
    )


@pytest.mark.row("T91")
def test_what_html_needs_escaped_is_escaped():
    assert printed([VertexUpdate("d", "RUN a > b && c")]) == [
        r'{"vertexes":[{"digest":"d","name":"RUN a \u003e b \u0026\u0026 c"}]}'
    ]


@pytest.mark.parametrize(
    ("time", "text"),
    [(0, "1970-01-01T00:00:00Z"), (1_500_000_000, "1970-01-01T00:00:01.5Z"), (1, "1970-01-01T00:00:00.000000001Z")],
)
def test_times_have_as_many_decimals_as_they_need(time, text):
    assert format_time(time) == text
