"""Exported images as other programs see them."""

from __future__ import annotations

import json
import subprocess

import pytest
from tests.kit.exports import bench, platforms
from tests.kit.registry import registry

from buildkit.core.errors import BuildkitError
from buildkit.oci.hosts import INSECURE
from buildkit.oci.registry import Registry

pytestmark = pytest.mark.net


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    with registry(tmp_path_factory.mktemp("registry")) as address:
        yield address


def access(reference, insecure):
    return Registry({reference.domain: INSECURE} if insecure else {}).access()


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def inspect(name, *flags):
    return json.loads(run("skopeo", "inspect", "--tls-verify=false", *flags, f"docker://{name}"))


@pytest.mark.row("E21", "E66")
@pytest.mark.parametrize("compression", ["gzip", "zstd", "uncompressed"])
async def test_a_pushed_image_is_pulled_by_skopeo(host, compression, tmp_path):
    async with bench(tmp_path) as b:
        attrs = {"push": "true", "name": f"{host}/app:{compression}", "compression": compression}
        exported = await b.export("image", await b.stack({"a": "1"}, {"b": "2"}), attrs, access=access)
        await exported.finish()
    name = f"{host}/app:{compression}"
    assert inspect(name)["Digest"] == exported.descriptor.digest and len(inspect(name)["Layers"]) == 2
    assert b.statuses.done[-2:] == ["pushing layers", f"pushing manifest for {name}@{exported.descriptor.digest}"]
    run("skopeo", "copy", "--src-tls-verify=false", f"docker://{name}", f"oci:{tmp_path}/copy:x")


@pytest.mark.row("E21", "E22", "E23", "E58")
async def test_an_index_is_pushed_with_all_its_platforms_and_by_digest(host, tmp_path):
    async with bench(tmp_path) as b:
        result = platforms(linux__amd64=await b.ref(a="1"), linux__arm64=await b.ref(a="2"))
        attrs = {"push": "true", "push-by-digest": "true", "name": f"{host}/multi", "registry.insecure": "true"}
        exported = await b.export("image", result, attrs, access=access)
        await exported.finish()
    raw = inspect(f"{host}/multi@{exported.descriptor.digest}", "--raw")
    assert [one["platform"]["architecture"] for one in raw["manifests"]] == ["amd64", "arm64"]
    assert b.statuses.done[-1] == f"pushing manifest for {host}/multi"


async def test_a_failed_push_says_what_was_pushed(tmp_path):
    async with bench(tmp_path) as b:
        exported = await b.export("image", None, {"push": "true", "name": "127.0.0.1:1/a"}, access=access)
        with pytest.raises(BuildkitError, match=r"failed to push 127\.0\.0\.1:1/a: "):
            await exported.finish()


@pytest.mark.row("E2", "E3")
@pytest.mark.parametrize(
    ("kind", "transport"), [("oci", "oci-archive"), ("docker", "oci-archive"), ("docker", "docker-archive")]
)
async def test_archives_are_read_by_skopeo_and_umoci(kind, transport, tmp_path):
    async with bench(tmp_path) as b:
        attrs = {"name": "foo/bar:x"}
        if transport == "docker-archive":
            attrs["compression"] = "uncompressed"
        archive = await b.archive(await b.stack({"a": "1"}, {"d__b": "2"}), kind, attrs)
    seen = json.loads(run("skopeo", "inspect", f"{transport}:{tmp_path}/out.tar"))
    assert len(seen["Layers"]) == 2
    run("skopeo", "copy", f"{transport}:{tmp_path}/out.tar", f"oci:{tmp_path}/copy:x")
    run("umoci", "unpack", "--rootless", "--image", f"{tmp_path}/copy:x", f"{tmp_path}/bundle")
    assert (tmp_path / "bundle" / "rootfs" / "d" / "b").read_text() == "2" and archive.roots
