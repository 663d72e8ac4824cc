"""Comma-separated fields, quoted as Go's ``encoding/csv`` reads them: the form of many command-line values."""

from __future__ import annotations

from buildkit.core.errors import InvalidInput


def split_fields(text: str, what: str) -> list[str]:
    """Split one line; ``"a ""b"", c"`` is one field. Raises `InvalidInput` beginning with ``what``."""
    try:
        return parse_fields(text) if text else [""]
    except ValueError as error:
        raise InvalidInput(f"{what}: {error}") from None


def parse_fields(line: str) -> list[str]:
    """Split a line into fields; a field may be quoted, with ``""`` for a quote. Raises `ValueError` with Go's text."""
    if line.endswith("\r\n"):
        line = line[:-2]
    elif line.endswith("\n"):
        line = line[:-1]
    if not line:
        raise ValueError("EOF")
    fields: list[str] = []
    position = 0
    while True:
        if line[position : position + 1] == '"':
            field, position = _quoted_field(line, position + 1)
        else:
            end = line.find(",", position)
            end = len(line) if end < 0 else end
            field = line[position:end]
            if (mark := field.find('"')) >= 0:
                raise _error(line, position + mark, 'bare " in non-quoted field')
            position = end
        fields.append(field)
        if position >= len(line):
            return fields
        position += 1


def _quoted_field(line: str, position: int) -> tuple[str, int]:
    pieces: list[str] = []
    while True:
        end = line.find('"', position)
        if end < 0:
            raise _error(line, position, 'extraneous or missing " in quoted-field')
        pieces.append(line[position:end])
        position = end + 1
        following = line[position : position + 1]
        if following == '"':
            pieces.append('"')
            position += 1
        elif following in (",", ""):
            return "".join(pieces), position
        else:
            raise _error(line, position - 1, 'extraneous or missing " in quoted-field')


def _error(line: str, position: int, reason: str) -> ValueError:
    column = len(line[:position].encode("utf-8", "surrogateescape")) + 1
    return ValueError(f"parse error on line 1, column {column}: {reason}")
