from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildkit.core.digest import sha256
from buildkit.core.errors import Corrupt
from buildkit.core.platform import Platform
from buildkit.oci import spec

LAYER = spec.Descriptor(spec.OCI_LAYER + "+gzip", sha256(b"layer"), 5)
CONFIG = spec.Descriptor(spec.OCI_CONFIG, sha256(b"config"), 6)


def test_a_manifest_survives_a_round_trip():
    manifest = spec.Manifest(spec.OCI_MANIFEST, CONFIG, (LAYER,), {"b": "2", "a": "<1>"})
    text = spec.encode(manifest.to_json())
    assert b'"a":"\\u003c1\\u003e","b"' in text
    assert spec.parse_manifest(text) == manifest


def test_an_index_keeps_platforms():
    platform = Platform("windows", "arm64", "v8", "10.0", ("win32k",))
    one = spec.Descriptor(spec.OCI_MANIFEST, sha256(b"m"), 1, platform=platform)
    index = spec.Index(spec.OCI_INDEX, (one,))
    assert spec.parse_index(spec.encode(index.to_json())) == index


@pytest.mark.parametrize(
    ("document", "kind"),
    [
        ({"config": {}, "layers": []}, spec.DOCKER_MANIFEST),
        ({"manifests": []}, spec.DOCKER_LIST),
        ({"mediaType": spec.OCI_INDEX, "manifests": []}, spec.OCI_INDEX),
        ({"mediaType": spec.OCI_MANIFEST, "config": {}}, spec.OCI_MANIFEST),
    ],
)
def test_the_kind_is_told_by_the_contents(document, kind):
    assert spec.detect_media_type(json.dumps(document).encode()) == kind


@pytest.mark.parametrize(
    "document",
    [
        {"config": {}, "manifests": []},
        {"mediaType": spec.OCI_INDEX, "layers": []},
        {"mediaType": spec.OCI_MANIFEST, "manifests": []},
    ],
)
def test_an_ambiguous_document_is_refused(document):
    with pytest.raises(Corrupt):
        spec.detect_media_type(json.dumps(document).encode())


@pytest.mark.parametrize(
    "raw",
    [
        None,
        {},
        {"digest": "sha256:x", "size": 1},
        {"digest": CONFIG.digest, "size": -1},
        {"digest": CONFIG.digest, "size": True},
        {"digest": CONFIG.digest, "size": 1, "annotations": {"a": 1}},
        {"digest": CONFIG.digest, "size": 1, "urls": 3},
        {"digest": "../../x", "size": 1},
    ],
)
def test_a_hostile_descriptor_is_refused(raw):
    with pytest.raises(Corrupt):
        spec.parse_descriptor(raw)


def test_a_config_keeps_what_it_does_not_know():
    config = spec.parse_config(b'{"os":"linux","architecture":"arm","variant":"v7","moby.x":[1],"rootfs":{"type":"x"}}')
    assert config.raw["moby.x"] == [1]
    assert config.platform == Platform("linux", "arm", "v7")
    assert config.diff_ids == ()


def test_the_chain_id_of_one_layer_is_its_diff_id():
    assert spec.chain_id([LAYER.digest]) == LAYER.digest
    assert spec.chain_id([LAYER.digest, CONFIG.digest]) == sha256(f"{LAYER.digest} {CONFIG.digest}".encode())


@pytest.mark.parametrize(
    ("media_type", "name"),
    [
        (spec.OCI_LAYER, "uncompressed"),
        (spec.OCI_LAYER + "+gzip", "gzip"),
        (spec.OCI_LAYER + "+zstd", "zstd"),
        (spec.DOCKER_LAYER + ".gzip", "gzip"),
    ],
)
def test_compression_is_read_from_the_media_type(media_type, name):
    assert spec.compression_of(media_type) == name


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda s: st.lists(s) | st.dictionaries(st.text(), s)
)


@given(st.dictionaries(st.sampled_from(["mediaType", "config", "layers", "manifests", "annotations", "subject"]), JSON))
def test_any_document_is_read_or_refused_as_corrupt(document):
    for parse in (spec.parse_manifest, spec.parse_index):
        try:
            parse(json.dumps(document).encode())
        except Corrupt:
            pass


@pytest.mark.parametrize("size", [-1, 1 << 63, 1 << 200, True, "5", None])
def test_a_size_that_is_none_is_refused_by_name(size):
    with pytest.raises(Corrupt, match="has an invalid size"):
        spec.parse_descriptor({"digest": sha256(b"x"), "size": size})
