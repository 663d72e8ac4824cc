"""Platforms as results name them."""

from __future__ import annotations

from buildkit.core.platform import Platform, host_platform, normalize
from buildkit.frontend.dockerfile.platformspec import format_full


def platform_id(platform: Platform | None) -> str:
    """The id under which a result is filed; None is this host's platform."""
    return format_full(normalize(platform or host_platform()))


def to_json(platform: Platform) -> dict[str, object]:
    """The OCI object, in Go's order of fields."""
    out: dict[str, object] = {"architecture": platform.architecture, "os": platform.os}
    if platform.os_version:
        out["os.version"] = platform.os_version
    if platform.os_features:
        out["os.features"] = list(platform.os_features)
    if platform.variant:
        out["variant"] = platform.variant
    return out
