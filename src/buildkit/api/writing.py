"""The bytes of messages, as Go writes them: fields by number, maps sorted by key."""

from __future__ import annotations

from operator import itemgetter
from typing import Any

from buildkit.core.wire import field as field_of
from buildkit.core.wire import varint


def encode(message: Any) -> bytes:
    """Serialize; raises `UnicodeEncodeError` for text that is no Unicode."""
    parts: list[bytes] = []
    for field, value in sorted(message.present(), key=lambda one: one[0].number):
        if field.is_map:
            for key, one in sorted(((key.encode(), one) for key, one in value.items()), key=itemgetter(0)):
                parts.append(field_of(field.number, field_of(1, key) + _single(field, 2, one)))
        elif not field.repeated:
            parts.append(_single(field, field.number, value))
        elif field.is_message or field.kind in ("text", "bytes"):
            parts += [_single(field, field.number, one) for one in value]
        else:
            parts.append(field_of(field.number, b"".join(varint(one) for one in value)))
    parts.append(message.unknown)
    return b"".join(parts)


def _single(field: Any, number: int, value: Any) -> bytes:
    if field.is_message:
        return field_of(number, encode(value))
    if field.kind == "text":
        return field_of(number, value.encode())
    if field.kind == "bytes":
        return field_of(number, value)
    return varint(number << 3) + varint(value)
