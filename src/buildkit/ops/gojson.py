"""JSON as Go's ``encoding/json`` writes it: cache keys are digests of such text, so every byte counts.

Struct fields stand in the order of their declaration and are left out when zero or empty; maps are sorted; bytes are
base64; ``<``, ``>``, ``&`` and the two Unicode line ends are escaped.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any

from buildkit.api.messages import Message
from buildkit.core.digest import Digest, sha256

_ESCAPES = {ord("<"): "\\u003c", ord(">"): "\\u003e", ord("&"): "\\u0026", 0x2028: "\\u2028", 0x2029: "\\u2029"}
_ENCODE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def encode(value: Any) -> bytes:
    """Encode plain values, and messages among them; keys stand in the order given. Empty values are kept."""
    return _ENCODE(plain(value)).translate(_ESCAPES).encode()


def digest(value: Any) -> Digest:
    """The digest of `encode`."""
    return sha256(encode(value))


def plain(value: Any) -> Any:
    """Messages as dictionaries in the order of Go's structs, bytes as base64."""
    if isinstance(value, Message):
        return _struct(value)
    if isinstance(value, bytes):
        return b64encode(value).decode("ascii")
    if isinstance(value, Mapping):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(one) for one in value]
    return value


def _struct(message: Message) -> dict[str, Any]:
    if type(message).__name__ == "UserOpt":
        # the one message with a oneof that has a JSON form of its own and can occur in a key
        return {"User": {_USER_NAMES[field.name]: plain(value) for field, value in message.present() if value != 0}}
    made: dict[str, Any] = {}
    for field, value in message.present():
        if field.is_map:
            made[field.name] = {key: plain(value[key]) for key in sorted(value)}
        elif field.repeated:
            made[field.name] = [plain(one) for one in value]
        else:
            made[field.name] = plain(value)
    return made


_USER_NAMES = {"byName": "byName", "byID": "byId"}
