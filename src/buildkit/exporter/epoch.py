"""``SOURCE_DATE_EPOCH``: the time that a result is to carry, and where it comes from."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping

from buildkit.core.errors import InvalidInput
from buildkit.core.values import dataclass

METADATA_KEY = "source.date.epoch"
"""Where a frontend leaves the epoch that the user gave it; a platform's own under ``<key>/<platform>``."""

_SECOND = 1_000_000_000
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")


def parse_seconds(text: str) -> int:
    """A whole number as Go reads it; raises ValueError."""
    if not _INTEGER.fullmatch(text):
        raise ValueError(text)
    return int(text)


@dataclass(frozen=True, slots=True)
class Epoch:
    """Seconds since 1970, or None where the user said explicitly that there is no epoch."""

    seconds: int | None

    @classmethod
    def parse(cls, text: str, what: str) -> Epoch:
        """``""`` is explicitly none; raises `InvalidInput`."""
        if not text:
            return cls(None)
        try:
            return cls(parse_seconds(text))
        except ValueError:
            raise InvalidInput(f'invalid {what}: strconv.ParseInt: parsing "{text}": invalid syntax') from None

    @property
    def nanoseconds(self) -> int | None:
        """The same in nanoseconds."""
        return None if self.seconds is None else self.seconds * _SECOND


def epoch_of_result(metadata: Mapping[str, bytes], platform_id: str = "") -> Epoch | None:
    """What the frontend was told, for one platform or for all; None where it was told nothing."""
    for key in (f"{METADATA_KEY}/{platform_id}", METADATA_KEY):
        if key in metadata:
            text = metadata[key].decode(errors="replace")
            try:
                return Epoch.parse(text, "")
            except InvalidInput as error:
                raise error.prefixed(f'invalid SOURCE_DATE_EPOCH from frontend: "{text}": ') from None
    return None


def choose_epoch(own: Epoch | None, metadata: Mapping[str, bytes], platform_id: str) -> Epoch | None:
    """The exporter's attribute, else the frontend's epoch for all, else for this platform."""
    return own or epoch_of_result(metadata) or epoch_of_result(metadata, platform_id)


def format_rfc3339(nanoseconds: int) -> str:
    """UTC with as many decimals as needed: ``2026-11-20T21:52:24.765124483Z``."""
    seconds, rest = divmod(nanoseconds, _SECOND)
    fraction = f".{rest:09d}".rstrip("0") if rest else ""
    year = time.gmtime(seconds).tm_year
    return f"{year:04d}{time.strftime('-%m-%dT%H:%M:%S', time.gmtime(seconds))}{fraction}Z"


_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:Z|([+-])(\d\d):(\d\d))", re.ASCII)


def parse_rfc3339(text: str) -> int:
    """Nanoseconds since 1970; raises ValueError. Decimals past the ninth are dropped."""
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a time of RFC 3339")
    import calendar

    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    if not (year and 1 <= month <= 12 and 1 <= day <= calendar.monthrange(year, month)[1]):
        raise ValueError(f"{text!r} is not a day of the calendar")
    if hour > 23 or minute > 59 or second > 59:
        raise ValueError(f"{text!r} is not a time of day")
    seconds = calendar.timegm((year, month, day, hour, minute, second))
    if match[8]:
        shift = int(match[9]) * 3600 + int(match[10]) * 60
        seconds -= shift if match[8] == "+" else -shift
    return seconds * _SECOND + int((match[7] or "")[:9].ljust(9, "0"))
