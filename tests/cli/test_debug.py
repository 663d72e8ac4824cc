"""Commands that look into a daemon: what they ask and what they print, as Go's client prints it."""

from __future__ import annotations

import json
import sqlite3

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from tests.kit.fake_daemon import CONTROL, FakeDaemon, in_thread

from buildkit import llb
from buildkit.api import content_pb2 as content
from buildkit.api import control_pb2 as control
from buildkit.api import ops_pb2 as ops
from buildkit.api import worker_pb2 as worker
from buildkit.cli.debug.workers import format_duration
from buildkit.cli.main import main
from buildkit.core.errors import NotFound

DIGEST = "sha256:" + "2" * 64
VERSION = worker.BuildkitVersion(package="p", version="v1", revision="r", dockerfileVersion="1.2")
HISTORY = CONTROL + "ListenBuildHistory"
UPDATE = CONTROL + "UpdateBuildHistory"
READ = "/containerd.services.content.v1.Content/Read"


@pytest.fixture
def daemon(tmp_path, monkeypatch):
    """Put answers into its ``streams`` and call it; gives what the command printed."""
    monkeypatch.setenv("TZ", "UTC")
    return FakeDaemon()


@pytest.fixture
def told(daemon, tmp_path, capfd):
    def run(*words, status=0, **streams):
        with in_thread(daemon, f"{tmp_path}/s") as address:
            assert main(["--addr", address, *words]) == status
        printed = capfd.readouterr()
        return printed.out if status == 0 else printed.err

    return run


def always(message):
    async def answer(request, call):
        return message.SerializeToString()

    return answer


@pytest.mark.row("T66")
def test_info_names_the_version(daemon, told):
    daemon.streams[CONTROL + "Info"] = always(control.InfoResponse(buildkitVersion=VERSION))
    assert told("debug", "info") == "BuildKit:   p v1 r\nDockerfile: 1.2\n"
    asked = json.loads(told("debug", "info", "--format", "json"))
    assert asked["buildkitVersion"]["dockerfileVersion"] == "1.2"


@pytest.fixture
def worker_record():
    return worker.WorkerRecord(
        ID="w1",
        Labels={"b": "2", "a": "1"},
        platforms=[ops.Platform(OS="linux", Architecture="amd64"), ops.Platform(OS="linux", Architecture="386")],
        GCPolicy=[
            worker.GCPolicy(filters=["type==a", "type==b"], keepDuration=172800 * 10**9, maxUsedSpace=512 * 10**6),
            worker.GCPolicy(all=True, reservedSpace=15 * 10**8, minFreeSpace=10**10),
        ],
        BuildkitVersion=VERSION,
        CDIDevices=[worker.CDIDevice(Name="d", AutoAllow=True, Annotations={"k": "v"})],
    )


@pytest.mark.row("T65")
def test_workers_are_a_table(daemon, told, worker_record):
    daemon.streams[CONTROL + "ListWorkers"] = always(control.ListWorkersResponse(record=[worker_record]))
    assert told("debug", "workers", "-f", "id==w1") == "ID\tPLATFORMS\nw1\tlinux/amd64,linux/386\n"
    assert control.ListWorkersRequest.FromString(daemon.requests["ListWorkers"]).filter == ["id==w1"]


@pytest.mark.row("T65")
def test_workers_tell_everything_when_asked(daemon, told, worker_record):
    daemon.streams[CONTROL + "ListWorkers"] = always(control.ListWorkersResponse(record=[worker_record]))
    assert [line.split() for line in told("debug", "workers", "-v").splitlines()] == [
        ["ID:", "w1"],
        ["Platforms:", "linux/amd64,linux/386"],
        ["BuildKit:", "p", "v1", "r"],
        ["Dockerfile:", "1.2"],
        ["Labels:"],
        ["a:", "1"],
        ["b:", "2"],
        ["Devices:"],
        ["Name:", "d"],
        ["AutoAllow:", "true"],
        ["Annotations:", "k:", "v"],
        [],
        ["GC", "Policy", "rule#0:"],
        ["All:", "false"],
        ["Filters:", "type==a", "type==b"],
        ["Keep", "duration:", "48h0m0s"],
        ["Maximum", "used", "space:", "512MB"],
        ["GC", "Policy", "rule#1:"],
        ["All:", "true"],
        ["Reserved", "space:", "1.5GB"],
        ["Minimum", "free", "space:", "10GB"],
        [],
    ]


@pytest.mark.row("T65")
def test_workers_as_json_have_the_names_of_gos_client(daemon, told, worker_record):
    daemon.streams[CONTROL + "ListWorkers"] = always(control.ListWorkersResponse(record=[worker_record]))
    (found,) = json.loads(told("debug", "workers", "--format", "{{json .}}"))
    assert found["platforms"][0] == {"architecture": "amd64", "os": "linux"} and list(found["labels"]) == ["a", "b"]
    assert found["gcPolicy"][1] == {
        "all": True,
        "filter": None,
        "keepDuration": 0,
        "reservedSpace": 1500000000,
        "maxUsedSpace": 0,
        "minFreeSpace": 10000000000,
    }
    assert found["cdiDevices"] == [{"name": "d", "autoAllow": True, "annotations": {"k": "v"}, "onDemand": False}]


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [(0, "0s"), (1500 * 10**6, "1.5s"), (60 * 10**9, "1m0s"), (3600 * 10**9, "1h0m0s"), (90500 * 10**6, "1m30.5s")],
)
def test_durations_are_printed_as_go_does(nanoseconds, text):
    assert format_duration(nanoseconds) == text


def record(ref, **fields):
    return control.BuildHistoryEvent(
        type=control.COMPLETE,
        record=control.BuildHistoryRecord(
            Ref=ref, CreatedAt=Timestamp(seconds=1, nanos=5), CompletedAt=Timestamp(seconds=2), Generation=1, **fields
        ),
    )


@pytest.mark.row("T70")
def test_histories_are_a_table_or_json(daemon, told):
    daemon.streams[HISTORY] = [record("a"), record("b", pinned=True)]
    rows = [line.split() for line in told("debug", "histories").splitlines()]
    times = ["1970-01-01T00:00:01Z", "1970-01-01T00:00:02Z"]
    assert rows == [
        ["TYPE", "REF", "CREATED", "COMPLETED", "GENERATION", "PINNED"],
        ["COMPLETE", "a", *times, "1"],
        ["COMPLETE", "b", *times, "1", "*"],
    ]
    assert control.BuildHistoryRequest.FromString(daemon.requests["ListenBuildHistory"]).EarlyExit
    first = told("debug", "histories", "--format", "{{json .}}").splitlines()[0]
    created = '"CreatedAt":{"seconds":1,"nanos":5},"CompletedAt":{"seconds":2}'
    assert first == f'{{"type":1,"record":{{"Ref":"a",{created},"Generation":1}}}}'
    assert told("debug", "histories", "--format", "{{.Record.Ref}} {{.Type}}") == "a COMPLETE\nb COMPLETE\n"


@pytest.mark.row("T64")
def test_histories_are_pruned_but_for_pinned_ones(daemon, told):
    deleted = []

    async def update(request, call):
        deleted.append(control.UpdateBuildHistoryRequest.FromString(request))
        return b""

    daemon.streams = {HISTORY: [record("a"), record("b", pinned=True)], UPDATE: update}
    rows = told("prune-histories").splitlines()
    assert rows[0].split() == ["TYPE", "REF", "CREATED", "COMPLETED", "GENERATION"] and rows[1].split()[1] == "a"
    assert len(rows) == 2 and deleted == [control.UpdateBuildHistoryRequest(Ref="a", Delete=True)]


@pytest.mark.row("T64")
def test_a_history_that_stays_fails_the_command_after_the_others_are_gone(daemon, told):
    async def update(request, call):
        if control.UpdateBuildHistoryRequest.FromString(request).Ref == "a":
            raise NotFound("failed to retrieve ref a")
        return b""

    daemon.streams = {HISTORY: [record("a"), record("b")], UPDATE: update}
    assert told("prune-histories", status=1) == "error: NotFound: failed to retrieve ref a\n"


@pytest.mark.row("T73")
@pytest.mark.parametrize(
    ("flag", "expected"),
    [
        ("--pin", control.UpdateBuildHistoryRequest(Ref="a", Pinned=True)),
        ("--unpin", control.UpdateBuildHistoryRequest(Ref="a")),
        ("--delete", control.UpdateBuildHistoryRequest(Ref="a", Delete=True)),
    ],
)
def test_ctl_updates_a_record(flag, expected, daemon, told):
    daemon.streams[UPDATE] = always(control.UpdateBuildHistoryResponse())
    told("debug", "ctl", flag, "a")
    assert control.UpdateBuildHistoryRequest.FromString(daemon.requests["UpdateBuildHistory"]) == expected


@pytest.mark.row("T73")
@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["ctl"], "build ref must be specified"),
        (["ctl", "a"], "must specify one of --pin, --unpin, --delete"),
        (["ctl", "a", "--pin", "--unpin"], "cannot specify both --pin and --unpin"),
        (["ctl", "a", "--pin", "--delete"], "cannot specify --delete with --pin or --unpin"),
        (["logs"], "build ref must be specified"),
        (["get"], "blob digest must be specified"),
        (["wrokers"], "unknown command debug wrokers; did you mean workers?"),
    ],
)
def test_bad_usage_of_debug_commands_is_told_in_one_line(words, text, capsys):
    assert main(["debug", *words]) == 2 and capsys.readouterr().err == f"error: {text}\n"


@pytest.mark.row("T69")
def test_the_monitor_prints_what_it_hears(daemon, told):
    blob = control.Descriptor(media_type="m", digest=DIGEST, size=3, annotations={"k": 'a "b"'})
    result = control.BuildResultInfo(Attestations=[blob])
    result.Results[0].CopyFrom(control.Descriptor(digest=DIGEST))
    daemon.streams[HISTORY] = [record("a", numTotalSteps=3, numCachedSteps=2, numWarnings=1, logs=blob, Result=result)]
    assert told("debug", "monitor", "--completed", "--ref", "a").splitlines() == [
        "event: COMPLETE ref:a",
        "  cache: 2/3",
        "  warnings: 1",
        f'  logs: media_type:"m" digest:"{DIGEST}" size:3 annotations:{{key:"k" value:"a \\"b\\""}}',
        f'  descriptor: digest:"{DIGEST}"',
        f'  attestation: media_type:"m" digest:"{DIGEST}" size:3 annotations:{{key:"k" value:"a \\"b\\""}}',
    ]
    asked = control.BuildHistoryRequest.FromString(daemon.requests["ListenBuildHistory"])
    assert (asked.ActiveOnly, asked.EarlyExit, asked.Ref) == (False, False, "a")


@pytest.mark.row("T71")
def test_logs_replay_the_progress(daemon, told):
    vertex = control.Vertex(digest="d", name="step", started=Timestamp(seconds=1), completed=Timestamp(seconds=1))
    daemon.statuses = [control.StatusResponse(vertexes=[vertex])]
    daemon._ended.set()
    assert told("debug", "logs", "ref1", "--progress", "plain") == "#1 step\n#1 DONE 0.0s\n"
    assert control.StatusRequest.FromString(daemon.requests["Status"]).Ref == "ref1"


@pytest.mark.row("T71", "T72")
def test_the_trace_of_a_build_and_any_blob_come_out_as_they_are(daemon, told):
    daemon.streams = {
        HISTORY: [record("a", trace=control.Descriptor(digest=DIGEST))],
        READ: [content.ReadContentResponse(data=b"{}"), content.ReadContentResponse(data=b"\n")],
    }
    assert told("debug", "logs", "a", "--trace") == "{}\n" == told("debug", "get", DIGEST)
    assert content.ReadContentRequest.FromString(daemon.requests["Read"]).digest == DIGEST


@pytest.mark.row("T71", "T72")
def test_what_is_not_there_is_named(daemon, told):
    daemon.streams = {HISTORY: [record("a")], READ: [NotFound(f"content digest {DIGEST}: not found")]}
    assert told("debug", "logs", "--trace", "a", status=1) == "error: ref a does not have trace\n"
    assert told("debug", "get", DIGEST, status=1) == f"error: NotFound: content digest {DIGEST}: not found\n"
    daemon.streams = {HISTORY: []}
    assert told("debug", "logs", "--trace", "a", status=1) == "error: ref a not found\n"


@pytest.fixture
def definition(tmp_path):
    path = tmp_path / "llb"
    state = llb.scratch().file(llb.mkfile("/a", b"<x>"))
    path.write_bytes(state.marshal().to_bytes())
    return str(path)


@pytest.mark.row("T67")
def test_a_definition_is_dumped_as_json(definition, capsys):
    assert main(["debug", "dump-llb", definition]) == 0
    first, last = map(json.loads, capsys.readouterr().out.splitlines())
    mkfile = {"path": "/a", "mode": 420, "data": "PHg+", "timestamp": -1}
    action = {"input": -1, "secondaryInput": -1, "output": 0, "Action": {"mkfile": mkfile}}
    assert first["Op"] == {"Op": {"file": {"actions": [action]}}, "constraints": {}}
    assert last["Op"] == {"inputs": [{"digest": first["Digest"]}], "Op": {}}
    assert first["OpMetadata"] == {"caps": {"file.base": True}}


@pytest.mark.row("T67")
def test_a_definition_is_drawn(definition, capsys):
    assert main(["debug", "dump-llb", "--dot", definition]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "digraph {" and lines[-1] == "}"
    assert lines[1].endswith('[label="mkfile{path=/a}" shape="note"];') and lines[3].endswith('[label=""];')


@pytest.mark.parametrize("junk", [b"\xff\xff", ops.Definition(**{"def": [b"\xff"]}).SerializeToString()])
def test_what_is_no_definition_is_refused(junk, tmp_path, capsys):
    (tmp_path / "x").write_bytes(junk)
    assert main(["debug", "dump-llb", str(tmp_path / "x")]) == 2
    assert capsys.readouterr().err.startswith("error: failed to parse ")


@pytest.mark.row("T68")
def test_the_database_of_a_state_directory_is_dumped(tmp_path, capsys):
    with sqlite3.connect(tmp_path / "buildkit.db") as db:
        db.execute("CREATE TABLE t (a, b)")
        db.execute("INSERT INTO t VALUES (?, ?)", (b"\xff\x00", "text"))
    assert main(["debug", "dump-metadata", "--root", str(tmp_path)]) == 0
    assert capsys.readouterr().out == 'table t (1 rows)\n  {"a": "0xff00", "b": "text"}\n'
    assert main(["debug", "dump-metadata", "--root", str(tmp_path / "no")]) == 2
    assert "no such file or directory" in capsys.readouterr().err


def test_debug_alone_says_what_there_is(capsys):
    assert main(["debug"]) == 0 == main(["debug", "--help"]) == main(["debug", "workers", "--help"])
    assert capsys.readouterr().out.startswith("usage: buildctl debug COMMAND")
