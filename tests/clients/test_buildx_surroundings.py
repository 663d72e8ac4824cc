"""What docker-buildx takes from its environment, and what it takes away from our daemon in one file."""

import base64
import json
import os
import subprocess
import tarfile

import pytest
from tests.daemon.test_command import process
from tests.kit.docker import BUILDX

pytestmark = [
    pytest.mark.net,
    pytest.mark.root,
    pytest.mark.skipif(not BUILDX, reason="docker-buildx is not there"),
]
RECORD = "application/vnd.buildkit.historyrecord.v0"


@pytest.fixture
def daemon(tmp_path):
    with process(tmp_path, f"--addr=unix://{tmp_path}/s"):
        yield f"unix://{tmp_path}/s"


@pytest.fixture(params=BUILDX)
def buildx(request, tmp_path, daemon):
    """Runs a command with further variables in its environment; the builder ``ours`` is not the current one."""
    environ = {**os.environ, "BUILDX_CONFIG": str(tmp_path / "bx"), "DOCKER_CONFIG": str(tmp_path / "docker")}

    def run(*words, **variables):
        command = [BUILDX[request.param], *map(str, words)]
        found = subprocess.run(command, env=environ | variables, capture_output=True, text=True, cwd=tmp_path)
        assert found.returncode == 0, found.stderr
        return found.stdout

    run("create", "--name", "ours", "--driver", "remote", daemon)
    environ["BUILDX_BUILDER"] = "ours"
    run.release = request.param
    return run


@pytest.fixture
def project(tmp_path):
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "hello").write_text("hello\n")
    (folder / "Dockerfile").write_text("FROM scratch\nMAINTAINER me\nCOPY hello /hello\n")
    return folder


@pytest.mark.row("Z58")
def test_the_builder_comes_from_the_environment(buildx, daemon, project):
    assert daemon in buildx("inspect")
    buildx("create", "--name", "other", "--driver", "remote", BUILDKIT_HOST=daemon)
    assert daemon in buildx("inspect", BUILDX_BUILDER="other")
    buildx("build", "-o", "type=tar,dest=o.tar", project, BUILDX_BUILDER="other")


@pytest.mark.row("Z58")
def test_attestations_are_left_out_when_the_environment_says_so(buildx, project, registry_host):
    def pushed(name, **variables):
        buildx("build", "-o", f"type=image,name={registry_host}/{name}:1,push=true", project, **variables)
        return json.loads(buildx("imagetools", "inspect", "--raw", f"{registry_host}/{name}:1"))

    release = buildx.release
    assert len(pushed(f"with-{release}")["manifests"]) == 2
    assert "layers" in pushed(f"without-{release}", BUILDX_NO_DEFAULT_ATTESTATIONS="1")


@pytest.mark.row("Z58")
def test_metadata_have_as_much_provenance_and_as_many_warnings_as_the_environment_says(buildx, project, tmp_path):
    if buildx.release == "trixie":
        pytest.skip("this buildx does not look there")

    def metadata(**variables):
        buildx("build", "-o", "type=oci,dest=o.tar", "--metadata-file", "m.json", project, **variables)
        return json.loads((tmp_path / "m.json").read_text())

    least, most = metadata(), metadata(BUILDX_METADATA_PROVENANCE="max")
    assert len(str(most["buildx.build.provenance"])) > len(str(least["buildx.build.provenance"]))
    assert "buildx.build.provenance" not in metadata(BUILDX_METADATA_PROVENANCE="disabled")
    assert "buildx.build.warnings" not in least
    [warning] = metadata(BUILDX_METADATA_WARNINGS="1")["buildx.build.warnings"]
    assert base64.b64decode(warning["short"]).startswith(b"MaintainerDeprecated: ")


@pytest.mark.row("Z58")
def test_where_the_context_comes_from_is_said_when_the_environment_wants_it(buildx, project):
    git = ["git", "-C", str(project), "-c", "user.name=n", "-c", "user.email=e"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "remote", "add", "origin", "https://h.example/x.git"], check=True)
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "m"], check=True)
    buildx("build", "-o", "type=oci,dest=o.tar", project, BUILDX_GIT_LABELS="full")
    with tarfile.open(project.parent / "o.tar") as tar:
        index = json.load(tar.extractfile("index.json"))
        manifest = json.load(tar.extractfile("blobs/" + index["manifests"][0]["digest"].replace(":", "/")))
        config = json.load(tar.extractfile("blobs/" + manifest["config"]["digest"].replace(":", "/")))
    labels = config["config"]["Labels"]
    assert labels["org.opencontainers.image.source"] == "https://h.example/x.git"
    assert labels["com.docker.image.source.entrypoint"] == "Dockerfile"


@pytest.mark.row("Z35")
def test_records_of_builds_are_exported_with_everything_that_belongs_to_them(buildx, project, tmp_path):
    if buildx.release == "trixie":
        pytest.skip("this buildx exports no history")
    buildx("build", "-o", "type=oci,dest=o.tar", "--metadata-file", "m.json", project)
    buildx("history", "export", "--finalize", "-o", "bundle.dockerbuild")
    with tarfile.open(tmp_path / "bundle.dockerbuild", "r:gz") as tar:
        files = {one.name: tar.extractfile(one).read() for one in tar if one.isfile()}

    def blob(descriptor):
        return files["blobs/" + descriptor["digest"].replace(":", "/")]

    [root] = json.loads(files["index.json"])["manifests"]
    manifest = json.loads(blob(root))
    if "manifests" in manifest:
        manifest = json.loads(blob(manifest["manifests"][0]))
    assert manifest["config"]["mediaType"] == RECORD
    record = json.loads(blob(manifest["config"]))
    ref = json.loads((tmp_path / "m.json").read_text())["buildx.build.ref"].rpartition("/")[2]
    assert record["Ref"] == ref
    assert b"COPY hello /hello" in blob(record["logs"])
    assert b'"Name": "moby.buildkit.v1.Control/Solve"' in blob(record["trace"])
    kinds = {layer["mediaType"] for layer in manifest["layers"]}
    assert "application/vnd.in-toto+json" in kinds and not any("tar" in kind for kind in kinds)
