"""Rules of the Go language for text that show in results: white space, case, quoting, numbers and durations."""

from __future__ import annotations

import re

from buildkit.core.gobool import FALSE, TRUE
from buildkit.core.goquote import quote

WHITESPACE = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
"""What Go's ``unicode.IsSpace`` accepts; Python's ``str.isspace`` accepts four control characters more."""

_SPACES = frozenset(WHITESPACE)
_SURROGATES = re.compile("[\ud800-\udfff]")
_DIGITS = {8: frozenset("01234567"), 10: frozenset("0123456789")}
_UNITS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_DURATION_PART = re.compile(r"(?:([0-9]+)(?:\.([0-9]*))?|\.([0-9]+))([^.0-9]*)")


def is_space(character: str) -> bool:
    """Whether ``unicode.IsSpace`` holds."""
    return character in _SPACES


def trim_space(text: str) -> str:
    """``strings.TrimSpace``."""
    return text.strip(WHITESPACE)


def trim_left_space(text: str) -> str:
    """``strings.TrimLeftFunc`` with ``unicode.IsSpace``."""
    return text.lstrip(WHITESPACE)


def replace_invalid(text: str) -> str:
    """Each byte that is not UTF-8 (here a lone surrogate) becomes U+FFFD, as Go's decoding does."""
    return text if text.isascii() else _SURROGATES.sub("\ufffd", text)


def lower(text: str) -> str:
    """``strings.ToLower``: character by character, never growing the text."""
    if text.isascii():
        return text.lower()
    return "".join(_lower_character(c) for c in replace_invalid(text))


def upper(text: str) -> str:
    """``strings.ToUpper``: character by character, never growing the text."""
    if text.isascii():
        return text.upper()
    return "".join(u if len(u := c.upper()) == 1 else c for c in replace_invalid(text))


def _lower_character(character: str) -> str:
    if character == "\u0130":
        return "i"
    lowered = character.lower()
    return lowered if len(lowered) == 1 else character


def equal_fold(one: str, other: str) -> bool:
    """``strings.EqualFold`` for the letters that names are made of."""
    return one == other or lower(one) == lower(other) or upper(one) == upper(other)


def _quote_bytes(text: str) -> str:
    """The quoting of Go's ``time``: every byte of what is not ASCII, and control characters, in hexadecimal."""
    content = text.encode(errors="surrogateescape")
    shown = (f"\\x{b:02x}" if b < 0x20 or b > 0x7F else "\\" + chr(b) if chr(b) in '"\\' else chr(b) for b in content)
    return '"' + "".join(shown) + '"'


def quote_list(texts: tuple[str, ...] | list[str]) -> str:
    """``%q`` of a slice of strings."""
    return "[" + " ".join(map(quote, texts)) + "]"


def parse_bool(text: str) -> bool:
    """``strconv.ParseBool``; raises `ValueError` with Go's text."""
    if text in TRUE:
        return True
    if text in FALSE:
        return False
    raise ValueError(f"strconv.ParseBool: parsing {quote(text)}: invalid syntax")


def parse_int(text: str, bits: int = 64, *, base: int = 10) -> int:
    """``strconv.ParseInt`` with an explicit base; raises `ValueError` with Go's text."""
    digits = text[1:] if text[:1] in ("+", "-") else text
    value = _digits(digits, base, "ParseInt", text)
    if text[:1] == "-":
        value = -value
    if not -(1 << (bits - 1)) <= value < 1 << (bits - 1):
        raise ValueError(f"strconv.ParseInt: parsing {quote(text)}: value out of range")
    return value


def parse_uint(text: str, bits: int = 64, *, base: int = 10) -> int:
    """``strconv.ParseUint`` with an explicit base; raises `ValueError` with Go's text."""
    value = _digits(text, base, "ParseUint", text)
    if value >> bits:
        raise ValueError(f"strconv.ParseUint: parsing {quote(text)}: value out of range")
    return value


def _digits(digits: str, base: int, function: str, text: str) -> int:
    if not digits or not set(digits) <= _DIGITS[base]:
        raise ValueError(f"strconv.{function}: parsing {quote(text)}: invalid syntax")
    significant = digits.lstrip("0")
    return int(significant or "0", base) if len(significant) <= 64 else 1 << 256


def parse_duration(text: str) -> int:
    """``time.ParseDuration`` in nanoseconds; raises `ValueError` with Go's text."""
    shown = _quote_bytes(text)
    invalid = f"time: invalid duration {shown}"
    negative = text[:1] == "-"
    rest = text[1:] if text[:1] in ("+", "-") else text
    if rest == "0":
        return 0
    if not rest:
        raise ValueError(invalid)
    total = 0
    limit = 1 << 63
    position = 0
    while position < len(rest):
        match = _DURATION_PART.match(rest, position)
        if match is None:
            raise ValueError(invalid)
        position = match.end()
        whole, fraction, unit = match[1] or "0", match[2] or match[3] or "", match[4]
        if len(whole.lstrip("0")) > 19 or int(whole.lstrip("0") or "0") > limit:
            raise ValueError(invalid)
        if not unit:
            raise ValueError(f"time: missing unit in duration {shown}")
        scale = _UNITS.get(unit)
        if scale is None:
            raise ValueError(f"time: unknown unit {_quote_bytes(unit)} in duration {shown}")
        total += int(whole.lstrip("0") or "0") * scale
        if fraction:
            from fractions import Fraction

            total += int(Fraction(int(fraction[:18]), 10 ** len(fraction[:18])) * scale)
        if total > limit:
            raise ValueError(invalid)
    if negative:
        return -total
    if total > limit - 1:
        raise ValueError(invalid)
    return total
