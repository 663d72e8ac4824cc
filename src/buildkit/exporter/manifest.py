"""Manifests and indexes as bytes: media types, annotations, and what of a layer's descriptor leaves the house."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from buildkit.core.digest import sha256
from buildkit.core.values import dataclass, replace
from buildkit.exporter.annotations import Annotations
from buildkit.oci.spec import (
    DOCKER_CONFIG,
    DOCKER_LAYER,
    DOCKER_LAYER_FOREIGN,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    SOURCE_PREFIX,
    Descriptor,
    Index,
    Json,
    Manifest,
    encode,
)

_OCI_FOREIGN = "application/vnd.oci.image.layer.nondistributable.v1.tar"
_INTERNAL = ("containerd.io/uncompressed", "buildkit/createdat")

_NAMES = {
    (oci, foreign, packed): base + (packed and separator + packed)
    for oci, foreign, base, separator in (
        (True, False, OCI_LAYER, "+"),
        (True, True, _OCI_FOREIGN, "+"),
        (False, False, DOCKER_LAYER, "."),
        (False, True, DOCKER_LAYER_FOREIGN, "."),
    )
    for packed in ("", "gzip", "zstd")
}
_MEANINGS = {name: meaning for meaning, name in _NAMES.items()}


@dataclass(frozen=True, slots=True)
class Document:
    """A manifest, index or config: its bytes and the descriptor that points to them."""

    descriptor: Descriptor
    content: bytes


def layer_media_type(media_type: str, *, oci: bool, keep_foreign: bool = False) -> str:
    """The same kind of layer in OCI's or Docker's words; types that nobody knows stay as they are."""
    meaning = _MEANINGS.get(media_type)
    if meaning is None:
        return media_type
    _, foreign, packed = meaning
    return _NAMES[oci, foreign and keep_foreign, packed]


def public_layer(layer: Descriptor, *, oci: bool, keep_foreign: bool = False) -> Descriptor:
    """The descriptor as a manifest carries it: no internal annotations, none at all with Docker's types."""
    annotations: Mapping[str, str] = {}
    if oci:
        annotations = {
            key: value
            for key, value in layer.annotations.items()
            if key not in _INTERNAL and not key.startswith(SOURCE_PREFIX)
        }
    media_type = layer_media_type(layer.media_type, oci=oci, keep_foreign=keep_foreign)
    urls = layer.urls if keep_foreign else ()
    return replace(layer, media_type=media_type, annotations=annotations, urls=urls)


def make_config(content: bytes, *, oci: bool) -> Document:
    """The config's bytes with their descriptor."""
    return Document(Descriptor(OCI_CONFIG if oci else DOCKER_CONFIG, sha256(content), len(content)), content)


def make_manifest(config: Descriptor, layers: Sequence[Descriptor], annotations: Annotations, *, oci: bool) -> Document:
    """One image's manifest; ``layers`` as `public_layer` made them."""
    media_type = OCI_MANIFEST if oci else DOCKER_MANIFEST
    manifest = Manifest(media_type, config, tuple(layers), annotations.manifest)
    content = _encode(manifest.to_json(), "layers")
    descriptor = Descriptor(media_type, sha256(content), len(content), annotations.manifest_descriptor)
    return Document(descriptor, content)


def make_index(manifests: Sequence[Descriptor], annotations: Annotations, *, oci: bool) -> Document:
    """Several manifests under one digest."""
    media_type = OCI_INDEX if oci else DOCKER_LIST
    content = _encode(Index(media_type, tuple(manifests), annotations.index).to_json(), "manifests")
    descriptor = Descriptor(media_type, sha256(content), len(content), annotations.index_descriptor)
    return Document(descriptor, content)


def _encode(value: dict[str, Json], list_key: str) -> bytes:
    """Two spaces of indent; an empty list is ``null``, as Go writes one that was never filled."""
    value[list_key] = value[list_key] or None
    return encode(value, indent=2)
