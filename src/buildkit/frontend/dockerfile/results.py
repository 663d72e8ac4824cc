"""Results of single platforms put together as exporters want them."""

from __future__ import annotations

from collections.abc import Sequence

from buildkit.core.gojson import go_json
from buildkit.core.platform import Platform, host_platform, normalize
from buildkit.core.result import Attestation, Result
from buildkit.core.values import dataclass, replace
from buildkit.frontend.dockerfile.platformspec import platform_id
from buildkit.frontend.frontend import FrontendResult, Ref
from buildkit.oci.spec import platform_to_json

_CONFIG = "containerimage.config"
_BASE_CONFIG = "containerimage.base.config"
_EPOCH = "source.date.epoch"
_PLATFORMS = "refs.platforms"


@dataclass(frozen=True, slots=True)
class PlatformResult:
    """What was built for one platform (None: nobody chose one). ``epoch`` in seconds, configs as JSON text."""

    platform: Platform | None
    ref: Ref | None
    image: bytes
    image_platform: Platform
    base_image: bytes | None
    epoch: int | None
    attestations: tuple[Attestation[Ref], ...] = ()


def assemble(results: Sequence[PlatformResult], *, multi_platform: bool) -> FrontendResult:
    """One result; a map by platform id when ``multi_platform``."""
    refs: dict[str, Ref | None] = {}
    metadata: dict[str, bytes] = {}
    attestations: dict[str, tuple[Attestation[Ref], ...]] = {}
    platforms: list[dict[str, object]] = []
    for result in results:
        name = platform_id(result.platform)
        suffix = f"/{name}" if multi_platform else ""
        refs[name if multi_platform else ""] = result.ref
        metadata[_CONFIG + suffix] = result.image
        if result.base_image is not None:
            metadata[_BASE_CONFIG + suffix] = result.base_image
        if result.epoch is not None:
            metadata[_EPOCH + suffix] = str(result.epoch).encode()
        if result.attestations:
            attestations[name] = result.attestations
        platforms.append({"ID": name, "Platform": platform_to_json(_exported(result))})
    metadata[_PLATFORMS] = go_json({"Platforms": platforms}).encode()
    return Result(refs, single=not multi_platform, metadata=metadata, attestations=attestations)


def _exported(result: PlatformResult) -> Platform:
    """The platform asked for; Windows takes version and features from the base image when they were not given."""
    platform, image = normalize(result.platform or host_platform()), result.image_platform
    if platform.os != "windows" or image.os != platform.os:
        return platform
    return replace(
        platform,
        os_version=platform.os_version or image.os_version,
        os_features=platform.os_features or image.os_features,
    )
