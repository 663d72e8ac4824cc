"""Colours of the live display: defaults, ``BUILDKIT_COLORS`` and ``NO_COLOR``."""

from __future__ import annotations

import csv
from collections.abc import Mapping

from buildkit.core.values import dataclass, fields, replace

FAINT = "\x1b[2m"
RESET = "\x1b[0m"

_NAMES = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")
_CODES = {
    "default": "\x1b[39m",
    **{name: f"\x1b[{30 + index}m" for index, name in enumerate(_NAMES)},
    **{f"light-{name}": f"\x1b[{90 + index}m" for index, name in enumerate(_NAMES)},
}


@dataclass(frozen=True, slots=True)
class Colors:
    """The escape sequence of each kind of line; ``""`` is no colour."""

    run: str = _CODES["blue"]
    cancel: str = _CODES["yellow"]
    warning: str = _CODES["yellow"]
    error: str = _CODES["red"]


def read_colors(environment: Mapping[str, str]) -> tuple[Colors, list[str]]:
    """The colours to use, and a sentence for each part of ``BUILDKIT_COLORS`` that makes no sense."""
    if environment.get("NO_COLOR"):
        return Colors("", "", "", ""), []
    colors, complaints = Colors(), []
    known = {field.name for field in fields(Colors)}
    for part in filter(None, environment.get("BUILDKIT_COLORS", "").split(":")):
        key, equals, value = part.partition("=")
        key = key.strip().lower()
        if not equals or "=" in value:
            complaints.append(f"BUILDKIT_COLORS: {part!r} is not of the form key=color")
        elif key not in known:
            complaints.append(f"BUILDKIT_COLORS: unknown key {key!r}; expected run, cancel, error or warning")
        elif (code := _code_of(value)) is None:
            complaints.append(f"BUILDKIT_COLORS: unknown color {value!r}; expected a name or red,green,blue (0-255)")
        else:
            colors = replace(colors, **{key: code})
    return colors, complaints


def _code_of(value: str) -> str | None:
    if code := _CODES.get(value.lower()):
        return code
    parts = next(csv.reader([value]))
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() and int(part) <= 255 for part in parts):
        return None
    red, green, blue = (int(part) // 43 for part in parts)
    return f"\x1b[38;5;{16 + 36 * red + 6 * green + blue}m"
