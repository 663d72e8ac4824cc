"""JSON as Go writes it: fields in the order given, ``<``, ``>`` and ``&`` escaped, bytes in base64."""

from __future__ import annotations

import base64
import json

from buildkit.frontend.dockerfile.gotext import replace_invalid

_ESCAPES = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"})


def dumps(value: object) -> bytes:
    """``json.Marshal``."""
    return _finish(json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_default))


def dumps_indented(value: object) -> bytes:
    """``json.MarshalIndent`` with two spaces."""
    return _finish(json.dumps(value, ensure_ascii=False, indent=2, default=_default))


def _finish(text: str) -> bytes:
    return replace_invalid(text.translate(_ESCAPES)).encode()


def _default(value: object) -> str:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise TypeError(f"{type(value).__name__} has no JSON form")
