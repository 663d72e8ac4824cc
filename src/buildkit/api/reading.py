"""Messages out of bytes that anybody may have written."""

from __future__ import annotations

from typing import Any

_DEEPEST = 100
_VARINT, _FIXED64, _DELIMITED, _GROUP, _GROUP_END, _FIXED32 = range(6)
_KEY, _VALUE, _NUMBER = 1 << 3 | _DELIMITED, 2 << 3 | _DELIMITED, 2 << 3 | _VARINT
"""Tags in the entries of maps."""
_LAST_NUMBER = (1 << 29) - 1


class DecodeError(Exception):
    """The bytes are no message of this kind."""


def decode(message: Any, content: bytes) -> None:
    """Merge what ``content`` says into ``message``; raises `DecodeError`."""
    _decode(message, content, 0, len(content), _DEEPEST)


def _decode(message: Any, content: bytes, at: int, end: int, depth: int) -> None:
    if not depth:
        raise DecodeError("Error parsing message: nested too deeply")
    numbers = message.numbers
    while at < end:
        start = at
        tag, at = _varint(content, at, end)
        wire = tag & 7
        field = numbers.get(tag >> 3)
        if field is not None and wire == _DELIMITED:
            length, at = _varint(content, at, end)
            stop = at + length
            if stop > end:
                raise DecodeError("Error parsing message: it ends early")
            if field.is_map:
                _take_entry(message, field, content, at, stop, depth)
            elif field.is_message:
                _take_message(message, field, content, at, stop, depth)
            elif field.kind == "text" or field.kind == "bytes":
                value = _text_of(field, content[at:stop])
                list.append(getattr(message, field.name), value) if field.repeated else message.take(field, value)
            elif field.repeated:
                values = getattr(message, field.name)
                while at < stop:
                    number, at = _varint(content, at, stop)
                    list.append(values, _number_of(field, number))
            else:
                message.keep_unknown(content[start:stop])
            at = stop
        elif field is not None and wire == _VARINT and not field.is_message and field.kind not in ("text", "bytes"):
            number, at = _varint(content, at, end)
            value = _number_of(field, number)
            if field.is_map:
                message.keep_unknown(content[start:at])
            elif field.repeated:
                list.append(getattr(message, field.name), value)
            else:
                message.take(field, value)
        else:
            at = _skip(content, tag, at, end, depth)
            message.keep_unknown(content[start:at])


def _take_message(message: Any, field: Any, content: bytes, at: int, stop: int, depth: int) -> None:
    if field.repeated:
        part = field.message()
        list.append(getattr(message, field.name), part)
    else:
        part = getattr(message, field.name)
        part.SetInParent()
    _decode(part, content, at, stop, depth - 1)


def _take_entry(message: Any, field: Any, content: bytes, at: int, stop: int, depth: int) -> None:
    key = ""
    value: Any = field.message() if field.is_message else field.default
    is_number = not field.is_message and field.kind not in ("text", "bytes")
    while at < stop:
        tag, at = _varint(content, at, stop)
        if tag == _KEY or (tag == _VALUE and not is_number):
            length, at = _varint(content, at, stop)
            until = at + length
            if until > stop:
                raise DecodeError("Error parsing message: it ends early")
            if tag >> 3 == 1:
                key = _utf8(content[at:until])
            elif field.is_message:
                _decode(value, content, at, until, depth - 1)
            else:
                value = _text_of(field, content[at:until])
            at = until
        elif tag == _NUMBER and is_number:
            number, at = _varint(content, at, stop)
            value = _number_of(field, number)
        else:
            at = _skip(content, tag, at, stop, depth)
    dict.__setitem__(getattr(message, field.name), key, value)


def _text_of(field: Any, content: bytes) -> str | bytes:
    return _utf8(content) if field.kind == "text" else content


def _utf8(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise DecodeError("Error parsing message: string field contains invalid UTF-8") from None


def _number_of(field: Any, number: int) -> int | bool:
    kind = field.kind
    if kind == "bool":
        return number != 0
    if kind == "uint64":
        return number
    if kind == "int64":
        return number - (1 << 64) if number >> 63 else number
    number &= 0xFFFFFFFF
    return number - (1 << 32) if number >> 31 and kind != "uint32" else number


def _varint(content: bytes, at: int, end: int) -> tuple[int, int]:
    """A number of 64 bits and what comes after it."""
    value = shift = 0
    while at < end:
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >> 64:
                break
            return value, at
        shift += 7
        if shift > 63:
            break
    raise DecodeError("Error parsing message: it ends early or holds a number that is too large")


def _skip(content: bytes, tag: int, at: int, end: int, depth: int) -> int:
    """The place after a field of no interest."""
    wire = tag & 7
    if not 0 < tag >> 3 <= _LAST_NUMBER or not depth:
        raise DecodeError("Error parsing message: it has a field without a number")
    if wire == _VARINT:
        return _varint(content, at, end)[1]
    if wire == _DELIMITED:
        length, at = _varint(content, at, end)
        at += length
    elif wire == _FIXED64:
        at += 8
    elif wire == _FIXED32:
        at += 4
    elif wire == _GROUP:
        while True:
            inner, at = _varint(content, at, end)
            if inner & 7 == _GROUP_END:
                if inner >> 3 != tag >> 3:
                    raise DecodeError("Error parsing message: a group ends that did not begin")
                return at
            at = _skip(content, inner, at, end, depth - 1)
    else:
        raise DecodeError("Error parsing message: it has a field of an unknown form")
    if at > end:
        raise DecodeError("Error parsing message: it ends early")
    return at
