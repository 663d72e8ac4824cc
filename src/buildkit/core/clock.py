"""The calendar without its module, which takes longer to import than a cached build takes to find its base image."""

from __future__ import annotations

_EPOCH = 719468
"""Days from 1 March of the year 0 to 1970."""


def seconds_at(year: int, month: int, day: int, hour: int = 0, minute: int = 0, second: int = 0) -> int:
    """Seconds since 1970 of a moment in UTC, by the Gregorian calendar; a day past its month's end is in the next."""
    year -= month <= 2
    of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    days = 365 * year + year // 4 - year // 100 + year // 400 + of_year - _EPOCH
    return ((days * 24 + hour) * 60 + minute) * 60 + second
