"""Platforms as image references and results print them."""

from __future__ import annotations

from urllib.parse import quote

from buildkit.core.platform import Platform, host_platform, normalize


def format_all(platform: Platform) -> str:
    """``os[(version)]/arch[/variant]``."""
    os = f"{platform.os}({quote(platform.os_version, safe='+$,:;@&=')})" if platform.os_version else platform.os
    return "/".join(part for part in (os, platform.architecture, platform.variant) if part)


def platform_id(platform: Platform | None) -> str:
    """The id under which a result is filed; None is this host's platform."""
    return format_all(normalize(platform or host_platform()))


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
