from __future__ import annotations

import json

import pytest
from tests.kit.images import AMD64, make_image, make_index

from buildkit.core.digest import sha256, sha256_text
from buildkit.core.errors import BuildkitError, Corrupt, FailedPrecondition, NotFound
from buildkit.core.platform import Platform
from buildkit.core.values import replace
from buildkit.oci import spec
from buildkit.oci.spec import Descriptor
from buildkit.source.manifest import layers_key, manifest_key, parse_time, pull_image

ARM64 = Platform("linux", "arm64")
ROOT = "sha256:609b8cb15555babbeb311ec78fbc3b2b62f2e90298edb3dfb6ae991c496cbf4d"
DIFF_ID = "sha256:4080eeb48bb53899e263b02d8983881408448931894f706b13db722c6392fe7b"


def record_digest(key: str) -> str:
    """What the solver makes of a source's key, as it stands in an exported cache."""
    return sha256_text(f"{sha256_text('buildkit.source.v0:' + key)}@0")


async def pull(image, root, platform=AMD64):
    async def read(descriptor: Descriptor) -> bytes:
        return image.layout.read(descriptor.digest)

    return await pull_image(root, platform, read)


@pytest.mark.row("S1", "L36")
def test_the_manifest_key_is_buildkits():
    key = manifest_key(ROOT, AMD64, None)
    assert key.startswith("sha256:27a9a9c1") and key.endswith("11e9")
    assert record_digest(key) == "sha256:c5c1681a16c35aeb4fb5e9006d9d506dafa5672fbc47bb6610c2b71bc5865e3f"


@pytest.mark.row("S2", "L36")
def test_the_layers_key_is_buildkits():
    config = json.dumps({"rootfs": {"type": "layers", "diff_ids": [DIFF_ID]}}).encode()
    key = layers_key(config, None)
    assert key == DIFF_ID
    assert record_digest(key) == "sha256:32cefeb0f8ae13f0609962f3bdab5414076e44101c17d93398e9b62f85af8562"


@pytest.mark.row("L36", "L33")
def test_every_part_of_the_platform_and_the_limit_enter_the_manifest_key():
    full = Platform("windows", "arm64", "v8", "10.0", ("f<",))
    text = (
        f'{{"Digest":"{ROOT}","OS":"windows","Arch":"arm64","Variant":"v8","OSVersion":"10.0",'
        '"OSFeatures":["f\\u003c"],"Limit":2}'
    )
    assert manifest_key(ROOT, full, 2) == sha256_text(text)


@pytest.mark.row("L36")
def test_layers_of_another_kind_have_no_layers_key():
    assert layers_key(b'{"rootfs":{"type":"other","diff_ids":["%s"]}}' % DIFF_ID.encode(), None) is None
    assert layers_key(b"{}", None) is None


@pytest.mark.row("L35")
async def test_the_index_entry_of_the_platform_is_chosen(tmp_path):
    amd = make_image(tmp_path, [{"a": "amd64"}], platform=AMD64, tag="")
    arm = make_image(tmp_path, [{"a": "arm64"}], platform=ARM64, tag="")
    root = make_index(tmp_path, [amd, arm])
    assert (await pull(amd, root)).config == amd.config
    found = await pull(amd, root, ARM64)
    assert found.config == arm.config
    assert set(found.documents) == {root.digest, arm.root.digest, sha256(arm.config)}


@pytest.mark.row("L35")
async def test_a_better_match_wins_over_an_earlier_one(tmp_path):
    old = make_image(tmp_path, [{"a": "6"}], platform=Platform("linux", "arm", "v6"), tag="")
    new = make_image(tmp_path, [{"a": "7"}], platform=Platform("linux", "arm", "v7"), tag="")
    root = make_index(tmp_path, [old, new])
    assert (await pull(old, root, Platform("linux", "arm", "v7"))).config == new.config


@pytest.mark.row("L35")
async def test_without_a_match_it_says_so(tmp_path):
    one = make_image(tmp_path, tag="")
    with pytest.raises(NotFound) as caught:
        await pull(one, make_index(tmp_path, [one]), Platform("linux", "s390x"))
    assert str(caught.value) == "no match for platform in manifest: not found"


@pytest.mark.row("L35")
async def test_an_entry_without_platform_is_judged_by_its_config(tmp_path):
    one = make_image(tmp_path, platform=ARM64, tag="")
    bare = replace(one, root=replace(one.root, platform=None))
    root = make_index(tmp_path, [bare])
    assert (await pull(one, root, ARM64)).config == one.config
    with pytest.raises(NotFound):
        await pull(one, root, AMD64)


async def test_a_lone_manifest_is_taken_whatever_its_platform(tmp_path):
    one = make_image(tmp_path, platform=ARM64)
    assert (await pull(one, one.root, AMD64)).config == one.config


@pytest.mark.row("L33")
async def test_a_layer_limit_cuts_the_stack(tmp_path):
    image = make_image(tmp_path, [{"a": "1"}, {"b": "2"}, {"c": "3"}])
    pulled = await pull(image, image.root)
    assert [layer.diff_id for layer in pulled.limited(2).layers] == list(image.diff_ids[:2])
    assert layers_key(image.config, 2) == spec.chain_id(image.diff_ids[:2])
    with pytest.raises(FailedPrecondition) as caught:
        pulled.limited(4)
    assert str(caught.value) == "layer limit 4 is greater than the number of layers in the image 3"


async def test_layers_that_do_not_fit_the_config_are_refused(tmp_path):
    image = make_image(tmp_path, [{"a": "1"}])
    manifest = spec.parse_manifest(image.layout.read(image.root.digest))
    content = spec.encode(replace(manifest, layers=manifest.layers * 2).to_json())
    root = Descriptor(spec.OCI_MANIFEST, image.layout.put(content), len(content))
    with pytest.raises(Corrupt, match="mismatched image rootfs and manifest layers"):
        await pull(image, root)


async def test_an_index_of_itself_ends(tmp_path):
    image = make_image(tmp_path)
    root = make_index(tmp_path, [image])
    for _ in range(9):
        root = make_index(tmp_path, [replace(image, root=replace(root, platform=AMD64))])
    with pytest.raises(Corrupt, match="nested too deep"):
        await pull(image, root)


async def test_schema_1_is_refused(tmp_path):
    image = make_image(tmp_path)
    with pytest.raises(BuildkitError, match="schema 1 has been removed"):
        await pull(image, replace(image.root, media_type=spec.DOCKER_SCHEMA1[1]))


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("1970-01-01T00:00:01Z", 1_000_000_000),
        ("1970-01-01T00:00:01.5Z", 1_500_000_000),
        ("1970-01-01T01:00:00.000000001+01:00", 1),
        ("0001-01-01T00:00:00Z", -62_135_596_800_000_000_000),
        ("", None),
        ("yesterday", None),
        ("2020-13-01T00:00:00Z", None),
    ],
)
def test_times_are_read_as_nanoseconds(text, time):
    assert parse_time(text) == time
