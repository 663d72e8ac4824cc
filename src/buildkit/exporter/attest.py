"""Attestations of images: in-toto statements, and the manifests that carry them beside an image (rows E59, E60)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from urllib.parse import quote

from buildkit.core.digest import algorithm, hex_of, sha256
from buildkit.core.errors import Internal, InvalidInput
from buildkit.core.gojson import go_json
from buildkit.core.platform import Platform, format_platform, normalize
from buildkit.core.result import Attestation, Subject
from buildkit.core.values import dataclass, replace
from buildkit.exporter.manifest import Document
from buildkit.oci.names import parse_reference
from buildkit.oci.spec import IN_TOTO, OCI_CONFIG, OCI_EMPTY, OCI_MANIFEST, Descriptor, Json, encode
from buildkit.store.refs import Ref

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
ARTIFACT_TYPE = "application/vnd.docker.attestation.manifest.v1+json"
_EMPTY = Document(Descriptor(OCI_EMPTY, sha256(b"{}"), 2), b"{}")
_UNKNOWN = Platform("unknown", "unknown")


@dataclass(frozen=True, slots=True)
class Attested:
    """An attestation manifest as the index lists it, and all documents to store: itself the last."""

    descriptor: Descriptor
    documents: tuple[Document, ...]


def attest(
    target: Descriptor,
    platform: Platform,
    attestations: Sequence[Attestation[Ref]],
    names: Sequence[str],
    *,
    artifact: bool = True,
) -> Attested:
    """The manifest of what is said about the image ``target``, known by ``names``; raises `InvalidInput`.

    Unless it is an OCI ``artifact`` it looks like an image for no platform.
    """
    own = subjects_of(target, platform, names)
    layers = [_layer(one, go_json(statement_of(one, own)).encode()) for one in attestations]
    config = _EMPTY if artifact else _config(layers)
    manifest: dict[str, Json] = {"schemaVersion": 2, "mediaType": OCI_MANIFEST}
    if artifact:
        manifest["artifactType"] = ARTIFACT_TYPE
        manifest["config"] = {**config.descriptor.to_json(), "data": "e30="}
    else:
        manifest["config"] = config.descriptor.to_json()
    manifest["layers"] = [layer.descriptor.to_json() for layer in layers]
    if artifact:
        manifest["subject"] = Descriptor(target.media_type, target.digest, target.size).to_json()
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


def subjects_of(target: Descriptor, platform: Platform, names: Sequence[str]) -> list[dict[str, Json]]:
    """The image under each of its names, as package URLs."""
    digest: Json = {algorithm(target.digest): hex_of(target.digest)}
    return [{"name": _package_url(name, platform), "digest": digest} for name in names]


def _package_url(name: str, platform: Platform) -> str:
    reference = parse_reference(name).with_default_tag()
    path = quote(replace(reference, tag="", digest="").familiar, safe="/")
    version = f"@{quote(reference.tag, safe='')}" if reference.tag else ""
    return f"pkg:docker/{path}{version}?platform={quote(format_platform(normalize(platform)), safe='')}"


def statement_of(one: Attestation[Ref], own: Sequence[dict[str, Json]]) -> dict[str, Json]:
    """The in-toto statement; ``own`` are the subjects of what it is attached to. Raises `InvalidInput`."""
    if one.kind != "in-toto" or one.ref is not None:
        raise Internal(f"attestation {one.predicate_type}: its content is not at hand")
    subjects: list[Json] = [*(raw for subject in one.subjects or (Subject("self"),) for raw in _named(subject, own))]
    try:
        predicate = json.loads((one.late() if one.late is not None else one.content) or b"null")
    except ValueError as error:
        raise InvalidInput(f"failed to marshal attestation {one.predicate_type}: {error}") from None
    return {
        "_type": STATEMENT_TYPE,
        "predicateType": one.predicate_type,
        "subject": subjects,
        "predicate": predicate,
    }


def _named(subject: Subject, own: Sequence[dict[str, Json]]) -> Iterator[dict[str, Json]]:
    """A subject as a statement has it; the image itself goes by its own names and the one that it is given here."""
    if subject.kind != "self":
        digests: Json = {algorithm(digest): hex_of(digest) for digest in subject.digests}
        yield {"name": subject.name or "_", "digest": digests}
        return
    for one in own:
        yield one
        if subject.name:
            yield {**one, "name": subject.name}


def _config(layers: Sequence[Document]) -> Document:
    """The config of an image for no platform, whose layers are the attestations."""
    digests: list[Json] = [layer.descriptor.digest for layer in layers]
    config: Json = {
        "architecture": _UNKNOWN.architecture,
        "os": _UNKNOWN.os,
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": digests},
    }
    content = encode(config)
    return Document(Descriptor(OCI_CONFIG, sha256(content), len(content)), content)


def _layer(one: Attestation[Ref], content: bytes) -> Document:
    annotations = {"in-toto.io/predicate-type": one.predicate_type}
    return Document(Descriptor(IN_TOTO, sha256(content), len(content), annotations=annotations), content)
