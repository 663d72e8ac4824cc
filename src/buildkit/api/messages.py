"""Messages of protobuf, for those that every build reads: google's runtime takes a tenth of a cached build to import.

The classes behave as google's do as far as this project uses them; `tests/api/test_messages.py` compares the two.
Scalars are varints, text and bytes. Unknown fields are kept. docs/adr/0011-start-up.md says why this exists.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from buildkit.api.reading import DecodeError, decode
from buildkit.api.writing import encode

_NUMBERS = ("int32", "int64", "uint32", "uint64", "enum")
SCALARS: Mapping[str, Any] = {"text": "", "bytes": b"", "bool": False, **dict.fromkeys(_NUMBERS, 0)}
"""Kinds of fields that are no messages, and what they are when nobody set them."""

_RANGES = {
    "int32": range(-(1 << 31), 1 << 31),
    "enum": range(-(1 << 31), 1 << 31),
    "int64": range(-(1 << 63), 1 << 63),
    "uint32": range(1 << 32),
    "uint64": range(1 << 64),
}


class Field:
    """One field of a message: ``kind`` is of `SCALARS` or the name of a message, that of its values for a map."""

    __slots__ = ("default", "is_map", "is_message", "kind", "name", "number", "oneof", "package", "repeated")

    def __init__(self, package: Package, text: str) -> None:
        """``text`` is ``name:number:kind/oneof``; ``*`` before the kind repeats it, ``@`` maps text to it."""
        self.name, number, kind = text.split(":")
        kind, _, self.oneof = kind.partition("/")
        self.package = package
        self.number = int(number)
        self.is_map = kind[0] == "@"
        self.repeated = kind[0] in "*@"
        self.kind = kind.lstrip("*@")
        self.is_message = self.kind not in SCALARS
        self.default = SCALARS.get(self.kind)

    @property
    def message(self) -> type[Message]:
        """The class of a message field's values."""
        return self.package.message(self.kind)


class Package:
    """Message classes by name, each made when it is first asked for."""

    def __init__(self, messages: Mapping[str, str]) -> None:
        """``messages``: the fields of each, as `Field` takes them, in the order of their declaration."""
        self._texts = messages
        self._made: dict[str, type[Message]] = {}

    def message(self, name: str) -> type[Message]:
        """The class of that name; raises `KeyError`."""
        made = self._made.get(name)
        if made is None:
            fields = [Field(self, text) for text in self._texts[name].split()]
            parts = {
                "__slots__": (),
                "fields": {field.name: field for field in fields},
                "numbers": {field.number: field for field in fields},
            }
            made = self._made[name] = type(name, (Message,), parts)
        return made


class EnumType:
    """The names of an enumeration's numbers."""

    def __init__(self, names: Mapping[str, int]) -> None:
        self._numbers = dict(names)
        self._names = {number: name for name, number in names.items()}

    def Name(self, number: int) -> str:
        """A number's name; raises `ValueError`."""
        if number not in self._names:
            raise ValueError(f"no name for value {number}")
        return self._names[number]

    def Value(self, name: str) -> int:
        """A name's number; raises `ValueError`."""
        if name not in self._numbers:
            raise ValueError(f"no value for name {name}")
        return self._numbers[name]


class Message:
    """A message. A part that was only read is not set; it is as soon as something is set in it."""

    __slots__ = ("_late", "_unknown", "_values")

    fields: ClassVar[dict[str, Field]] = {}
    """By name, in the order of their declaration."""
    numbers: ClassVar[dict[int, Field]] = {}
    _values: dict[str, Any]
    _unknown: bytes
    _late: tuple[Message, Field] | None

    def __init__(self, **values: Any) -> None:
        _set_values(self, {})
        _set_unknown(self, b"")
        _set_late(self, None)
        for name, value in values.items():
            self._fill(name, value)

    def _fill(self, name: str, value: Any) -> None:
        field = self._field(name)
        if value is None:
            return
        if field.is_map:
            getattr(self, name).update(value)
        elif field.repeated:
            getattr(self, name).extend(value)
        elif field.is_message:
            getattr(self, name).CopyFrom(value)
        else:
            setattr(self, name, value)

    def _field(self, name: str) -> Field:
        field = self.fields.get(name)
        if field is None:
            raise AttributeError(f"{type(self).__name__} has no field {name}")
        return field

    def __getattr__(self, name: str) -> Any:
        value = self._values.get(name)
        if value is not None:
            return value
        field = self._field(name)
        if field.is_map:
            value = Entries(self, field)
        elif field.repeated:
            value = Items(self, field)
        elif field.is_message:
            value = field.message()
            _set_late(value, (self, field))
        else:
            return field.default
        self._values[name] = value
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        field = self._field(name)
        if field.repeated or field.is_message:
            raise AttributeError(f"assignment not allowed to {type(self).__name__}.{name}")
        value = checked(field, value)
        self.SetInParent()
        if field.oneof:
            self._choose(field)
        if value or field.oneof:
            self._values[name] = value
        else:
            self._values.pop(name, None)

    def _choose(self, field: Field) -> None:
        """Forget the other fields of a oneof."""
        for other in self.fields.values():
            if other.oneof == field.oneof and other is not field:
                self._values.pop(other.name, None)

    def SetInParent(self) -> None:
        """Be there, even if nothing is set."""
        if self._late is not None:
            parent, field = self._late
            _set_late(self, None)
            parent.SetInParent()
            if field.oneof:
                parent._choose(field)
            parent._values[field.name] = self

    def present(self) -> Iterator[tuple[Field, Any]]:
        """What is set, in the order of declaration."""
        for field in self.fields.values():
            value = self._values.get(field.name)
            if value is not None and not (len(value) == 0 if field.repeated else field.is_message and value._late):
                yield field, value

    def HasField(self, name: str) -> bool:
        """Whether a message, or a part of a oneof, is set."""
        field = self._field(name)
        if field.repeated or not (field.is_message or field.oneof):
            raise ValueError(f"{type(self).__name__}.{name} has no presence")
        value = self._values.get(name)
        return value is not None and not (field.is_message and value._late)

    def WhichOneof(self, name: str) -> str | None:
        """Which part of a oneof is set."""
        return next((field.name for field, _ in self.present() if field.oneof == name), None)

    def ClearField(self, name: str) -> None:
        """Set it to what it was at first; a oneof's name clears the oneof."""
        self.SetInParent()
        names = [name] if name in self.fields else [one.name for one in self.fields.values() if one.oneof == name]
        if not names:
            raise ValueError(f"{type(self).__name__} has no field {name}")
        for one in names:
            self._values.pop(one, None)

    def CopyFrom(self, other: Message) -> None:
        """Become equal to ``other``."""
        if type(other) is not type(self):
            raise TypeError(f"a {type(self).__name__} cannot be a copy of {type(other).__name__}")
        if other is self:
            return
        content = encode(other)
        self._values.clear()
        _set_unknown(self, b"")
        self.SetInParent()
        decode(self, content)

    @classmethod
    def FromString(cls, content: bytes) -> Any:
        """Parse; raises `DecodeError`."""
        message = cls()
        decode(message, content)
        return message

    def SerializeToString(self, *, deterministic: bool = True) -> bytes:
        """Fields by number, maps sorted by key, unknown fields last: always the same for equal messages."""
        return encode(self)

    def take(self, field: Field, value: Any) -> None:
        """Set a field that was read."""
        if field.oneof:
            self._choose(field)
        if value or field.oneof:
            self._values[field.name] = value
        else:
            self._values.pop(field.name, None)

    def keep_unknown(self, content: bytes) -> None:
        """Keep the bytes of a field that nobody knows."""
        _set_unknown(self, self._unknown + content)

    @property
    def unknown(self) -> bytes:
        """Fields that nobody knows, as they came."""
        return self._unknown

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and encode(self) == encode(other)  # type: ignore[arg-type]

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        shown = ", ".join(f"{field.name}={value!r}" for field, value in self.present())
        return f"{type(self).__name__}({shown})"


_set_values = Message.__dict__["_values"].__set__
_set_unknown = Message.__dict__["_unknown"].__set__
_set_late = Message.__dict__["_late"].__set__


def checked(field: Field, value: Any) -> Any:
    """A scalar in the form that it is kept in; raises `TypeError` and `ValueError`."""
    kind = field.kind
    if kind == "text":
        if isinstance(value, bytes):
            value = value.decode()
        elif not isinstance(value, str):
            raise TypeError(f"{field.name} is text, not {value!r}")
    elif kind == "bytes":
        if not isinstance(value, bytes):
            raise TypeError(f"{field.name} is bytes, not {value!r}")
    elif not isinstance(value, int):
        raise TypeError(f"{field.name} is a number, not {value!r}")
    elif kind == "bool":
        value = bool(value)
    elif value not in _RANGES[kind]:
        raise ValueError(f"{field.name}: value out of range: {value}")
    return value


class Items(list[Any]):
    """The values of a repeated field."""

    __slots__ = ("_field", "_owner")

    def __init__(self, owner: Message, field: Field) -> None:
        super().__init__()
        self._owner = owner
        self._field = field

    def _own(self, value: Any) -> Any:
        if not self._field.is_message:
            return checked(self._field, value)
        copy = self._field.message()
        copy.CopyFrom(value)
        return copy

    def append(self, value: Any) -> None:
        """Add a value; messages are copied."""
        self._owner.SetInParent()
        list.append(self, self._own(value))

    def extend(self, values: Any) -> None:
        """Add values; messages are copied."""
        self._owner.SetInParent()
        list.extend(self, [self._own(value) for value in values])

    def add(self, **values: Any) -> Any:
        """Add a message with these fields, and give it."""
        self._owner.SetInParent()
        made = self._field.message(**values)
        list.append(self, made)
        return made


class Entries(dict[str, Any]):
    """The entries of a map; reading a message that is not there makes it, as google's do."""

    __slots__ = ("_field", "_owner")

    def __init__(self, owner: Message, field: Field) -> None:
        super().__init__()
        self._owner = owner
        self._field = field

    def __missing__(self, key: str) -> Any:
        self._owner.SetInParent()
        made = self[key] = self._field.message() if self._field.is_message else self._field.default
        return made

    def __setitem__(self, key: str, value: Any) -> None:
        self._owner.SetInParent()
        if not isinstance(key, str):
            raise TypeError(f"keys of {self._field.name} are text, not {key!r}")
        dict.__setitem__(self, key, value if self._field.is_message else checked(self._field, value))

    def update(self, *others: Any, **values: Any) -> None:
        """Set entries; messages are copied."""
        for key, value in dict(*others, **values).items():
            if self._field.is_message:
                self[key].CopyFrom(value)
            else:
                self[key] = value


__all__ = ["DecodeError", "EnumType", "Field", "Message", "Package"]
