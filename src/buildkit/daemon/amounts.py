"""Amounts as ``buildkitd.toml`` writes them: disk space and durations (specification rows B36, B37)."""

from __future__ import annotations

import re

from buildkit.core.errors import InvalidInput
from buildkit.core.values import dataclass
from buildkit.frontend.dockerfile.gotext import parse_duration as nanoseconds
from buildkit.store.policy import share_of

_SPACE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgtp]?)i?b?", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}


@dataclass(frozen=True, slots=True)
class Space:
    """Bytes, or a share of the disk in percent."""

    bytes: int = 0
    percent: int = 0

    def __bool__(self) -> bool:
        return bool(self.bytes or self.percent)

    def of(self, disk: int) -> int:
        """Bytes on a disk of ``disk`` bytes; 0 for a share of a disk whose size nobody knows."""
        if self.bytes:
            return self.bytes
        return share_of(disk, self.percent) if self.percent and disk else 0


def parse_space(value: object) -> Space:
    """``512MB`` (units count by 1024), ``10%`` or a number of bytes; raises `InvalidInput`."""
    if isinstance(value, int) and not isinstance(value, bool):
        return Space(bytes=value)
    text = str(value).strip('"') if isinstance(value, str) else ""
    if not text and isinstance(value, str):
        return Space()
    if text.endswith("%") and text[:-1].isdigit():
        return Space(percent=int(text[:-1]))
    match = _SPACE.fullmatch(text)
    if match is None:
        raise InvalidInput(f"invalid disk space {value}")
    return Space(bytes=int(float(match[1]) * 1024 ** _POWERS[match[2].lower()]))


def parse_duration(value: object) -> float:
    """Seconds of ``48h``, ``1h30m``, or a number of seconds; raises `InvalidInput`."""
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    text = str(value).strip('"') if isinstance(value, str) else "?"
    if not text:
        return 0.0
    if text.isdigit():
        return float(text)
    try:
        return nanoseconds(text) / 1e9
    except ValueError:
        raise InvalidInput(f"invalid duration {value}") from None
