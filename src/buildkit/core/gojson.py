"""JSON as Go's ``encoding/json`` writes it: what is hashed or compared must be equal to the byte."""

from __future__ import annotations

import json
import re

_HTML = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"})
_NOT_UTF8 = re.compile("[\ud800-\udfff]")


def go_json(value: object) -> str:
    """Compact, in the order of the dicts; ``<``, ``>``, ``&`` escaped for HTML; what is not UTF-8 is U+FFFD."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":")).translate(_HTML)
    return text if text.isascii() else _NOT_UTF8.sub(r"\\ufffd", text)
