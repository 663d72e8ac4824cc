import json

import pytest

from buildkit.core.errors import InvalidInput
from buildkit.core.platform import Platform
from buildkit.core.result import Attestation, Subject
from buildkit.exporter.attest import attest
from buildkit.oci.spec import OCI_MANIFEST, Descriptor

AMD64 = Platform("linux", "amd64")
TARGET = Descriptor(OCI_MANIFEST, "sha256:" + "ab" * 32, 123)
PROVENANCE = Attestation("in-toto", "https://slsa.dev/provenance/v1", b'{"a":1}')


@pytest.mark.row("E31", "E59")
def test_an_attestation_manifest_points_at_its_image():
    made = attest(TARGET, AMD64, [PROVENANCE], [])
    assert (made.descriptor.platform.os, made.descriptor.platform.architecture) == ("unknown", "unknown")
    assert made.descriptor.annotations == {
        "vnd.docker.reference.digest": TARGET.digest,
        "vnd.docker.reference.type": "attestation-manifest",
    }
    manifest = json.loads(made.documents[-1].content)
    assert manifest["artifactType"] == "application/vnd.docker.attestation.manifest.v1+json"
    assert manifest["config"]["mediaType"] == "application/vnd.oci.empty.v1+json"
    assert manifest["config"]["data"] == "e30="
    assert manifest["subject"] == {"mediaType": OCI_MANIFEST, "digest": TARGET.digest, "size": 123}
    (layer,) = manifest["layers"]
    assert layer["mediaType"] == "application/vnd.in-toto+json"
    assert layer["annotations"] == {"in-toto.io/predicate-type": "https://slsa.dev/provenance/v1"}


@pytest.mark.row("E31")
def test_for_old_registries_an_attestation_manifest_looks_like_an_image():
    made = attest(TARGET, AMD64, [PROVENANCE], [], artifact=False)
    manifest = json.loads(made.documents[-1].content)
    assert manifest.keys() == {"schemaVersion", "mediaType", "config", "layers"}
    config = json.loads(
        next(one.content for one in made.documents if one.descriptor.digest == manifest["config"]["digest"])
    )
    assert (config["os"], config["architecture"]) == ("unknown", "unknown")
    assert config["rootfs"]["diff_ids"] == [layer["digest"] for layer in manifest["layers"]]


@pytest.mark.row("E60")
@pytest.mark.parametrize(
    ("names", "subjects"),
    [
        ([], []),
        (["busybox"], ["pkg:docker/busybox@latest?platform=linux%2Famd64"]),
        (["r:5/a/b:1"], ["pkg:docker/r%3A5/a/b@1?platform=linux%2Famd64"]),
    ],
)
def test_a_statement_names_the_image(names, subjects):
    statement = json.loads(attest(TARGET, AMD64, [PROVENANCE], names).documents[0].content)
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert (statement["predicateType"], statement["predicate"]) == ("https://slsa.dev/provenance/v1", {"a": 1})
    assert statement["subject"] == [{"name": name, "digest": {"sha256": "ab" * 32}} for name in subjects]


def test_a_statement_is_about_the_subjects_that_it_names():
    named = (Subject("self", "mine"), Subject("raw", "other", ("sha256:" + "cd" * 32,)), Subject("raw"))
    said = Attestation("in-toto", "https://p", b"", subjects=named)
    statement = json.loads(attest(TARGET, AMD64, [said], ["a:1"]).documents[0].content)
    image = "pkg:docker/a@1?platform=linux%2Famd64"
    assert [one["name"] for one in statement["subject"]] == [image, "mine", "other", "_"]
    assert [one["digest"].get("sha256", "")[:2] for one in statement["subject"]] == ["ab", "ab", "cd", ""]
    assert statement["predicate"] is None


def test_what_is_said_has_to_be_json():
    with pytest.raises(InvalidInput, match="failed to marshal attestation https://p"):
        attest(TARGET, AMD64, [Attestation("in-toto", "https://p", b"{")], [])
