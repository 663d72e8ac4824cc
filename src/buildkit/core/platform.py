"""Platforms: parse, normalise, print and match, as containerd's ``platforms`` package defines them."""

from __future__ import annotations

import os as system
import re

from buildkit.core.errors import InvalidInput
from buildkit.core.pattern import Pattern
from buildkit.core.values import dataclass, replace

_WORD = Pattern(r"[A-Za-z0-9_.-]+")
_OS = {"macos": "darwin"}
_ARCHITECTURES: dict[tuple[str, str], tuple[str, str]] = {
    ("i386", ""): ("386", ""),
    ("x86_64", ""): ("amd64", ""),
    ("x86-64", ""): ("amd64", ""),
    ("aarch64", ""): ("arm64", ""),
    ("armhf", ""): ("arm", "v7"),
    ("armel", ""): ("arm", "v6"),
}
KNOWN_OS = frozenset(
    "aix android darwin dragonfly freebsd hurd illumos ios js linux nacl netbsd openbsd plan9 solaris "
    "windows zos".split()
)
KNOWN_ARCHITECTURES = frozenset(
    "386 amd64 amd64p32 arm armbe arm64 arm64be ppc64 ppc64le loong64 mips mipsle mips64 mips64le mips64p32 "
    "mips64p32le ppc riscv riscv64 s390 s390x sparc sparc64 wasm".split()
)
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""``PATH`` of a container where the image has none (not on Windows)."""


@dataclass(frozen=True, slots=True)
class Platform:
    """An operating system and a processor. Field order is that of OCI's ``platform`` object."""

    os: str
    architecture: str
    variant: str = ""
    os_version: str = ""
    os_features: tuple[str, ...] = ()

    def __str__(self) -> str:
        return format_platform(self)


def normalize(platform: Platform) -> Platform:
    """Replace aliases (``x86_64``, ``aarch64``) and drop variants that are the default (``arm64/v8``)."""
    os = _OS.get(platform.os.lower(), platform.os.lower())
    architecture, variant = platform.architecture.lower(), platform.variant.lower()
    if alias := _ARCHITECTURES.get((architecture, "")):
        architecture, variant_of_alias = alias
        variant = variant_of_alias if architecture in ("386", "arm") else variant
    if architecture == "amd64" and variant == "v1":
        variant = ""
    elif architecture == "arm64" and variant in ("8", "v8", "v8.0"):
        variant = ""
    elif architecture == "arm64" and variant in ("9", "9.0", "v9.0"):
        variant = "v9"
    elif architecture == "arm":
        variant = {"": "v7", "5": "v5", "6": "v6", "7": "v7", "8": "v8"}.get(variant, variant)
    return replace(platform, os=os, architecture=architecture, variant=variant)


def _invalid(what: str) -> InvalidInput:
    return InvalidInput(f"{what}: invalid argument")


def parse_platform(text: str) -> Platform:
    """Parse ``os[(version)][/arch[/variant]]`` or a lone arch or os; raises `InvalidInput`."""
    if "*" in text:
        raise _invalid(f'"{text}": wildcards not yet supported')
    parts = text.split("/")
    os_version = ""
    if match := re.fullmatch(r"([A-Za-z0-9_-]+)(?:\(([A-Za-z0-9_.%-]*)\))?", parts[0]):
        parts[0], os_version = match[1], match[2] or ""
    for part in parts:
        if not _WORD.fullmatch(part):
            raise _invalid(
                f'"{part}" is an invalid component of "{text}": '
                f'platform specifier component must match "[A-Za-z0-9_.-]+"'
            )
    this = host_platform()
    if len(parts) == 1:
        word = _OS.get(parts[0].lower(), parts[0].lower())
        if word in KNOWN_OS:
            return normalize(Platform(word, this.architecture, this.variant, os_version))
        found = normalize(Platform(this.os, parts[0], "", os_version))
        if found.architecture in KNOWN_ARCHITECTURES:
            return found
        raise _invalid(f'"{text}": unknown operating system or architecture')
    if len(parts) > 3:
        raise _invalid(f'"{text}": cannot parse platform specifier')
    variant = parts[2] if len(parts) == 3 else ""
    return normalize(Platform(parts[0], parts[1], variant, os_version))


def format_platform(platform: Platform) -> str:
    """``os/arch[/variant]``, without the OS version."""
    return "/".join(p for p in (platform.os, platform.architecture, platform.variant) if p)


def host_platform() -> Platform:
    """The platform that this process runs on."""
    here = system.uname()
    return normalize(Platform(here.sysname.lower(), here.machine))


def accepted_by(platform: Platform) -> tuple[Platform, ...]:
    """What may run where ``platform`` is asked for, best first (``platforms.Only``)."""
    wanted = normalize(platform)
    os, architecture, variant = wanted.os, wanted.architecture, wanted.variant
    out = [wanted]
    if architecture == "amd64" and variant[1:].isdigit():
        out += [Platform(os, "amd64", f"v{v}" if v > 1 else "") for v in range(int(variant[1:]) - 1, 0, -1)]
    if architecture == "amd64":
        out.append(Platform(os, "386"))
    if architecture == "arm" and variant[1:].isdigit():
        out += [Platform(os, "arm", f"v{v}") for v in range(int(variant[1:]) - 1, 4, -1)]
    if architecture == "arm64":
        out += [Platform(os, "arm", f"v{v}") for v in (8, 7, 6, 5)]
    return tuple(out)


def rank(platform: Platform, wanted: Platform) -> int | None:
    """How well ``platform`` serves where ``wanted`` is asked for: 0 is best, None is not at all."""
    candidate = replace(normalize(platform), os_version="", os_features=())
    for index, accepted in enumerate(accepted_by(replace(wanted, os_version="", os_features=()))):
        if accepted == candidate:
            return index
    return None
