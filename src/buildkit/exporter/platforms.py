"""Which platforms a result has, and what its metadata says of each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TypeVar

from buildkit.core.errors import InvalidInput
from buildkit.core.platform import Platform, format_platform, host_platform, normalize
from buildkit.core.result import Result
from buildkit.core.values import dataclass

R = TypeVar("R")

CONFIG_KEY = "containerimage.config"
BASE_CONFIG_KEY = "containerimage.base.config"
PLATFORMS_KEY = "refs.platforms"


@dataclass(frozen=True, slots=True)
class ExportPlatform:
    """A platform of the result and the id that the frontend gave it."""

    id: str
    platform: Platform


def platforms_of(result: Result[R]) -> tuple[ExportPlatform, ...]:
    """The platforms in the frontend's order; a lone ref has its image config's, or this machine's.

    Raises `InvalidInput` where the frontend's mapping is missing or makes no sense.
    """
    metadata = result.metadata
    if PLATFORMS_KEY not in metadata:
        if not result.single:
            raise InvalidInput("unable to export multiple refs, missing platforms mapping")
        platform = _platform_of_config(metadata) if CONFIG_KEY in metadata else host_platform()
        platform = normalize(platform) if platform.os else platform
        return (ExportPlatform(format_platform(platform), platform),)
    try:
        entries = json.loads(metadata[PLATFORMS_KEY] or b"{}").get("Platforms")
        parsed = tuple(ExportPlatform(str(e["ID"] or ""), _platform(e["Platform"])) for e in entries or ())
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise InvalidInput(f"failed to parse platforms of the result: {error}") from error
    if not parsed:
        raise InvalidInput("invalid empty platforms index for exporter")
    for one in parsed:
        if not one.id:
            raise InvalidInput("invalid empty platform key for exporter")
        if not one.platform.os or not one.platform.architecture:
            raise InvalidInput(f"invalid platform value {one.platform!r} for exporter")
    return tuple(ExportPlatform(one.id, normalize(one.platform)) for one in parsed)


def ref_of(result: Result[R], platform_id: str) -> R | None:
    """The ref of one platform, or the only one; raises `InvalidInput` when the result has none for it."""
    if result.single or (platform_id not in result.refs and len(result.refs) == 1):
        return next(iter(result.refs.values()), None)
    if platform_id not in result.refs:
        raise InvalidInput(f"failed to find ref for ID {platform_id}")
    return result.refs[platform_id]


def metadata_of(metadata: Mapping[str, bytes], key: str, platform_id: str) -> bytes:
    """The platform's own value of ``key``, else the common one, else nothing."""
    return metadata.get(f"{key}/{platform_id}") or metadata.get(key) or b""


def _platform(raw: Mapping[str, object]) -> Platform:
    def text(key: str) -> str:
        value = raw.get(key)
        return value if isinstance(value, str) else ""

    features = raw.get("os.features")
    named = tuple(str(one) for one in features) if isinstance(features, list) else ()
    return Platform(text("os"), text("architecture"), text("variant"), text("os.version"), named)


def _platform_of_config(metadata: Mapping[str, bytes]) -> Platform:
    try:
        config = json.loads(metadata[CONFIG_KEY])
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"invalid image config: {error}") from error
    platform = _platform(config) if isinstance(config, dict) else Platform("", "")
    if bool(platform.os) != bool(platform.architecture):
        raise InvalidInput("invalid image config: os and architecture must be specified together")
    return platform
