"""Attributes of exporters, as users write them after ``type=…``: parsed once, refused by name.

Error texts are BuildKit's, with the tail that Go's ``strconv`` adds.
"""

from __future__ import annotations

from collections.abc import Mapping

from buildkit.core.errors import InvalidInput, Unsupported
from buildkit.core.gobool import FALSE, TRUE
from buildkit.core.values import dataclass, field
from buildkit.exporter.annotations import AnnotationRules, parse_annotations
from buildkit.exporter.epoch import Epoch, parse_seconds
from buildkit.store.blobs import Compression

_LEVELS = {"gzip": range(0, 10), "zstd": range(0, 23)}
_NOT_YET = ("estargz",)
_OCI_ONLY = ("estargz",)
_DEFAULT_COMPRESSION = Compression()
_CONFLICT = 'conflicts with "oci-mediatypes=false"'


@dataclass(frozen=True, slots=True)
class ImageAttrs:
    """What the image, oci and docker exporters have in common; None where the default depends on the result."""

    name: str = ""
    compression: Compression = _DEFAULT_COMPRESSION
    oci_types: bool | None = None
    oci_artifact: bool | None = None
    inline_attestations: bool = False
    keep_foreign_layers: bool = False
    rewrite_timestamp: bool = False
    epoch: Epoch | None = None
    annotations: AnnotationRules = field(default_factory=AnnotationRules)
    rest: Mapping[str, str] = field(default_factory=dict[str, str])
    """Attributes that only some exporters know, or none: those become metadata of the result."""


def parse_flag(attrs: Mapping[str, str], key: str, default: bool) -> bool:
    """A yes or no where the empty value means yes; raises `InvalidInput`."""
    value = attrs.get(key)
    if value is None:
        return default
    return True if value == "" else _parse_bool(key, value)


def _parse_bool(key: str, value: str) -> bool:
    parsed = as_bool(value)
    if parsed is None:
        raise InvalidInput(f"non-bool value specified for {key}: {_go_error('ParseBool', value)}")
    return parsed


def as_bool(value: str) -> bool | None:
    """What Go takes for a yes or a no; None for anything else."""
    return True if value in TRUE else False if value in FALSE else None


def _go_error(function: str, value: str) -> str:
    quoted = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'strconv.{function}: parsing "{quoted}": invalid syntax'


def parse_compression(attrs: Mapping[str, str]) -> Compression:
    """``compression``, ``compression-level`` and ``force-compression``; raises `InvalidInput` or `Unsupported`."""
    kind = attrs.get("compression", "gzip")
    if kind not in ("uncompressed", "gzip", "zstd", *_NOT_YET):
        raise InvalidInput(f"unsupported compression type {kind}")
    force = attrs.get("force-compression", "false")
    if force != "" and as_bool(force) is None:
        raise InvalidInput(f"non-bool value {force} specified for force-compression: {_go_error('ParseBool', force)}")
    level: int | None = None
    if "compression-level" in attrs:
        text = attrs["compression-level"]
        try:
            level = parse_seconds(text)
        except ValueError:
            tail = _go_error("ParseInt", text)
            raise InvalidInput(f"non-integer value {text} specified for compression-level: {tail}") from None
        allowed = _LEVELS.get(kind)
        if allowed is not None and level not in allowed:
            bounds = f"{allowed[0]} to {allowed[-1]}"
            raise InvalidInput(f"compression-level {level} does not exist for {kind}: it has {bounds}")
    if kind in _NOT_YET:
        raise Unsupported(f"compression={kind} is not supported yet; use gzip, zstd or uncompressed")
    return Compression(kind, level, force == "" or bool(as_bool(force)))


def parse_image_attrs(attrs: Mapping[str, str], *, inline_attestations: bool) -> ImageAttrs:
    """Parse what the image exporters share; raises `InvalidInput`, or `Unsupported` for what is not built yet."""
    annotations, rest = parse_annotations(attrs)
    epoch_text = rest.pop("source-date-epoch", None)
    epoch = None if epoch_text is None else Epoch.parse(epoch_text, "source-date-epoch")
    if rest.get("compression") in _OCI_ONLY and as_bool(rest.get("oci-mediatypes", "true")) is False:
        raise InvalidInput(f'exporter option "compression={rest["compression"]}" {_CONFLICT}')
    compression = parse_compression(rest)
    for key in ("compression", "compression-level", "force-compression"):
        rest.pop(key, None)

    def take(key: str) -> bool | None:
        return _parse_bool(key, rest.pop(key)) if key in rest else None

    name = rest.pop("name", "")
    oci_types, oci_artifact = take("oci-mediatypes"), take("oci-artifact")
    inline, foreign, rewrite = take("attestation-inline"), take("prefer-nondist-layers"), take("rewrite-timestamp")
    check_types(oci_types, oci_artifact)
    return ImageAttrs(
        name,
        compression,
        oci_types,
        oci_artifact,
        inline_attestations if inline is None else inline,
        bool(foreign),
        bool(rewrite),
        epoch,
        annotations,
        rest,
    )


def check_types(oci_types: bool | None, oci_artifact: bool | None) -> None:
    """Refuse what Docker's media types can not say; raises `InvalidInput`."""
    if oci_types is False and oci_artifact:
        raise InvalidInput(f'exporter option "oci-artifact=true" {_CONFLICT}')
