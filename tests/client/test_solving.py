"""A build at a daemon, as the daemon sees it and as the user does."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from tests.kit.fake_daemon import FakeDaemon, listening
from tests.kit.otlp import ExportTraceServiceRequest

from buildkit.api import control_pb2 as control
from buildkit.api import gateway_pb2 as gateway
from buildkit.api import ops_pb2 as ops
from buildkit.client import solving, tracing
from buildkit.client.embedded import open_embedded
from buildkit.client.options import CacheOptions, OutputOptions, SolveOptions
from buildkit.client.remote import open_remote
from buildkit.core.errors import (
    BuildkitError,
    ExitError,
    InvalidInput,
    NotFound,
    Range,
    SourceDetail,
    Unsupported,
)
from buildkit.core.progress import LogUpdate, ProgressGroup, StatusUpdate, VertexUpdate, WarningUpdate
from buildkit.llb import local

DOCKERFILE = SolveOptions(frontend="dockerfile.v0", frontend_attrs={"target": "x"}, ref="ref1")


@asynccontextmanager
async def client_of(daemon, tmp_path):
    async with listening(daemon, f"{tmp_path}/s") as address, open_remote(address) as client:
        yield client


async def solve(daemon, tmp_path, options=DOCKERFILE):
    async with client_of(daemon, tmp_path) as client, client.build(options) as build:
        batches = [batch async for batch in build.progress()]
        return [update for batch in batches for update in batch], await build.result()


@pytest.mark.row("T23", "A186")
async def test_the_frontend_is_asked_for_by_the_client_and_its_result_returned_as_it_came(tmp_path):
    daemon = FakeDaemon()
    daemon.response = {"containerimage.digest": "sha256:1"}
    _, response = await solve(daemon, tmp_path)
    assert response.exporter == {"containerimage.digest": "sha256:1"} and response.metadata == {}
    outer = control.SolveRequest.FromString(daemon.requests["Solve"])
    assert (outer.Ref, outer.Frontend, outer.HasField("Definition")) == ("ref1", "", False)
    assert (
        outer.FrontendAttrs == {"target": "x"}
        and outer.Session == daemon.metadata["Session"]["x-docker-expose-session-uuid"][0]
    )
    inner = gateway.SolveRequest.FromString(daemon.requests["LLBBridge/Solve"])
    assert (inner.Frontend, inner.FrontendOpt, inner.allowResultReturn, inner.allowResultArrayRef) == (
        "dockerfile.v0",
        {"target": "x"},
        True,
        True,
    )
    assert daemon.returned.result == daemon.result
    assert daemon.metadata["LLBBridge/Ping"]["buildkit-controlapi-buildid"] == ["ref1"]


@pytest.mark.row("T24")
async def test_a_definition_is_solved_through_the_bridge(tmp_path):
    daemon = FakeDaemon()
    definition = ops.Definition(**{"def": [b"op"]})
    await solve(daemon, tmp_path, SolveOptions(definition=definition.SerializeToString()))
    inner = gateway.SolveRequest.FromString(daemon.requests["LLBBridge/Solve"])
    assert inner.Definition == definition and inner.Frontend == ""


@pytest.mark.row("A182")
async def test_a_directory_that_the_definition_reads_must_be_lent(tmp_path):
    daemon = FakeDaemon()
    definition = local("context").marshal().to_bytes()
    with pytest.raises(InvalidInput, match=r"^local directory context not enabled$"):
        await solve(daemon, tmp_path, SolveOptions(definition=definition, locals={"other": str(tmp_path)}))
    assert "Solve" not in daemon.asked
    await solve(daemon, tmp_path, SolveOptions(definition=definition, locals={"context": str(tmp_path)}))


@pytest.mark.row("A182")
async def test_the_engine_in_this_process_too_wants_directories_to_be_lent(tmp_path):
    definition = local("context").marshal().to_bytes()
    async with open_embedded(tmp_path / "state", waiting=print) as client:
        with pytest.raises(InvalidInput, match=r"^local directory context not enabled$"):
            async with client.build(SolveOptions(definition=definition)) as build:
                await build.result()


@pytest.fixture
def spans():
    """A daemon that collects spans, and those that it got."""
    daemon, found = FakeDaemon(), []

    async def take(request, call):
        for one in ExportTraceServiceRequest.FromString(request).resource_spans:
            found.extend((one.resource, span) for scope in one.scope_spans for span in scope.spans)
        return b""

    daemon.streams[tracing.EXPORT] = take
    return daemon, found


@pytest.mark.row("A187")
async def test_the_daemon_gets_the_clients_span_which_is_that_of_the_solve(spans, tmp_path, monkeypatch):
    daemon, found = spans
    monkeypatch.setenv("TRACEPARENT", "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01")
    await solve(daemon, tmp_path)
    [(resource, span)] = found
    assert daemon.metadata["Solve"]["traceparent"] == [f"00-{span.trace_id.hex()}-{span.span_id.hex()}-01"]
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == ("0123456789abcdef" * 2, "0123456789abcdef")
    assert span.name == "build" and 0 < span.start_time_unix_nano < span.end_time_unix_nano
    assert next((one.key, one.value.string_value) for one in resource.attributes) == ("service.name", "buildctl")
    assert daemon.asked[-1] == "TraceService/Export"


@pytest.mark.row("A187")
async def test_the_span_of_a_build_that_failed_says_why(spans, tmp_path, monkeypatch):
    daemon, found = spans
    monkeypatch.delenv("TRACEPARENT", raising=False)
    daemon.solve_error = BuildkitError("no way")
    with pytest.raises(BuildkitError):
        await solve(daemon, tmp_path)
    [(_, span)] = found
    assert span.status.code == 2 and "no way" in span.status.message and not span.parent_span_id


@pytest.mark.row("A150", "A180")
async def test_the_session_says_what_it_lends(tmp_path):
    daemon = FakeDaemon()
    await solve(daemon, tmp_path, SolveOptions(frontend="f", locals={"context": str(tmp_path)}))
    methods = daemon.metadata["Session"]["x-docker-expose-session-grpc-method"]
    assert "/moby.filesync.v1.FileSync/DiffCopy" in methods and "/grpc.health.v1.Health/Check" in methods
    assert not [one for one in methods if "FileSend" in one or "Secrets" in one]


@pytest.mark.row("T20", "T26", "T29", "T31", "T33", "A186")
async def test_every_option_is_in_the_request(tmp_path):
    daemon = FakeDaemon()
    policy = json.dumps({"rules": [{"action": "DENY", "selector": {"identifier": "docker-image://a"}}]})
    options = SolveOptions(
        frontend="f",
        outputs=(OutputOptions("image", {"name": "a"}), OutputOptions("local", {}, str(tmp_path / "out"))),
        exports=(CacheOptions("registry", {"ref": "r", "mode": "max"}),),
        imports=(CacheOptions("registry", {"ref": "r"}), CacheOptions("inline")),
        allow=("network.host",),
        source_policy=policy,
        proxy_network=True,
    )
    await solve(daemon, tmp_path, options)
    told = '[{"Type":"registry","Attrs":{"ref":"r"}},{"Type":"inline"}]'
    entry = control.CacheOptionsEntry
    expected = control.SolveRequest(
        ExporterDeprecated="image",
        ExporterAttrsDeprecated={"name": "a"},
        FrontendAttrs={"cache-imports": told},
        Cache=control.CacheOptions(
            Exports=[entry(Type="registry", Attrs={"ref": "r", "mode": "max"})],
            Imports=[entry(Type="registry", Attrs={"ref": "r"}), entry(Type="inline")],
        ),
        Entitlements=["network.host"],
        Exporters=[control.Exporter(Type="image", Attrs={"name": "a"}), control.Exporter(Type="local")],
        ProxyNetwork=True,
    )
    outer = control.SolveRequest.FromString(daemon.requests["Solve"])
    rule = outer.SourcePolicy.rules[0]
    assert (rule.action, rule.selector.identifier) == (1, "docker-image://a")
    outer.ClearField("SourcePolicy")
    outer.ClearField("Ref")
    outer.ClearField("Session")
    assert outer == expected
    assert gateway.SolveRequest.FromString(daemon.requests["LLBBridge/Solve"]).FrontendOpt["cache-imports"] == told


def at(seconds, nanos=0):
    return Timestamp(seconds=seconds, nanos=nanos)


@pytest.mark.row("T91")
async def test_the_status_becomes_updates(tmp_path):
    daemon = FakeDaemon()
    source = ops.SourceInfo(filename="Dockerfile", data=b"FROM x", language="Dockerfile")
    place = ops.Range(start=ops.Position(line=1, character=2), end=ops.Position(line=3, character=4))
    vertex = control.Vertex(digest="d", name="n", inputs=["a", "b"], cached=True, started=at(1, 5), completed=at(2))
    vertex.progressGroup.CopyFrom(ops.ProgressGroup(id="g", name="G", weak=True))
    daemon.statuses = [
        control.StatusResponse(vertexes=[vertex, control.Vertex(digest="e", error="bad")]),
        control.StatusResponse(
            statuses=[control.VertexStatus(ID="i", vertex="d", name="s", current=1, total=-1, timestamp=at(3))],
            logs=[control.VertexLog(vertex="d", stream=2, msg=b"out", timestamp=at(4))],
            warnings=[
                control.VertexWarning(
                    vertex="d", level=1, short=b"w", detail=[b"x", b"y"], url="u", info=source, ranges=[place]
                )
            ],
        ),
    ]
    updates, _ = await solve(daemon, tmp_path)
    assert updates == [
        VertexUpdate("d", "n", ("a", "b"), 10**9 + 5, 2 * 10**9, True, "", ProgressGroup("g", "G", True)),
        VertexUpdate("e", "", (), None, None, False, "bad"),
        StatusUpdate("d", "i", "s", 1, -1, 3 * 10**9),
        LogUpdate("d", 2, b"out", 4 * 10**9),
        WarningUpdate(
            "d", 1, b"w", (b"x", b"y"), "u", SourceDetail("Dockerfile", b"FROM x", "Dockerfile", (Range(1, 2, 3, 4),))
        ),
    ]


@pytest.mark.row("T38")
async def test_the_answer_of_a_subrequest_is_kept(tmp_path):
    options = SolveOptions(frontend="f", frontend_attrs={"requestid": "x"})
    _, response = await solve(FakeDaemon(), tmp_path, options)
    assert response.metadata == {"result.txt": b"told\n"}


@pytest.mark.row("T39", "A60")
async def test_a_failed_step_fails_the_build_with_everything_known_of_it(tmp_path):
    daemon = FakeDaemon()
    place = SourceDetail("Dockerfile", b"RUN x", "Dockerfile", (Range(1, 0, 1, 0),))
    daemon.bridge_error = ExitError("process did not complete: exit code: 7", code=7, details=(place,))
    with pytest.raises(ExitError) as raised:
        await solve(daemon, tmp_path)
    assert raised.value.message == "failed to solve: process did not complete: exit code: 7"
    assert raised.value.code == 7 and raised.value.details == (place,)
    assert daemon.returned.error.message == "process did not complete: exit code: 7" and daemon.returned.error.details


@pytest.mark.row("T4")
@pytest.mark.parametrize(
    ("error", "text"),
    [
        (BuildkitError('exporter "x" could not be found'), 'failed to solve: exporter "x" could not be found'),
        (NotFound("no such thing"), "failed to solve: NotFound: no such thing"),
    ],
)
async def test_the_code_of_an_error_is_told_when_it_has_one(error, text, tmp_path):
    daemon = FakeDaemon()
    daemon.solve_error = error
    with pytest.raises(type(error)) as raised:
        await solve(daemon, tmp_path)
    assert raised.value.message == text


@pytest.mark.row("A181")
async def test_a_status_that_never_ends_is_given_up_after_a_silence(tmp_path, monkeypatch):
    monkeypatch.setattr(solving, "QUIET_SECONDS", 0.01)
    daemon = FakeDaemon()
    daemon.silent = True
    daemon.statuses = [control.StatusResponse(vertexes=[control.Vertex(digest="d")])]
    updates, _ = await solve(daemon, tmp_path)
    assert [update.digest for update in updates] == ["d"]


async def test_a_status_that_fails_fails_the_build(tmp_path):
    daemon = FakeDaemon()
    daemon.status_error = NotFound("no such job ref1")
    with pytest.raises(NotFound, match="failed to receive status: NotFound: no such job ref1"):
        await solve(daemon, tmp_path)


async def test_leaving_a_build_cancels_it_at_the_daemon(tmp_path, monkeypatch):
    monkeypatch.setattr(solving, "QUIET_SECONDS", 0.01)
    daemon = FakeDaemon()
    daemon.hanging = True
    async with client_of(daemon, tmp_path) as client:
        async with client.build(DOCKERFILE):
            while daemon.returned is None:
                await asyncio.sleep(0)
        await daemon.cancelled.wait()


async def test_a_daemon_that_speaks_nonsense_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(solving, "_LATE_SECONDS", 0.01)
    daemon = FakeDaemon()
    daemon.result = gateway.ReadFileResponse(Data=b"\xff")
    daemon.result = type("Junk", (), {"SerializeToString": lambda self: b"\xff\xff"})
    monkeypatch.setattr(gateway, "SolveResponse", lambda result: result())
    with pytest.raises(InvalidInput, match="protobuf: "):
        await solve(daemon, tmp_path)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (SolveOptions(frontend="f", exports=(CacheOptions("local", {"dest": "d"}),)), "exporting a build cache to"),
        (SolveOptions(frontend="f", imports=(CacheOptions("local", {"src": "d"}),)), "importing a build cache"),
    ],
)
async def test_what_is_missing_is_refused_by_name(options, text, tmp_path):
    with pytest.raises(Unsupported, match=text):
        await solve(FakeDaemon(), tmp_path, options)
