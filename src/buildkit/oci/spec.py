"""The documents of an image: descriptors, manifests, indexes and configs, in OCI's and Docker's dialect.

Unknown fields of a config survive a round trip. Written JSON is what Go's encoder writes: compact, fields in
the order of the structures, map keys sorted, ``<``, ``>`` and ``&`` escaped.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from buildkit.core.digest import Digest, parse_digest
from buildkit.core.errors import BuildkitError, Corrupt
from buildkit.core.platform import Platform
from buildkit.core.values import dataclass, field

Json: TypeAlias = Any
"""A parsed JSON value."""

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_LAYER_FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar"
DOCKER_SCHEMA1 = (
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
)
IN_TOTO = "application/vnd.in-toto+json"

MANIFESTS = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
INDEXES = frozenset({OCI_INDEX, DOCKER_LIST})
CONFIGS = frozenset({OCI_CONFIG, DOCKER_CONFIG})
_MOST_BYTES = (1 << 63) - 1
SOURCE_PREFIX = "containerd.io/distribution.source."
"""Annotation of layers, never in manifests: repositories, by comma, of the registry it names, which have the blob."""
MANIFEST_SIZE_LIMIT = 8 << 20
"""Bytes; a larger manifest, index or config is refused unread."""


def is_distributable(media_type: str) -> bool:
    """Whether a registry takes such a blob (foreign layers stay where their URLs say)."""
    return ".nondistributable." not in media_type and ".foreign." not in media_type


def compression_of(media_type: str) -> str:
    """``uncompressed``, ``gzip`` or ``zstd``, from a layer's media type; raises `Corrupt` for others."""
    if media_type.endswith(("+gzip", ".gzip", ".tar.gz")):
        return "gzip"
    if media_type.endswith(("+zstd", ".zstd")):
        return "zstd"
    if media_type.endswith(".tar"):
        return "uncompressed"
    raise Corrupt(f"unsupported layer media type {media_type}")


def encode(value: Json, indent: int | None = None) -> bytes:
    """Write JSON as Go does; dict order is kept."""
    text = json.dumps(value, ensure_ascii=False, indent=indent, separators=(",", ": " if indent else ":"))
    for plain, escaped in _GO_ESCAPES:
        if plain in text:
            text = text.replace(plain, escaped)
    return text.encode()


_GO_ESCAPES = (("<", "\\u003c"), (">", "\\u003e"), ("&", "\\u0026"), ("\u2028", "\\u2028"), ("\u2029", "\\u2029"))


def decode(content: bytes, what: str) -> dict[str, Json]:
    """Parse a JSON object; raises `Corrupt` naming ``what``."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise Corrupt(f"{what} is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise Corrupt(f"{what} is not a JSON object")
    return value


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A typed pointer to a blob: media type, digest and size in bytes."""

    media_type: str
    digest: Digest
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict[str, str])
    platform: Platform | None = None
    urls: tuple[str, ...] = ()
    artifact_type: str = ""

    def to_json(self) -> dict[str, Json]:
        """The JSON object, fields in OCI's order."""
        out: dict[str, Json] = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        if self.urls:
            out["urls"] = list(self.urls)
        if self.annotations:
            out["annotations"] = dict(sorted(self.annotations.items()))
        if self.platform is not None:
            out["platform"] = platform_to_json(self.platform)
        if self.artifact_type:
            out["artifactType"] = self.artifact_type
        return out


@dataclass(frozen=True, slots=True)
class Manifest:
    """One image: its config and its layers, lowest first."""

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = field(default_factory=dict[str, str])
    artifact_type: str = ""
    subject: Descriptor | None = None

    def to_json(self) -> dict[str, Json]:
        """The JSON object, fields in OCI's order."""
        out: dict[str, Json] = {"schemaVersion": 2, "mediaType": self.media_type}
        if self.artifact_type:
            out["artifactType"] = self.artifact_type
        out["config"] = self.config.to_json()
        out["layers"] = [layer.to_json() for layer in self.layers]
        if self.subject is not None:
            out["subject"] = self.subject.to_json()
        if self.annotations:
            out["annotations"] = dict(sorted(self.annotations.items()))
        return out


@dataclass(frozen=True, slots=True)
class Index:
    """Several manifests, usually one for each platform."""

    media_type: str
    manifests: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = field(default_factory=dict[str, str])
    artifact_type: str = ""
    subject: Descriptor | None = None

    def to_json(self) -> dict[str, Json]:
        """The JSON object, fields in OCI's order."""
        out: dict[str, Json] = {"schemaVersion": 2, "mediaType": self.media_type}
        if self.artifact_type:
            out["artifactType"] = self.artifact_type
        out["manifests"] = [one.to_json() for one in self.manifests]
        if self.subject is not None:
            out["subject"] = self.subject.to_json()
        if self.annotations:
            out["annotations"] = dict(sorted(self.annotations.items()))
        return out


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """An image config: the JSON as it came, and the parts that a builder decides on."""

    raw: Mapping[str, Json]

    @property
    def platform(self) -> Platform:
        """What the image runs on; empty fields where the config says nothing."""
        return _platform(self.raw)

    @property
    def rootfs_type(self) -> str:
        """``layers`` for every image of files."""
        rootfs = self.raw.get("rootfs")
        return str(rootfs.get("type") or "") if isinstance(rootfs, dict) else ""

    @property
    def diff_ids(self) -> tuple[Digest, ...]:
        """Digests of the uncompressed layers, lowest first."""
        rootfs = self.raw.get("rootfs")
        return tuple(_digest(one, "diff id") for one in _list(rootfs, "diff_ids")) if isinstance(rootfs, dict) else ()

    @property
    def history(self) -> tuple[Mapping[str, Json], ...]:
        """The steps that made the image, as they stand in the config."""
        return tuple(one for one in _list(self.raw, "history") if isinstance(one, dict))


def parse_config(content: bytes) -> ImageConfig:
    """Read an image config; raises `Corrupt`."""
    return ImageConfig(decode(content, "image config"))


def detect_media_type(content: bytes) -> str:
    """Tell a manifest from an index by what is in it, whatever its label says; raises `Corrupt`."""
    raw = decode(content, "manifest")
    single = raw.get("config") is not None or raw.get("layers") is not None
    if single and raw.get("manifests") is not None:
        raise Corrupt("invalid ambiguous manifest and manifest list")
    stated = raw.get("mediaType")
    if isinstance(stated, str) and stated in MANIFESTS | INDEXES:
        if (stated in MANIFESTS) != single:
            raise Corrupt("mediaType in manifest does not match manifest contents")
        return str(stated)
    return DOCKER_MANIFEST if single else DOCKER_LIST


def parse_manifest(content: bytes) -> Manifest:
    """Read a manifest of either dialect; raises `Corrupt`."""
    kind = detect_media_type(content)
    raw = decode(content, "manifest")
    if kind not in MANIFESTS:
        raise Corrupt("expected an image manifest, found an index")
    return Manifest(
        kind,
        parse_descriptor(raw.get("config")),
        tuple(parse_descriptor(one) for one in _list(raw, "layers")),
        _strings(raw.get("annotations")),
        str(raw.get("artifactType") or ""),
        parse_descriptor(raw["subject"]) if raw.get("subject") else None,
    )


def parse_index(content: bytes) -> Index:
    """Read an index or manifest list; raises `Corrupt`."""
    kind = detect_media_type(content)
    raw = decode(content, "index")
    if kind not in INDEXES:
        raise Corrupt("expected an image index, found a manifest")
    return Index(
        kind,
        tuple(parse_descriptor(one) for one in _list(raw, "manifests")),
        _strings(raw.get("annotations")),
        str(raw.get("artifactType") or ""),
        parse_descriptor(raw["subject"]) if raw.get("subject") else None,
    )


def parse_descriptor(raw: Json) -> Descriptor:
    """Read and check one descriptor; raises `Corrupt`."""
    if not isinstance(raw, dict):
        raise Corrupt("descriptor is not a JSON object")
    size = raw.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= _MOST_BYTES:
        raise Corrupt(f"descriptor of {raw.get('digest')} has an invalid size {size!r}")
    platform = raw.get("platform")
    return Descriptor(
        str(raw.get("mediaType") or ""),
        _digest(raw.get("digest"), "descriptor digest"),
        size,
        _strings(raw.get("annotations")),
        _platform(platform) if isinstance(platform, dict) else None,
        tuple(one for one in _list(raw, "urls") if isinstance(one, str)),
        str(raw.get("artifactType") or ""),
    )


def platform_to_json(platform: Platform) -> dict[str, Json]:
    """The JSON object of a platform, fields in OCI's order."""
    out: dict[str, Json] = {"architecture": platform.architecture, "os": platform.os}
    if platform.os_version:
        out["os.version"] = platform.os_version
    if platform.os_features:
        out["os.features"] = list(platform.os_features)
    if platform.variant:
        out["variant"] = platform.variant
    return out


def chain_id(diff_ids: Sequence[Digest]) -> Digest:
    """OCI's name of a stack of layers; raises ValueError for an empty stack."""
    from buildkit.core.digest import sha256_text

    if not diff_ids:
        raise ValueError("chain id of no layers")
    chain = diff_ids[0]
    for diff_id in diff_ids[1:]:
        chain = sha256_text(f"{chain} {diff_id}")
    return chain


def _platform(raw: Mapping[str, Json]) -> Platform:
    def text(key: str) -> str:
        value = raw.get(key)
        return value if isinstance(value, str) else ""

    features = tuple(one for one in _list(raw, "os.features") if isinstance(one, str))
    return Platform(text("os"), text("architecture"), text("variant"), text("os.version"), features)


def _list(raw: Mapping[str, Json], key: str) -> list[Json]:
    value = raw.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise Corrupt(f"{key} is not a JSON array")
    return value


def _strings(raw: Json) -> dict[str, str]:
    if raw is None:
        return {}
    if not isinstance(raw, dict) or not all(isinstance(one, str) for one in raw.values()):
        raise Corrupt("annotations are not a JSON object of strings")
    return dict(raw)


def _digest(raw: Json, what: str) -> Digest:
    try:
        return parse_digest(raw if isinstance(raw, str) else "")
    except BuildkitError as error:
        raise Corrupt(f"{what}: {error}") from error
