"""Quoting as Go's ``%q`` does it, for messages that people and programs know."""

from __future__ import annotations

from buildkit.core.pattern import Pattern

_PLAIN = Pattern(r"[ !#-\[\]-~]*")
_NAMED = {7: r"\a", 8: r"\b", 9: r"\t", 10: r"\n", 11: r"\v", 12: r"\f", 13: r"\r", 34: r"\"", 92: r"\\"}


def quote(text: str) -> str:
    """``strconv.Quote``: in double quotes; what cannot be printed as an escape, lone surrogates as their bytes."""
    if _PLAIN.fullmatch(text):
        return f'"{text}"'
    return '"' + "".join(map(_escape, text)) + '"'


def _escape(character: str) -> str:
    code = ord(character)
    if escape := _NAMED.get(code):
        return escape
    if character.isprintable():
        return character
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x20 or code == 0x7F:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
