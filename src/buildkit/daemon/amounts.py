"""Amounts as ``buildkitd.toml`` writes them: disk space and durations (specification rows B36, B37)."""

from __future__ import annotations

import re

from buildkit.core.errors import InvalidInput
from buildkit.core.values import dataclass
from buildkit.store.policy import share_of

_SPACE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgtp]?)i?b?", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


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
    sign = -1.0 if text.startswith("-") else 1.0
    parts = list(_DURATION.finditer(text.lstrip("+-")))
    if not parts or "".join(part[0] for part in parts) != text.lstrip("+-"):
        raise InvalidInput(f"invalid duration {value}")
    return sign * sum(float(part[1]) * _SECONDS[part[2]] for part in parts)
