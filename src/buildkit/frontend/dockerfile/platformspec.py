"""Platforms as they are written in Dockerfiles: a variant that was given is kept where it shows in digests."""

from __future__ import annotations

import re

from buildkit.core.goquote import quote
from buildkit.core.platform import KNOWN_ARCHITECTURES, KNOWN_OS, Platform, host_platform, normalize
from buildkit.core.values import replace
from buildkit.frontend.dockerfile.gotext import lower
from buildkit.frontend.dockerfile.location import DockerfileError

_WORD = r"^[A-Za-z0-9_.-]+$"
_OS = r"^([A-Za-z0-9_-]+)(?:\(([A-Za-z0-9_.%-]*)((?:\+[A-Za-z0-9_.%-]+)*)\))?$"
_ESCAPES = str.maketrans({"%": "%25", "+": "%2B", "(": "%28", ")": "%29", "/": "%2F"})


def parse_platform(text: str) -> Platform:
    """``os[(version[+feature…])][/arch[/variant]]``, or an architecture alone; raises `DockerfileError`."""
    if "*" in text:
        raise _invalid(f"{quote(text)}: wildcards not yet supported")
    parts = text.split("/", 3)
    match = re.match(_OS[:-1] + r"\Z", parts[0])
    if match is None:
        raise _invalid(
            f"{quote(parts[0])} is an invalid OS component of {quote(text)}: "
            f"OSAndVersion specifier component must match {quote(_OS)}"
        )
    for part in parts[1:]:
        if not re.match(_WORD[:-1] + r"\Z", part):
            raise _invalid(
                f"{quote(part)} is an invalid component of {quote(text)}: "
                f"platform specifier component must match {quote(_WORD)}"
            )
    os = _known_alias(match[1])
    features = tuple(_unescape(feature) for feature in (match[3] or "").split("+") if feature)
    platform = Platform(os, "", "", _unescape(match[2] or ""), features)
    if len(parts) == 1:
        return _parse_lone(text, platform)
    if len(parts) > 3:
        raise _invalid(f"{quote(text)}: cannot parse platform specifier")
    return _with_architecture(platform, *parts[1:])


def _parse_lone(text: str, platform: Platform) -> Platform:
    host = host_platform()
    if platform.os in KNOWN_OS:
        variant = "" if host.variant == "v7" else host.variant
        return replace(platform, architecture=host.architecture, variant=variant)
    found = _with_architecture(replace(platform, os=host.os), text)
    if found.architecture not in KNOWN_ARCHITECTURES:
        raise _invalid(f"{quote(text)}: unknown operating system or architecture")
    return found


def _with_architecture(platform: Platform, architecture: str, variant: str | None = None) -> Platform:
    name, found = _normalized(lower(architecture), lower(variant or ""))
    if variant is None:
        found = "" if (name, found) == ("arm", "v7") else found
    elif (name, found) == ("arm64", ""):
        found = "v8"
    return replace(platform, architecture=name, variant=found)


def _normalized(name: str, variant: str) -> tuple[str, str]:
    if name == "i386":
        return "386", ""
    if name in ("x86_64", "x86-64", "amd64"):
        return "amd64", "" if variant == "v1" else variant
    if name in ("aarch64", "arm64"):
        return "arm64", {"8": "", "v8": "", "v8.0": "", "9": "v9", "9.0": "v9", "v9.0": "v9"}.get(variant, variant)
    if name in ("armhf", "armel"):
        return "arm", "v7" if name == "armhf" else "v6"
    if name == "arm":
        return "arm", {"": "v7", "7": "v7", "5": "v5", "6": "v6", "8": "v8"}.get(variant, variant)
    return name, variant


def _known_alias(os: str) -> str:
    os = lower(os)
    return "darwin" if os == "macos" else os


def _unescape(text: str) -> str:
    from urllib.parse import unquote

    return unquote(text, errors="surrogateescape") if "%" in text else text


def _invalid(message: str) -> DockerfileError:
    return DockerfileError(message + ": invalid argument")


def format_platform(platform: Platform) -> str:
    """``os/arch[/variant]``."""
    if not platform.os:
        return "unknown"
    return "/".join(p for p in (platform.os, platform.architecture, platform.variant) if p)


def format_full(platform: Platform) -> str:
    """``os[(version+features)]/arch[/variant]``."""
    if not platform.os:
        return "unknown"
    version = platform.os_version.translate(_ESCAPES)
    features = "+".join(f.translate(_ESCAPES) for f in sorted(set(platform.os_features)) if f)
    os = platform.os
    if version or features:
        os += f"({version}{'+' if features else ''}{features})"
    return "/".join(p for p in (os, platform.architecture, platform.variant) if p)


def platform_id(platform: Platform | None) -> str:
    """The id under which a result is filed; None is this host's platform."""
    return format_full(normalize(platform or host_platform()))
