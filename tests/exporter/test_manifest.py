"""Manifests and indexes, byte by byte."""

from __future__ import annotations

import pytest

from buildkit.core.platform import Platform
from buildkit.exporter.annotations import parse_annotations
from buildkit.exporter.manifest import layer_media_type, make_config, make_index, make_manifest, public_layer
from buildkit.oci.spec import Descriptor

NONE = parse_annotations({})[0].of(None)
GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
DIGEST = "sha256:" + "a" * 64


@pytest.mark.row("E50", "E51")
def test_a_manifest_is_indented_by_two_spaces():
    config = make_config(b"{}", oci=True)
    manifest = make_manifest(config.descriptor, [Descriptor(GZIP, DIGEST, 5)], NONE, oci=True)
    assert manifest.content.decode() == (
        '{\n  "schemaVersion": 2,\n  "mediaType": "application/vnd.oci.image.manifest.v1+json",\n  "config": {\n'
        '    "mediaType": "application/vnd.oci.image.config.v1+json",\n'
        f'    "digest": "{config.descriptor.digest}",\n    "size": 2\n  }},\n  "layers": [\n    {{\n'
        f'      "mediaType": "{GZIP}",\n      "digest": "{DIGEST}",\n      "size": 5\n    }}\n  ]\n}}'
    )


@pytest.mark.row("E55")
def test_a_scratch_image_has_no_layers_at_all():
    config = make_config(b"{}", oci=True)
    assert b'"layers": null' in make_manifest(config.descriptor, [], NONE, oci=True).content


@pytest.mark.row("E50")
@pytest.mark.parametrize(
    ("oci", "docker"),
    [
        ("oci.image.layer.v1.tar", "docker.image.rootfs.diff.tar"),
        ("oci.image.layer.v1.tar+gzip", "docker.image.rootfs.diff.tar.gzip"),
        ("oci.image.layer.v1.tar+zstd", "docker.image.rootfs.diff.tar.zstd"),
        ("oci.image.layer.nondistributable.v1.tar+gzip", "docker.image.rootfs.foreign.diff.tar.gzip"),
    ],
)
def test_layer_types_translate_both_ways(oci, docker):
    oci, docker = f"application/vnd.{oci}", f"application/vnd.{docker}"
    assert layer_media_type(oci, oci=False, keep_foreign=True) == docker
    assert layer_media_type(docker, oci=True, keep_foreign=True) == oci


@pytest.mark.row("E33")
def test_foreign_layers_become_ordinary_unless_kept():
    foreign = Descriptor("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", DIGEST, 1, urls=("http://x",))
    assert public_layer(foreign, oci=True).media_type == GZIP and not public_layer(foreign, oci=True).urls
    kept = public_layer(foreign, oci=True, keep_foreign=True)
    assert kept.media_type == "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip" and kept.urls


@pytest.mark.row("E54")
def test_internal_annotations_stay_at_home():
    annotations = {
        "containerd.io/uncompressed": "x",
        "buildkit/createdat": "x",
        "containerd.io/distribution.source.docker.io": "x",
        "stays": "y",
    }
    layer = Descriptor(GZIP, DIGEST, 1, annotations)
    assert public_layer(layer, oci=True).annotations == {"stays": "y"}
    assert public_layer(layer, oci=False).annotations == {}


@pytest.mark.row("E30", "E39", "E50", "E58")
def test_an_index_lists_platforms_and_carries_its_annotations():
    rules = parse_annotations({"annotation-index.a": "1", "annotation-index-descriptor.b": "2"})[0]
    one = Descriptor(GZIP, DIGEST, 1, platform=Platform("linux", "arm", "v7"))
    index = make_index([one], rules.of(None), oci=False)
    assert index.descriptor.media_type == "application/vnd.docker.distribution.manifest.list.v2+json"
    assert index.descriptor.annotations == {"b": "2"} and b'"annotations": {\n    "a": "1"\n  }' in index.content
    assert b'"platform": {\n        "architecture": "arm",\n        "os": "linux",\n        "variant": "v7"' in (
        index.content
    )
