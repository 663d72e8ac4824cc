"""The command as a whole: exit statuses, help, version, errors."""

from __future__ import annotations

import json
import os
import socket
import stat

import pytest
from tests.kit.fake_client import FakeClient

from buildkit.api import ops_pb2
from buildkit.cli.main import main
from buildkit.cli.run import write_whole
from buildkit.client.options import SolveResponse
from buildkit.core.digest import sha256
from buildkit.core.errors import ExitError, Range, SourceDetail


@pytest.fixture
def client(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    return FakeClient().install(monkeypatch)


BUILD = ("build", "--frontend", "dockerfile.v0", "--local", "context=.", "--local", "dockerfile=.")


@pytest.mark.row("T10")
def test_the_version_has_four_words(capsys):
    assert main(["--version"]) == 0
    words = capsys.readouterr().out.split()
    assert words[:2] == ["buildctl", "github.com/moby/buildkit"] and words[2][0] == "v" and len(words) == 4


@pytest.mark.parametrize("arguments", [[], ["--help"], ["help"], ["build", "--help"], ["du", "-h"], ["prune", "-h"]])
def test_help_is_not_a_failure(arguments, capsys):
    assert main(arguments) == 0
    assert capsys.readouterr().out.startswith("usage: buildctl")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["biuld"], "unknown command biuld; did you mean build?"),
        (["build", "--ouptut", "x"], "unknown flag --ouptut; did you mean --output?"),
        (["build", "--output"], "--output needs a value: --output OPTIONS"),
        (["build", "--no-cache=maybe", "."], "--no-cache is yes or no: 'maybe' is neither"),
        (["--addr", "unix:///x", "build", "--root", "y", "."], "--root conflicts with --addr"),
        (
            ["--tlsdir", "d", "--tlskey", "k", "du"],
            "cannot specify tlsdir and tlscacert/tlscert/tlskey at the same time",
        ),
        (["--tlskey", "k", "du"], "--tlskey is for a daemon"),
        (["--timeout", "3", "du"], "--timeout is for a daemon"),
        (["--tlskey", "k", "du", "--root", "x"], "--tlskey is for a daemon and conflicts with --root"),
        (["--log-format", "xml", "du"], 'unsupported log type "xml"'),
        (["--timeout", "soon", "du"], "--timeout is a number of seconds"),
        (["du", "x"], "du takes no words: x"),
        (["build", "a", "b"], "one PATH is built at a time: a b"),
        (["build", "-t", "x"], "--tag needs the path of what to build"),
        (["build", "--iidfile", "id", "-o", "out", "."], "--iidfile needs an image"),
        (["build", "nowhere"], "build context nowhere does not exist"),
        (["build", "--progress", "loud", "."], "invalid progress mode loud"),
    ],
)
@pytest.mark.row("T2", "T4", "T36")
def test_bad_usage_is_told_in_one_line_and_exits_with_2(arguments, text, client, capsys):
    assert main(arguments) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ") and text in told and told.count("\n") == 1 and not client.asked


@pytest.mark.row("T1", "T4")
def test_the_environment_names_a_daemon_and_root_overrides_it(client, monkeypatch, capsys):
    monkeypatch.setenv("BUILDKIT_HOST", "unix:///nowhere")
    lost = 'connection error: desc = "transport: Error while dialing: dial unix /nowhere: connect: '
    assert main(["du"]) == 1
    assert f"error: failed to call diskusage: Unavailable: {lost}" in capsys.readouterr().err
    assert main([*BUILD, "--progress", "quiet"]) == 1
    told = capsys.readouterr().err
    assert told.startswith(f"error: listing workers for Build: failed to list workers: Unavailable: {lost}")
    assert main(["du", "--root", "state"]) == 0 and client.roots == ["state"]


def test_a_daemon_is_found_where_it_listens_and_only_while_it_does(monkeypatch, tmp_path):
    from buildkit.cli import target

    path = tmp_path / "buildkitd.sock"
    monkeypatch.setattr(target, "default_sockets", lambda: [str(path)])
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        assert target.find_daemon() == f"unix://{path}"
    assert target.find_daemon() == ""


def test_state_is_kept_where_xdg_says(monkeypatch):
    from buildkit.client.places import default_root

    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert default_root() == "/data/buildkit"
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    assert default_root() == "/home/me/.local/share/buildkit"


@pytest.mark.row("T39", "A64", "A66", "T4")
def test_a_failed_build_shows_the_place_then_one_line(client, capsys):
    lines = b"FROM x\nRUN a\nRUN false\nRUN b\nRUN c\nRUN d\n"
    detail = SourceDetail("Dockerfile", lines, "Dockerfile", (Range(3, 0, 3, 0),))
    client.error = ExitError("process did not complete successfully: exit code: 1", code=1, details=(detail,))
    assert main([*BUILD, "--progress", "plain"]) == 1
    rule = "-" * 20
    assert capsys.readouterr().err == (
        f"#1 step\n#1 DONE 0.0s\nDockerfile:3\n{rule}\n   1 |     FROM x\n   2 |     RUN a\n   3 | >>> RUN false\n"
        f"   4 |     RUN b\n   5 |     RUN c\n{rule}\n"
        "error: failed to solve: process did not complete successfully: exit code: 1\n"
    )


def test_a_bug_shows_no_traceback_unless_asked(client, capsys):
    client.error = ZeroDivisionError("oops")
    assert main([*BUILD, "--progress", "quiet"]) == 1
    told = capsys.readouterr().err
    assert told == "error: internal error: ZeroDivisionError: oops (--debug shows where)\n"
    assert main(["--debug", *BUILD]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_ctrl_c_exits_with_130(client, capsys):
    client.error = KeyboardInterrupt()
    assert main([*BUILD, "--progress", "quiet"]) == 130
    assert capsys.readouterr().err == "error: interrupted\n"


def test_the_state_directory_reaches_the_engine(client):
    assert main(["build", "--root", "here", "."]) == 0
    assert client.roots == ["here"] and client.asked[0].frontend == "dockerfile.v0"


@pytest.mark.row("T30", "E150", "E151")
def test_the_metadata_file_inlines_objects(client, tmp_path):
    described = {"mediaType": "m", "size": 3}
    import base64

    encoded = base64.b64encode(json.dumps(described).encode()).decode()
    manifest = '{"digest":"x"}'
    client.response = SolveResponse(
        {"containerimage.descriptor": encoded, "image.name": "a", "cache.manifest": manifest, "n": "MTIz"}
    )
    assert main([*BUILD, "--metadata-file", "m.json"]) == 0
    text = (tmp_path / "m.json").read_text()
    expected = {
        "cache.manifest": manifest,
        "containerimage.descriptor": described,
        "image.name": "a",
        "n": "MTIz",
    }
    assert json.loads(text) == expected and text.startswith('{\n  "cache.manifest"') and not text.endswith("\n")
    assert sorted(os.listdir(tmp_path)) == ["Dockerfile", "m.json"]


@pytest.mark.row("T38", "E153")
def test_a_subrequest_prints_its_answer_and_writes_no_metadata(client, tmp_path, capsys):
    client.response = SolveResponse({}, {"result.txt": b"answer\n", "result.json": b"{}"})
    assert main([*BUILD, "--opt", "requestid=frontend.outline", "--metadata-file", "m.json"]) == 0
    assert capsys.readouterr().out == "answer\n" and not (tmp_path / "m.json").exists()
    assert client.asked[0].frontend_attrs["frontend.caps"] == "moby.buildkit.frontend.subrequests"
    client.response = SolveResponse({}, {"result.json": b"{}", "other": b"x"})
    assert main([*BUILD, "--opt", "requestid=x"]) == 0
    assert capsys.readouterr().out == "result.json\n{}\n"


@pytest.mark.row("T32")
def test_the_ref_file_is_written_even_if_the_build_fails(client, tmp_path):
    client.error = ExitError("no", code=1)
    assert main([*BUILD, "--ref-file", "ref"]) == 1
    assert (tmp_path / "ref").read_text() == client.asked[0].ref and len(client.asked[0].ref) == 25


@pytest.mark.row("T35")
def test_a_trace_is_appended_as_json(client, tmp_path):
    for _ in range(2):
        assert main([*BUILD, "--trace", "t.jsonl"]) == 0
    lines = (tmp_path / "t.jsonl").read_text().splitlines()
    assert [json.loads(line)["vertexes"][0]["name"] for line in lines] == ["step", "step"]


@pytest.mark.row("T37")
def test_cache_metrics_count_hits_and_misses(client, capsys):
    from buildkit.core.progress import VertexUpdate

    client.updates = [
        VertexUpdate("1", "[internal] load x", (), 1, 1),
        VertexUpdate("2", "[a 1/2] FROM x", (), 1, 1),
        VertexUpdate("3", "[a 2/2] RUN y", (), 1, 1, True),
        VertexUpdate("4", "[a 2/2] RUN z", (), 1),
    ]
    assert main([*BUILD, "--debug-json-cache-metrics", "stdout"]) == 0
    miss, counts = capsys.readouterr().out.splitlines()
    found = json.loads(counts)
    assert miss == "cache miss: [a 2/2] RUN z" and found.pop("client_duration_ms") >= 0
    assert found == {
        "total": 4,
        "completed": 3,
        "user_total": 3,
        "user_cached": 1,
        "user_completed": 2,
        "user_cacheable": 2,
        "from": 1,
        "miss": 1,
    }


def test_cache_metrics_go_to_a_private_file_too(client, tmp_path):
    for _ in range(2):
        assert main([*BUILD, "--debug-json-cache-metrics", "counts"]) == 0
    miss, counts = (tmp_path / "counts").read_text().splitlines()
    assert miss == "cache miss: step" and json.loads(counts)["miss"] == 1
    assert (tmp_path / "counts").stat().st_mode & 0o777 == 0o600


class Stdin:
    def __init__(self, content):
        self.buffer = __import__("io").BytesIO(content)

    def isatty(self):
        return False


@pytest.mark.row("T24", "T25")
def test_llb_comes_from_standard_input(client, monkeypatch, capsys):
    definition = ops_pb2.Definition()
    getattr(definition, "def").append(b"op")
    content = definition.SerializeToString()
    monkeypatch.setattr("sys.stdin", Stdin(content))
    assert main(["build", "-"]) == 0 and client.asked[0].definition == content
    monkeypatch.setattr("sys.stdin", Stdin(content))
    assert main(["build", "--no-cache"]) == 0
    changed = ops_pb2.Definition.FromString(client.asked[1].definition)
    assert changed.metadata[sha256(b"op")].ignore_cache
    for bad, text in ((b"not one", "unexpected EOF"), (b"", "empty definition")):
        monkeypatch.setattr("sys.stdin", Stdin(bad))
        assert main(["build"]) == 2 and text in capsys.readouterr().err


def test_quiet_prints_only_the_digest(client, capsys):
    client.response = SolveResponse({"containerimage.digest": "sha256:x"})
    assert main(["build", "-q", "-t", "x", "--iidfile", "id", "."]) == 0
    told = capsys.readouterr()
    assert (told.out, told.err) == ("sha256:x\n", "")


@pytest.mark.parametrize(
    ("arguments", "note"),
    [
        (["."], "note: the result stays in the build cache"),
        (["-t", "x", "."], "note: the image is named but not kept anywhere"),
        (["-t", "x", "--push", "."], ""),
        (["-o", "out", "."], ""),
    ],
)
def test_a_result_that_goes_nowhere_is_mentioned(client, arguments, note, capsys):
    assert main(["build", *arguments]) == 0
    told = capsys.readouterr().err
    assert note in told and ("note:" in told) == bool(note)


def test_a_file_to_write_may_be_a_pipe_and_is_named_when_it_cannot_be(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_whole(str(pipe), b"content")
    assert os.read(reader, 100) == b"content" and stat.S_ISFIFO(pipe.stat().st_mode)
    os.close(reader)
    (tmp_path / "link").symlink_to("target")
    write_whole(str(tmp_path / "link"), b"through")
    assert (tmp_path / "target").read_bytes() == b"through" and (tmp_path / "link").is_symlink()
    with pytest.raises(FileNotFoundError) as caught:
        write_whole(str(tmp_path / "none/m.json"), b"")
    assert caught.value.filename == str(tmp_path / "none/m.json")
    assert sorted(os.listdir(tmp_path)) == ["link", "pipe", "target"]
