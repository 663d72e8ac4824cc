"""Comma-separated fields, quoted as Go's ``encoding/csv`` reads them: the form of many command-line values."""

from __future__ import annotations

from buildkit.core.errors import InvalidInput


def split_fields(text: str, what: str) -> list[str]:
    """Split one line; ``"a ""b"", c"`` is one field. Raises `InvalidInput` beginning with ``what``."""
    fields: list[str] = []
    rest = text
    while True:
        if rest.startswith('"'):
            field, rest = _quoted(rest[1:], what)
        else:
            field, comma, tail = rest.partition(",")
            if '"' in field:
                raise InvalidInput(f'{what}: bare " in non-quoted field')
            rest = comma + tail
        fields.append(field)
        if not rest:
            return fields
        rest = rest[1:]


def _quoted(text: str, what: str) -> tuple[str, str]:
    out = ""
    while True:
        part, quote, text = text.partition('"')
        out += part
        if not quote:
            raise InvalidInput(f'{what}: extraneous or missing " in quoted-field')
        if text.startswith('"'):
            out, text = out + '"', text[1:]
        elif not text or text.startswith(","):
            return out, text
        else:
            raise InvalidInput(f'{what}: extraneous or missing " in quoted-field')
