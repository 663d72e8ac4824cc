"""Protobuf messages as the JSON that Go's ``encoding/json`` makes of its structs, which is what users script against.

Names as in the ``.proto`` file, empty fields left out, enums as numbers, bytes in base64, maps sorted.
"""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from google.protobuf.message import Message

_RENAMED = {"pb.UserOpt.byID": "byId"}
_KEPT = {("pb.FileAction", "input"), ("pb.FileAction", "secondaryInput"), ("pb.FileAction", "output")}


class EnumValue(int):
    """A number in JSON, a name when printed alone."""

    name: str

    def __new__(cls, number: int, name: str) -> EnumValue:
        """``name`` may be empty when the number has none."""
        made = super().__new__(cls, number)
        made.name = name
        return made

    def __str__(self) -> str:
        return self.name or int.__repr__(self)


def to_go(message: Message) -> dict[str, Any]:
    """The JSON object, ready to be encoded."""
    out: dict[str, Any] = {}
    kind = message.DESCRIPTOR
    for field in kind.fields:
        oneof = field.containing_oneof
        if oneof is not None and len(oneof.fields) > 1:
            group = out.setdefault(oneof.name[:1].upper() + oneof.name[1:], {})
            value = getattr(message, field.name)
            if message.WhichOneof(oneof.name) == field.name and (value or field.message_type is not None):
                group[_RENAMED.get(field.full_name, field.name)] = _value(field, value)
            continue
        value = getattr(message, field.name)
        present = message.HasField(field.name) if field.has_presence else bool(value)
        if present or (kind.full_name, field.name) in _KEPT:
            out[field.name] = _field(field, value)
    return out


def _field(field: Any, value: Any) -> Any:
    entry = field.message_type
    if entry is not None and entry.GetOptions().map_entry:
        of = entry.fields_by_name["value"]
        return {key: _value(of, value[name]) for key, name in sorted((_key(name), name) for name in value)}
    if field.is_repeated:
        return [_value(field, one) for one in value]
    return _value(field, value)


def _key(name: Any) -> str:
    return str(name).lower() if isinstance(name, bool) else str(name)


def _value(field: Any, value: Any) -> Any:
    if field.message_type is not None:
        return to_go(value)
    if field.enum_type is not None:
        named = field.enum_type.values_by_number.get(value)
        return EnumValue(value, named.name if named is not None else "")
    return b64encode(value).decode() if isinstance(value, bytes) else value
