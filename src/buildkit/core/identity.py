"""Random names: 25 characters of base 36, the form that BuildKit gives refs, sessions and containers."""

from __future__ import annotations

import os

_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"
_LENGTH = 25


def new_id() -> str:
    """128 random bits and a bit more, as 25 lower-case base-36 characters."""
    number = int.from_bytes(os.urandom(17)) >> 7
    digits: list[str] = []
    for _ in range(_LENGTH):
        number, rest = divmod(number, 36)
        digits.append(_ALPHABET[rest])
    return "".join(reversed(digits))
