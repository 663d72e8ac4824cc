"""Attestations of images: in-toto statements, and the manifests that carry them beside an image (rows E59, E60)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from urllib.parse import quote

from buildkit.core.digest import algorithm, hex_of, sha256
from buildkit.core.errors import Unsupported
from buildkit.core.gojson import go_json
from buildkit.core.platform import Platform, format_platform, normalize
from buildkit.core.result import Attestation
from buildkit.core.values import dataclass, replace
from buildkit.exporter.manifest import Document
from buildkit.oci.names import parse_reference
from buildkit.oci.spec import OCI_MANIFEST, Descriptor, Json, encode
from buildkit.store.refs import Ref

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
LAYER_TYPE = "application/vnd.in-toto+json"
ARTIFACT_TYPE = "application/vnd.docker.attestation.manifest.v1+json"
_EMPTY = b"{}"
_EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
_UNKNOWN = Platform("unknown", "unknown")


@dataclass(frozen=True, slots=True)
class Attested:
    """An attestation manifest as the index lists it, and all documents to store: itself the last."""

    descriptor: Descriptor
    documents: tuple[Document, ...]


def attest(
    target: Descriptor, platform: Platform, attestations: Sequence[Attestation[Ref]], names: Sequence[str]
) -> Attested:
    """The manifest of what is said about the image ``target``, known by ``names``; raises `Unsupported`."""
    layers = [_layer(one, _statement(one, target, platform, names)) for one in attestations]
    config = Document(Descriptor(_EMPTY_TYPE, sha256(_EMPTY), len(_EMPTY)), _EMPTY)
    manifest: dict[str, Json] = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": ARTIFACT_TYPE,
        "config": {**config.descriptor.to_json(), "data": "e30="},
        "layers": [layer.descriptor.to_json() for layer in layers],
        "subject": Descriptor(target.media_type, target.digest, target.size).to_json(),
    }
    content = encode(manifest, indent=2)
    descriptor = Descriptor(
        OCI_MANIFEST,
        sha256(content),
        len(content),
        annotations={
            "vnd.docker.reference.digest": target.digest,
            "vnd.docker.reference.type": "attestation-manifest",
        },
    )
    listed = replace(descriptor, platform=_UNKNOWN)
    return Attested(listed, (*layers, config, Document(descriptor, content)))


def subjects_of(target: Descriptor, platform: Platform, names: Sequence[str]) -> list[Json]:
    """The image under each of its names, as package URLs."""
    digest: Json = {algorithm(target.digest): hex_of(target.digest)}
    return [{"name": _package_url(name, platform), "digest": digest} for name in names]


def _package_url(name: str, platform: Platform) -> str:
    reference = parse_reference(name).with_default_tag()
    path = quote(replace(reference, tag="", digest="").familiar, safe="/")
    version = f"@{quote(reference.tag, safe='')}" if reference.tag else ""
    return f"pkg:docker/{path}{version}?platform={quote(format_platform(normalize(platform)), safe='')}"


def _statement(one: Attestation[Ref], target: Descriptor, platform: Platform, names: Sequence[str]) -> bytes:
    if one.kind != "in-toto" or one.ref is not None or one.subjects:
        raise Unsupported("attestations made by frontends are not supported yet")
    statement = {
        "_type": STATEMENT_TYPE,
        "predicateType": one.predicate_type,
        "subject": subjects_of(target, platform, names),
        "predicate": json.loads(one.content),
    }
    return go_json(statement).encode()


def _layer(one: Attestation[Ref], content: bytes) -> Document:
    annotations = {"in-toto.io/predicate-type": one.predicate_type}
    return Document(Descriptor(LAYER_TYPE, sha256(content), len(content), annotations=annotations), content)
