"""The image exporter without a registry."""

from __future__ import annotations

import base64
import json
import tarfile

import pytest
from tests.kit.exports import bench, platforms

from buildkit.core.errors import BuildkitError, InvalidInput
from buildkit.core.result import Attestation, Result
from buildkit.exporter.exporters import open_exporter
from buildkit.oci.registry import Registry


def access(reference, insecure):
    return Registry().access()


@pytest.mark.row("E1", "E24", "E61", "S103")
async def test_an_image_is_committed_and_described(tmp_path):
    async with bench(tmp_path) as b:
        exported = await b.export("image", await b.ref(a="1"), {"name": "foo/bar", "store": "false"})
        manifest = json.loads(b.store.content.read(exported.descriptor.digest))
    response = dict(exported.response)
    descriptor = json.loads(base64.b64decode(response.pop("containerimage.descriptor")))
    assert response == {
        "containerimage.digest": exported.descriptor.digest,
        "containerimage.config.digest": manifest["config"]["digest"],
        "image.name": "foo/bar",
    }
    assert list(descriptor) == ["mediaType", "digest", "size", "platform"] and exported.finish is None
    assert [status.split()[1] for status in b.statuses.done] == ["layers", "manifest", "config"]


@pytest.mark.row("E21")
async def test_push_without_a_name_pushes_nothing(tmp_path):
    async with bench(tmp_path) as b:
        exported = await b.export("image", None, {"push": "true"})
    assert exported.finish is None and "image.name" not in exported.response


@pytest.mark.row("E22")
async def test_a_tagged_name_is_not_pushed_by_digest(tmp_path):
    async with bench(tmp_path) as b:
        attrs = {"push": "", "push-by-digest": "true", "name": "host/a:x"}
        exported = await b.export("image", None, attrs, access=access)
        with pytest.raises(InvalidInput) as caught:
            await exported.finish()
    assert str(caught.value) == "failed to push host/a:x: can't push tagged ref docker.io/host/a:x by digest"


@pytest.mark.row("E21")
async def test_a_push_without_a_registry_names_the_image(tmp_path):
    async with bench(tmp_path) as b:
        exported = await b.export("image", None, {"push": "true", "name": "a"})
        with pytest.raises(BuildkitError, match="failed to push a: no registry to push to"):
            await exported.finish()


@pytest.mark.row("E26", "E27")
@pytest.mark.parametrize(
    ("attrs", "names"),
    [
        ({"dangling-name-prefix": "p"}, "p@{}"),
        ({"dangling-name-prefix": "p", "name": "a"}, "a,p@{}"),
        ({"dangling-name-prefix": "p", "name": "a", "danging-name-empty-only": "true"}, "a"),
    ],
)
async def test_dangling_names_carry_the_digest(attrs, names, tmp_path):
    async with bench(tmp_path) as b:
        exported = await b.export("image", None, attrs)
    assert exported.response["image.name"] == names.format(exported.descriptor.digest)


@pytest.mark.row("E44")
@pytest.mark.parametrize("key", ["push", "push-by-digest", "registry.insecure", "store", "unpack", "name-canonical"])
def test_flags_must_be_flags(key):
    with pytest.raises(InvalidInput, match=f"non-bool value specified for {key}"):
        open_exporter("image", {key: "maybe"})


@pytest.mark.row("E35")
async def test_force_compression_converts_layers_that_are_packed_otherwise(tmp_path):
    async with bench(tmp_path) as b:
        ref = await b.ref(a="1")
        kinds = []
        for attrs in ({"compression": "zstd"}, {}, {"force-compression": "true"}):
            archive = await b.archive(ref, attrs=attrs)
            kinds.append(archive.root["layers"][0]["mediaType"].rpartition(".")[2])
    assert kinds == ["tar+zstd", "tar+zstd", "tar+gzip"]


async def test_several_platforms_are_one_index(tmp_path):
    async with bench(tmp_path) as b:
        exported = await b.export("image", platforms(linux__amd64=None, linux__arm64=None))
    assert exported.descriptor.media_type == "application/vnd.oci.image.index.v1+json"


@pytest.mark.row("E113")
async def test_attestations_for_images_alone_are_in_images_and_nowhere_else(tmp_path):
    inline = Attestation("in-toto", "p", b"{}", metadata={"inline-only": b"true"})
    async with bench(tmp_path) as b:
        result = Result({"": await b.ref(f="1")}, attestations={"linux/amd64": (inline,)})
        exported = await b.export("image", result, {"name": "x/y"})
        described = json.loads(base64.b64decode(exported.response["containerimage.descriptor"]))
        assert described["mediaType"] == "application/vnd.oci.image.index.v1+json"
        assert [one["mediaType"] for one in (await b.archive(result)).roots] == [
            "application/vnd.oci.image.manifest.v1+json"
        ]
        await b.export("local", result, directory=tmp_path / "out")
        await b.export("tar", result, file=tmp_path / "files.tar")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["f"]
    with tarfile.open(tmp_path / "files.tar") as tar:
        assert [one for one in tar.getnames() if one.strip("./")] == ["f"]
