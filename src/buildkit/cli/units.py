"""Sizes for people: decimal units, two decimals, whole bytes below 1000."""

from __future__ import annotations

_UNITS = ("kB", "MB", "GB", "TB", "PB", "EB")


def format_bytes(count: int) -> str:
    """``26B``, ``54.88kB``, ``2.00MB``."""
    size = float(abs(count))
    if size < 1000:
        return f"{count}B"
    power = 0
    while size >= 1000 and power < len(_UNITS):
        size /= 1000
        power += 1
    return f"{'-' if count < 0 else ''}{size:.2f}{_UNITS[power - 1]}"
