"""Our buildctl drives a daemon: a real buildkitd where PEER_BUILDKITD names one, and ours."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile

import pytest
from tests.kit.daemon_process import our_buildkitd
from tests.kit.images import busybox_image
from tests.kit.peers import buildkitd
from tests.kit.projects import SOURCES

import buildkit
from buildkit import llb

pytestmark = [pytest.mark.net, pytest.mark.root]
PROGRAM = "import sys; from buildkit.cli.main import main; sys.exit(main())"


@pytest.fixture(scope="module", params=["theirs", "ours"])
def address(request, tmp_path_factory):
    """A daemon's address."""
    folder = tmp_path_factory.mktemp("daemon")
    if request.param == "theirs":
        with buildkitd(folder) as daemon:
            yield daemon.address
        return
    with our_buildkitd(folder) as ours:
        yield ours


@pytest.fixture
def project(tmp_path):
    """A directory with a Dockerfile over an image layout called ``lay``, and the flags that name all of it."""
    digest = busybox_image(tmp_path / "layout").root.digest
    (tmp_path / "src").mkdir()

    def write(text, **files):
        (tmp_path / "src" / "Dockerfile").write_text(text)
        for name, content in files.items():
            (tmp_path / "src" / name).write_text(content)
        words = ["--frontend", "dockerfile.v0", "--oci-layout", f"lay={tmp_path / 'layout'}"]
        words += [word for name in ("context", "dockerfile") for word in ("--local", f"{name}={tmp_path / 'src'}")]
        return [*words, "--opt", f"context:base=oci-layout://lay@{digest}"]

    return write


@pytest.fixture
def buildctl(address, tmp_path):
    """Runs a command to its end; gives what it printed."""

    def run(*words, status=0, **variables):
        command = [sys.executable, "-c", PROGRAM, "--addr", address, *words]
        environment = {**os.environ, "PYTHONPATH": str(SOURCES), **variables}
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, stdin=-3)
        assert done.returncode == status, done.stderr
        return done.stdout if status == 0 else done.stderr

    return run


@pytest.mark.row("A150", "A159", "A165", "A169", "T20", "T21", "T22", "T23", "T27", "T30", "T32")
def test_directories_layouts_secrets_and_outputs_travel_through_the_session(project, buildctl, tmp_path):
    text = "FROM base\nCOPY a /a\nRUN --mount=type=secret,id=s tr a-z A-Z < /run/secrets/s > /b\n"
    text += "FROM scratch\nCOPY --from=0 /a /b /\n"
    words = project(text, a="from the context")
    outputs = ["--output", "type=local,dest=out", "--output", "type=oci,dest=o.tar", "--output", "type=tar,dest=t.tar"]
    files = ["--metadata-file", "md", "--ref-file", "ref"]
    buildctl("build", *words, *outputs, *files, "--secret", "id=s,env=SECRET", SECRET="hidden")
    assert (tmp_path / "out/a").read_text() == "from the context" and (tmp_path / "out/b").read_text() == "HIDDEN"
    with tarfile.open(tmp_path / "t.tar") as tar:
        assert {"a", "b"} <= {name.removeprefix("./") for name in tar.getnames()}
    digest = json.loads((tmp_path / "md").read_text())["containerimage.digest"]
    with tarfile.open(tmp_path / "o.tar") as tar:
        assert f"blobs/sha256/{digest.removeprefix('sha256:')}" in tar.getnames()
    assert (tmp_path / "ref").read_text()


@pytest.mark.row("T39")
def test_a_failed_step_is_told_with_its_lines(project, buildctl):
    told = buildctl("build", *project("FROM base\nRUN exit 7\n"), status=1)
    assert "Dockerfile:2\n" in told and ">>> RUN exit 7" in told
    assert 'error: failed to solve: process "/bin/sh -c exit 7" did not complete successfully: exit code: 7' in told


@pytest.mark.row("T38")
def test_a_subrequest_prints_its_answer(project, buildctl):
    words = project("FROM base AS one\nFROM one AS two\n")
    assert "two" in buildctl("build", *words, "--opt", "requestid=frontend.targets")


@pytest.mark.row("T36", "T91")
def test_the_progress_is_all_there(project, buildctl):
    told = buildctl("build", *project("FROM base\nRUN echo heard; false\n"), "--progress", "rawjson", status=1)
    lines = [json.loads(line) for line in told.splitlines() if line.startswith("{")]
    logs = [log for line in lines for log in line.get("logs", ())]
    vertexes = {vertex["digest"]: vertex for line in lines for vertex in line.get("vertexes", ())}
    assert logs and all("completed" in vertex for vertex in vertexes.values())


@pytest.mark.row("A181")
def test_an_interrupted_command_leaves_no_step_running(project, address, tmp_path):
    words = project("FROM base\nRUN echo $((40+2)) && sleep 1000\n")
    command = [sys.executable, "-c", PROGRAM, "--addr", address, "build", *words, "--progress", "plain"]
    environment = {**os.environ, "PYTHONPATH": str(SOURCES)}
    with subprocess.Popen(command, env=environment, stderr=-1, stdin=-3, text=True) as process:
        for line in process.stderr:
            if line.rstrip().endswith(" 42"):
                break
        process.send_signal(signal.SIGINT)
        told = process.stderr.read()
        assert process.wait() == 130 and "CANCELED" in told and "Traceback" not in told


@pytest.mark.row("T24", "T25")
def test_a_program_in_python_builds_at_a_daemon(address, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").write_text("a")
    graph = llb.scratch().file(llb.copy(llb.local("in"), "/a", "/b"))
    with buildkit.Client(address) as client:
        client.build(graph, locals={"in": tmp_path / "in"}, outputs=[str(tmp_path / "out")])
        assert [record for record in client.usage() if record.record_type == "regular"]
        gone = {record.id for record in client.prune()}
    assert (tmp_path / "out" / "b").read_text() == "a" and gone


@pytest.mark.row("T60", "T63", "T64", "T65", "T66", "T70", "T71", "T73")
def test_what_a_daemon_remembers_is_listed_shown_and_deleted(project, buildctl, tmp_path):
    buildctl("build", *project("FROM scratch\nCOPY a /\n", a="1"), "--ref-file", "ref")
    ref = (tmp_path / "ref").read_text()
    assert "COPY a /" in buildctl("debug", "logs", "--progress", "plain", ref)
    assert ref in buildctl("debug", "histories")
    buildctl("debug", "ctl", "--pin", ref)
    assert ref not in buildctl("prune-histories") and ref in buildctl("debug", "histories")
    buildctl("debug", "ctl", "--delete", ref)
    assert ref not in buildctl("debug", "histories")
    assert "linux/" in buildctl("debug", "workers") and "GC Policy" in buildctl("debug", "workers", "-v")
    assert buildctl("debug", "info").startswith("BuildKit:") and "Total:" in buildctl("du")
    assert "Total:" in buildctl("prune", "--all")
