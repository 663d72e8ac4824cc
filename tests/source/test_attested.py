"""From an image to who attested it and who signed that."""

from __future__ import annotations

import json

import pytest

from buildkit.core.digest import sha256
from buildkit.core.errors import BuildkitError, NotFound
from buildkit.core.platform import Platform
from buildkit.oci import spec
from buildkit.oci.referrers import Referrer
from buildkit.source.attested import attestation_chain

AMD64 = Platform("linux", "amd64")
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
COSIGN = "application/vnd.dev.cosign.artifact.sig.v1+json"
SLSA = "https://slsa.dev/provenance/v1"


class Shelf:
    """Blobs, and what refers to which of them."""

    def __init__(self):
        self.blobs = {}
        self.referring = {}

    def put(self, content, media_type, **fields):
        content = content if isinstance(content, bytes) else json.dumps(content).encode()
        digest = sha256(content)
        self.blobs[digest] = content
        return {"mediaType": media_type, "digest": digest, "size": len(content), **fields}

    def manifest(self, *layers, **fields):
        config = self.put({}, spec.OCI_CONFIG)
        body = {"schemaVersion": 2, "mediaType": spec.OCI_MANIFEST, "config": config, "layers": list(layers)}
        return self.put({**body, "annotations": {"n": str(len(self.blobs))}}, spec.OCI_MANIFEST, **fields)

    def index(self, *manifests, media_type=spec.OCI_INDEX):
        return self.put({"schemaVersion": 2, "mediaType": media_type, "manifests": list(manifests)}, media_type)

    def sign(self, signed, kind):
        signature = self.manifest(self.put(b"signed " + kind.encode(), kind))
        found = Referrer(kind, spec.parse_descriptor(signature))
        self.referring.setdefault(signed["digest"], []).append(found)
        return signature

    async def chain(self, root, platform=AMD64, predicates=()):
        async def read(descriptor):
            return self.blobs[descriptor.digest]

        async def referrers(digest):
            return self.referring.get(digest, [])

        return await attestation_chain(spec.parse_descriptor(root), platform, read, referrers, predicates)


def statement(shelf, kind):
    return shelf.put(
        {"predicateType": kind}, "application/vnd.in-toto+json", annotations={"in-toto.io/predicate-type": kind}
    )


@pytest.fixture
def shelf():
    return Shelf()


@pytest.fixture
def image(shelf):
    """An image for two platforms, of which one is attested: root, image, attestations, statements."""
    amd = shelf.manifest(platform={"os": "linux", "architecture": "amd64"})
    arm = shelf.manifest(platform={"os": "linux", "architecture": "arm64"})
    statements = [statement(shelf, SLSA), statement(shelf, "https://other")]
    said = {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": amd["digest"]}
    unknown = {"os": "unknown", "architecture": "unknown"}
    about = shelf.manifest(*statements, platform=unknown, annotations=said)
    return shelf.index(amd, arm, about), amd, about, statements, arm


@pytest.mark.row("A86")
async def test_a_chain_leads_from_the_index_to_attestations_and_their_signature(shelf, image):
    root, amd, about, _, _ = image
    shelf.sign(about, COSIGN)
    signature = shelf.sign(about, BUNDLE)
    shelf.sign(about, "application/of.something.else")
    chain = await shelf.chain(root)
    assert (chain.root, chain.image, chain.attestations) == (root["digest"], amd["digest"], about["digest"])
    assert chain.signatures == (signature["digest"],)
    held = {digest: content for digest, (_, content) in chain.blobs.items()}
    assert held.keys() == {root["digest"], about["digest"], signature["digest"], sha256(b"signed " + BUNDLE.encode())}
    assert all(content == shelf.blobs[digest] for digest, content in held.items())


@pytest.mark.row("A86")
async def test_statements_come_along_when_their_kind_is_asked_for(shelf, image):
    root, _, about, (slsa, _), _ = image
    chain = await shelf.chain(root, predicates=(SLSA,))
    assert chain.blobs.keys() == {root["digest"], about["digest"], slsa["digest"]}
    assert chain.signatures == ()


async def test_an_image_that_nobody_attested_has_a_short_chain(shelf, image):
    root, _, _, _, arm = image
    chain = await shelf.chain(root, Platform("linux", "arm64"))
    assert (chain.image, chain.attestations, list(chain.blobs)) == (arm["digest"], "", [root["digest"]])


async def test_what_is_no_index_of_oci_has_no_chain(shelf):
    assert await shelf.chain(shelf.manifest()) is None
    assert await shelf.chain(shelf.index(media_type=spec.DOCKER_LIST)) is None


async def test_an_index_without_the_platform_is_told(shelf, image):
    with pytest.raises(NotFound, match="no manifest for platform linux/s390x"):
        await shelf.chain(image[0], Platform("linux", "s390x"))


async def test_a_layer_that_says_to_be_a_manifest_is_refused(shelf):
    amd = shelf.manifest(platform={"os": "linux", "architecture": "amd64"})
    said = {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": amd["digest"]}
    about = shelf.put(b"[]", spec.OCI_MANIFEST, annotations=said)
    with pytest.raises(BuildkitError):
        await shelf.chain(shelf.index(amd, about))
