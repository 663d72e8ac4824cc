"""docker-buildx, as Debian ships it, drives our daemon."""

import json
import os
import re
import subprocess
import sys
import tarfile

import pytest
from tests.daemon.test_command import process
from tests.kit.certificates import Authority
from tests.kit.docker import BUILDX

from buildkit.client.remote import open_remote

pytestmark = [
    pytest.mark.net,
    pytest.mark.root,
    pytest.mark.skipif(not BUILDX, reason="docker-buildx is not there"),
]


@pytest.fixture(params=BUILDX)
def buildx(request, tmp_path):
    environ = {**os.environ, "BUILDX_CONFIG": str(tmp_path / "bx"), "DOCKER_CONFIG": str(tmp_path / "docker")}

    def run(*words, check=True):
        command = [BUILDX[request.param], *map(str, words)]
        found = subprocess.run(command, env=environ, capture_output=True, text=True, cwd=tmp_path)
        assert not check or found.returncode == 0, found.stderr
        return found

    with process(tmp_path, f"--addr=unix://{tmp_path}/s"):
        run("create", "--name", "ours", "--use", "--driver", "remote", f"unix://{tmp_path}/s")
        yield run


@pytest.fixture
def project(tmp_path):
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "hello").write_text("hello\n")
    (folder / "Dockerfile").write_text("FROM scratch AS base\nCOPY hello /hello\nFROM base\nLABEL a=b\n")
    return folder


@pytest.mark.row("Z20", "Z21")
def test_inspect_shows_the_worker(buildx):
    shown = buildx("inspect", "--bootstrap").stdout
    assert "Status:" in shown and "running" in shown and "linux/" in shown and "GC Policy rule#3" in shown


@pytest.mark.row("Z22", "Z23", "Z24", "Z25", "A188", "E101", "E152")
def test_build_writes_an_image_and_its_metadata(buildx, project, tmp_path):
    buildx("build", "-o", "type=oci,dest=o.tar", "--metadata-file", "m.json", project)
    metadata = json.loads((tmp_path / "m.json").read_text())
    with tarfile.open(tmp_path / "o.tar") as archive:
        index = json.load(archive.extractfile("index.json"))
    assert index["manifests"][0]["digest"] == metadata["containerimage.digest"]
    assert metadata["buildx.build.ref"].startswith("ours/ours0/")


@pytest.mark.row("Z25", "A64", "A66")
def test_a_mistake_is_shown_with_its_line(buildx, project):
    (project / "Dockerfile").write_text("FROM scratch\nCOPY nothing /\n")
    found = buildx("build", "--progress=plain", project, check=False)
    assert found.returncode == 1
    assert "   2 | >>> COPY nothing /" in found.stderr
    text = r"failed to solve: failed to compute cache key: failed to calculate checksum of ref \w{25}::\w{25}: "
    assert re.search(text + '"/nothing": not found', found.stderr)
    (project / "Dockerfile").write_text("FROM scratch\nCOPI nothing /\n")
    found = buildx("build", "--progress=plain", project, check=False)
    assert "failed to solve: dockerfile parse error on line 2: unknown instruction: COPI" in found.stderr


@pytest.mark.row("Z27")
def test_questions_are_answered_and_leave_no_history(buildx, project):
    if "--check" not in buildx("build", "--help").stdout:
        pytest.skip("this buildx knows no --check")
    (project / "Dockerfile").write_text("FROM scratch AS one\nFROM scratch\nMAINTAINER me\nCOPY --from=one / /\n")
    found = buildx("build", "--check", project, check=False)
    assert found.returncode == 1 and "WARNING: MaintainerDeprecated - https://docs.docker.com/" in found.stdout
    assert "one" in buildx("build", "--call=targets", project).stdout
    assert "Completed" not in buildx("history", "ls").stdout


@pytest.mark.row("T101")
def test_findings_are_summed_up(buildx, project):
    (project / "Dockerfile").write_text("FROM scratch\nMAINTAINER me\nCOPY hello /\n")
    shown = buildx("build", "--progress=plain", project).stderr
    assert re.search(r"1 warning found \(use (docker )?--debug to expand\):", shown)
    rest = shown.partition("to expand):")[2]
    assert " - MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label (line 2)" in rest


@pytest.mark.row("Z57")
def test_two_daemons_make_one_image_for_two_platforms(buildx, project, registry_host, tmp_path):
    second = tmp_path / "second"
    second.mkdir()
    name = f"{registry_host}/both:1"
    with process(second, f"--addr=unix://{second}/s", "--oci-worker-platform=linux/arm64"):
        words = ("create", "--name", "ours", "--append", "--driver", "remote", "--platform", "linux/arm64")
        buildx(*words, f"unix://{second}/s")
        buildx("build", "--platform=linux/amd64,linux/arm64", f"--output=type=image,name={name},push=true", project)
    shown = buildx("imagetools", "inspect", name).stdout
    assert "linux/amd64" in shown and "linux/arm64" in shown


DIAL = """#!/bin/sh
PYTHONPATH={path} exec {python} -c 'from buildkit.cli.main import main; main()' --addr unix://{socket} dial-stdio
"""


@pytest.mark.row("Z54")
@pytest.mark.parametrize("release", BUILDX)
def test_a_daemon_is_reached_in_every_way_there_is(release, project, tmp_path):
    ca, programs = Authority(tmp_path), tmp_path / "bin"
    server, client, address = ca.issue("server", "localhost"), ca.client_directory(), f"unix://{tmp_path}/s"
    programs.mkdir()
    for name in ("docker", "kubectl"):
        text = DIAL.format(path=os.pathsep.join(sys.path), python=sys.executable, socket=tmp_path / "s")
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    tls = (f"--tlscert={server}/cert.pem", f"--tlskey={server}/key.pem", f"--tlscacert={ca.path}")
    environ = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "BUILDX_CONFIG": str(tmp_path / "bx")}
    with process(tmp_path, f"--addr={address}", "--addr=tcp://127.0.0.1:0", *tls) as daemon:
        port = next(
            found[1] for line in daemon.stderr if (found := re.search(r"running server on 127.0.0.1:(\d+)", line))
        )
        options = [f"cacert={ca.path}", f"cert={client}/cert.pem", f"key={client}/key.pem", "servername=localhost"]
        ways = {address: [], f"tcp://127.0.0.1:{port}": options, "docker-container://box": [], "kube-pod://pod": []}
        for number, (way, settings) in enumerate(ways.items()):
            words = [
                "create",
                "--driver=remote",
                f"--name=n{number}",
                *(f"--driver-opt={one}" for one in settings),
                way,
            ]
            for command in (words, ["--builder", f"n{number}", "build", "-o", f"type=tar,dest={number}.tar", project]):
                command = [BUILDX[release], *map(str, command)]
                done = subprocess.run(command, env=environ, capture_output=True, text=True, cwd=tmp_path)
                assert done.returncode == 0, done.stderr
            with tarfile.open(tmp_path / f"{number}.tar") as tar:
                assert "hello" in tar.getnames()


@pytest.mark.row("E10")
def test_an_image_goes_to_a_registry_by_either_name(buildx, project, registry_host):
    for number, words in enumerate((("--push",), ("--output=type=registry",))):
        name = f"{registry_host}/registry:{number}"
        buildx("build", "-t", name, *words, project)
        assert f"Name:      {name}" in buildx("imagetools", "inspect", name).stdout


@pytest.mark.row("Z36")
async def test_other_clients_come_through_its_standard_streams(buildx, request, tmp_path, monkeypatch):
    program = BUILDX[request.node.callspec.params["buildx"]]
    (tmp_path / "docker").write_text(f"#!/bin/sh\nexec {program} dial-stdio\n")
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("BUILDX_CONFIG", str(tmp_path / "bx"))
    async with open_remote("docker-container://any") as client:
        [worker] = await client.workers()
        assert worker.id == (tmp_path / "root/workerid").read_text().strip()


@pytest.mark.row("Z28")
def test_bake_builds_targets_on_targets(buildx, project, tmp_path):
    (tmp_path / "bake.hcl").write_text(
        f"""
        group "default" {{
          targets = ["one", "two"]
        }}
        target "one" {{
          context = "{project}"
          output = ["type=tar,dest=one.tar"]
        }}
        target "two" {{
          dockerfile-inline = "FROM base\\nCOPY --from=base /hello /again\\n"
          contexts = {{
            base = "target:one"
          }}
          output = ["type=tar,dest=two.tar"]
        }}
        """
    )
    buildx("bake", "-f", "bake.hcl")
    with tarfile.open(tmp_path / "two.tar") as archive:
        assert {"hello", "again"} <= set(archive.getnames())


@pytest.mark.row("Z29", "Z30")
def test_space_is_shown_and_freed(buildx, project):
    buildx("build", "-o", "type=tar,dest=o.tar", project)
    assert "Total:" in buildx("du").stdout
    buildx("prune", "--all", "--force")
    records = [line for line in buildx("du").stdout.splitlines() if "\ttrue" in line]
    assert records == []


@pytest.mark.row("Z31", "Z32", "Z33", "Z34")
def test_history_lists_shows_and_forgets_builds(buildx, project, tmp_path):
    if "history" not in buildx("--help").stdout:
        pytest.skip("this buildx knows no history")
    buildx("build", "-o", "type=tar,dest=o.tar", project)
    assert "Completed" in buildx("history", "ls").stdout
    assert "Build Steps:" in buildx("history", "inspect").stdout
    assert "COPY hello /hello" in buildx("history", "logs").stderr + buildx("history", "logs").stdout
    assert '"buildType"' in buildx("history", "inspect", "attachment", "--type", "provenance").stdout
    buildx("build", "-o", "type=oci,dest=o.tar", "--metadata-file", "m.json", project)
    digest = json.loads((tmp_path / "m.json").read_text())["containerimage.digest"]
    assert digest in buildx("history", "inspect").stdout
    buildx("history", "rm", "--all")
    assert "Completed" not in buildx("history", "ls").stdout
