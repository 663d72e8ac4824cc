"""What clients show for each step: ``[linux/amd64 build 2/7] RUN make``."""

from __future__ import annotations

import math
from collections.abc import Mapping

from buildkit.core.platform import Platform, normalize
from buildkit.core.values import replace
from buildkit.frontend.dockerfile.gotext import trim_space, upper
from buildkit.frontend.dockerfile.location import DockerfileError
from buildkit.frontend.dockerfile.platformspec import format_full, parse_platform
from buildkit.frontend.dockerfile.shell import Lexer

_LOG2_OF_E = 1.442695040888963407
_LOG10_OF_2 = 0.301029995663981195
"""The width of a number is computed as Go computes logarithms, rounding included."""

COMMAND = "com.docker.dockerfile.v1.command"
"""The description key that holds an instruction's text."""


def internal(name: str) -> str:
    """The name of a step that no instruction asks for."""
    return f"[internal] {name}"


def with_upper_keyword(text: str) -> str:
    """The text with its first word in capitals."""
    keyword, space, rest = text.partition(" ")
    return upper(keyword) + space + rest


def expanded(lexer: Lexer, text: str, variables: Mapping[str, str]) -> str:
    """The text with variables replaced, or as it is when it cannot be read."""
    try:
        return lexer.expand(text, variables).text
    except DockerfileError:
        return text


def numbered(index: int, total: int) -> str:
    """``index/total``, the index as wide as the total."""
    fraction, exponent = math.frexp(total)
    log2 = exponent - 1 if fraction == 0.5 else exponent + math.log(fraction) * _LOG2_OF_E
    width = int(1 + log2 * _LOG10_OF_2)
    return f"{index:>{width}}/{total}"


def cross_suffix(platform: Platform, variables: Mapping[str, str]) -> str:
    """``->arm64`` when variables say that something else than ``platform`` is being made."""
    target = _target_of(variables)
    if target is None:
        return ""
    target = normalize(
        replace(target, os=target.os or platform.os, architecture=target.architecture or platform.architecture)
    )
    if target.os != platform.os:
        return "->" + format_full(target)
    if target.architecture != platform.architecture:
        return f"->{target.architecture}" + (f"/{target.variant}" if target.variant else "")
    return ""


def _target_of(variables: Mapping[str, str]) -> Platform | None:
    found: dict[str, str] = {}
    for key in variables:
        if key == "TARGETPLATFORM":
            try:
                return parse_platform(variables[key])
            except DockerfileError:
                continue
        if key in ("TARGETOS", "TARGETARCH", "TARGETVARIANT"):
            found[key] = variables[key]
    if not found:
        return None
    return Platform(found.get("TARGETOS", ""), found.get("TARGETARCH", ""), found.get("TARGETVARIANT", ""))


def heredoc_summary(content: str) -> str:
    """The first line, and dots when there are more."""
    first, *others = trim_space(content).replace("\r\n", "\n").split("\n")
    return first + ("..." if others else "")
