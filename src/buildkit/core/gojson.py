"""JSON as Go's ``encoding/json`` writes it: what is hashed or compared must be equal to the byte."""

from __future__ import annotations

import json
from binascii import b2a_base64

from buildkit.core.pattern import Pattern

_HTML = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"})
_NOT_UTF8 = Pattern("[\ud800-\udfff]")


def go_json(value: object) -> str:
    """Compact, in the order of the dicts; ``<``, ``>``, ``&`` escaped for HTML; what is not UTF-8 is U+FFFD."""
    return _finish(json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_encode))


def go_json_indented(value: object) -> str:
    """The same over several lines, two spaces a level."""
    return _finish(json.dumps(value, ensure_ascii=False, indent=2, default=_encode))


def _finish(text: str) -> str:
    text = text.translate(_HTML)
    return text if text.isascii() else _NOT_UTF8.compiled.sub(r"\\ufffd", text)


def _encode(value: object) -> str:
    """Bytes are text in base64."""
    if isinstance(value, bytes):
        return b2a_base64(value, newline=False).decode()
    raise TypeError(f"{type(value).__name__} has no JSON form")
