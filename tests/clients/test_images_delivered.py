"""Built images as other programs see them: archives, registries, runtimes."""

from __future__ import annotations

import json
import subprocess

import pytest
from tests.kit.peers import buildah
from tests.kit.projects import Project

pytestmark = [pytest.mark.net, pytest.mark.root]

DOCKERFILE = """ARG BASE
FROM $BASE
RUN echo built > /built && mkdir -m 700 /d && chown 3:4 /d
COPY . /context
ENV GREETING=hello
WORKDIR /w
ENTRYPOINT ["/bin/sh", "-c", "echo $GREETING $(cat /built) in $(pwd)"]
"""


@pytest.fixture
def project(tmp_path, base):
    one = Project(tmp_path)
    one.put("Dockerfile", DOCKERFILE.replace("ARG BASE\nFROM $BASE", f"FROM {base}"))
    return one


def run(*command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def check(layout, folder):
    """skopeo describes it, umoci unpacks it, a runtime runs it."""
    seen = json.loads(run("skopeo", "inspect", f"oci:{layout}"))
    assert len(seen["Layers"]) == 4 and "GREETING=hello" in seen["Env"]
    bundle = folder / "bundle"
    run("umoci", "unpack", "--image", str(layout), bundle)
    assert (bundle / "rootfs/d").stat().st_uid == 3
    config = json.loads((bundle / "config.json").read_text())
    config["process"] |= {"terminal": False, "rlimits": []}
    config["linux"].pop("resources", None)
    (bundle / "config.json").write_text(json.dumps(config))
    assert (
        run("runc", "--root", folder / "runc", "run", "--bundle", bundle, f"t{abs(hash(str(folder)))}")
        == "hello built in /w\n"
    )


@pytest.mark.parametrize("compression", ["gzip", "zstd", "uncompressed"])
def test_an_archive_is_read_and_run_by_others(project, tmp_path, compression):
    project.build(None, "-o", f"type=oci,dest={tmp_path}/image.tar,compression={compression},name=app:1")
    run("skopeo", "copy", f"oci-archive:{tmp_path}/image.tar", f"oci:{tmp_path}/copy:1")
    if compression == "zstd":
        run("skopeo", "copy", "--dest-decompress", f"oci:{tmp_path}/copy:1", f"dir:{tmp_path}/plain")
        run("skopeo", "copy", f"dir:{tmp_path}/plain", f"oci:{tmp_path}/read:1")
    check(tmp_path / ("read:1" if compression == "zstd" else "copy:1"), tmp_path)


def test_a_docker_archive_is_read_by_others(project, tmp_path):
    project.build(None, "-o", f"type=docker,dest={tmp_path}/image.tar,name=app:1,compression=uncompressed")
    run("skopeo", "copy", f"docker-archive:{tmp_path}/image.tar", f"oci:{tmp_path}/copy:1")
    check(tmp_path / "copy:1", tmp_path)


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_a_pushed_image_is_pulled_by_skopeo(project, registry_host, tmp_path, compression):
    name = f"{registry_host}/app:{compression}"
    ended = project.build(
        None, "-o", f"type=image,name={name},push=true,compression={compression}", "--metadata-file", tmp_path / "m"
    )
    digest = json.loads((tmp_path / "m").read_text())["containerimage.digest"]
    seen = json.loads(run("skopeo", "inspect", "--tls-verify=false", f"docker://{name}"))
    assert seen["Digest"] == digest and f"pushing manifest for {name}" in ended.err
    run("skopeo", "copy", "--src-tls-verify=false", f"docker://{name}", f"oci:{tmp_path}/copy:1")


def test_a_pushed_image_is_pulled_and_run_by_buildah(project, registry_host, tmp_path):
    name = f"{registry_host}/app:buildah"
    project.build(None, "-t", name, "--push")
    with buildah(tmp_path / "buildah") as other:
        image = other.run("pull", "-q", "--tls-verify=false", name).strip()
        container = other.run("from", "--pull-never", image).strip()
        assert other.run("run", "--isolation", "chroot", container, "--", "cat", "/built") == "built\n"


def test_a_pushed_image_is_the_base_of_the_next(project, registry_host):
    name = f"{registry_host}/app:next"
    project.build(None, "-t", name, "--push")
    assert project.text(f"FROM {name}\nRUN cat /built > /out\n", root="other", path="out") == "built\n"


def test_pushing_again_uploads_nothing(project, registry_host):
    name = f"{registry_host}/app:again"
    first = project.image(None, "-t", name, "--push").digest
    assert project.image(None, "-t", name, "--push", root="other").digest == first


@pytest.mark.row("E65")
def test_a_base_is_mounted_from_its_repository_and_never_downloaded(project, registry_host, base, tmp_path):
    project.build(f"FROM {base}\nENV A=b\n", "-t", f"{registry_host}/mounted:1", "--push")
    (layer,) = json.loads(run("skopeo", "inspect", "--tls-verify=false", f"docker://{registry_host}/mounted:1"))[
        "Layers"
    ]
    assert not list((tmp_path / "state").rglob(f"*{layer.removeprefix('sha256:')}*"))
    found = run("skopeo", "inspect", "--tls-verify=false", "--raw", f"docker://{registry_host}/mounted:1")
    assert "distribution.source" not in found


def test_files_are_delivered_as_they_are(project, tmp_path):
    project.build(None, "-o", f"type=local,dest={tmp_path}/out", "-o", f"type=tar,dest={tmp_path}/out.tar")
    (tmp_path / "untarred").mkdir()
    run("tar", "-xf", tmp_path / "out.tar", "-C", tmp_path / "untarred", "--same-owner", "-p")
    run("diff", "-r", "--no-dereference", tmp_path / "out", tmp_path / "untarred")
    assert (tmp_path / "untarred/d").stat().st_uid == 3 and (tmp_path / "out/built").read_text() == "built\n"
