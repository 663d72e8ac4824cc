"""Protobuf's wire format by hand.

Written: the runtime's own order of map keys is not the one others write. Read: the few messages on the way of every
build, because loading the runtime and its descriptors takes longer than a cached build.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from buildkit.core.errors import InvalidInput


def varint(value: int) -> bytes:
    """A number of 64 bits, negative ones as two's complement."""
    value &= 0xFFFFFFFFFFFFFFFF
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number: int, content: bytes) -> bytes:
    """A field of bytes or a message, present even when empty."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def data(number: int, content: bytes) -> bytes:
    """A field of bytes; an empty one is left out."""
    return field(number, content) if content else b""


def text(number: int, content: str) -> bytes:
    """A field of text; an empty one is left out."""
    return field(number, content.encode()) if content else b""


def number(number: int, value: int) -> bytes:
    """A field of a whole number; zero is left out."""
    return varint(number << 3) + varint(value) if value else b""


def fixed(number: int, value: int) -> bytes:
    """A field of a number that always takes eight bytes; zero is left out."""
    return varint(number << 3 | 1) + value.to_bytes(8, "little") if value else b""


def mapping(number: int, entries: Mapping[str, bytes]) -> bytes:
    """A map from text to bytes, text or messages, sorted by key."""
    encoded = sorted((key.encode(), value) for key, value in entries.items())
    return b"".join(field(number, field(1, key) + field(2, value)) for key, value in encoded)


def flags(number: int, entries: Mapping[str, bool]) -> bytes:
    """A map from text to yes or no, sorted by key."""
    encoded = sorted((key.encode(), value) for key, value in entries.items())
    return b"".join(field(number, field(1, key) + varint(2 << 3) + varint(value)) for key, value in encoded)


def texts(number: int, entries: Mapping[str, str]) -> bytes:
    """A map from text to text, sorted by key."""
    return mapping(number, {key: value.encode() for key, value in entries.items()})


def read_varint(content: bytes, at: int) -> tuple[int, int]:
    """The number that starts at ``at`` and where it ends; raises `InvalidInput`."""
    value = shift = 0
    while at < len(content) and shift < 64:
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at
        shift += 7
    raise InvalidInput("protobuf: a number is cut short")


def read(content: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Every field of a message in order: its number, its value as a number, its value as bytes (one of them is empty).

    Raises `InvalidInput` for what is no message.
    """
    at, end = 0, len(content)
    while at < end:
        tag, at = read_varint(content, at)
        kind, number, start = tag & 7, tag >> 3, at
        if not number:
            raise InvalidInput("protobuf: a field has the number 0")
        if kind == 0:
            value, at = read_varint(content, at)
            yield number, value, b""
            continue
        if kind == 2:
            size, start = read_varint(content, at)
            at = start + size
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        else:
            raise InvalidInput(f"protobuf: wire type {kind} is unknown")
        if at > end:
            raise InvalidInput("protobuf: a field is cut short")
        yield (
            (number, 0, content[start:at]) if kind == 2 else (number, int.from_bytes(content[start:at], "little"), b"")
        )


def read_text(content: bytes) -> str:
    """A value of text; what is not UTF-8 is replaced."""
    return content.decode("utf-8", "replace")


def read_entry(content: bytes) -> tuple[str, bytes]:
    """One entry of a map from text to bytes, text or messages."""
    key, value = "", b""
    for number, _, found in read(content):
        if number == 1:
            key = read_text(found)
        elif number == 2:
            value = found
    return key, value


def signed(value: int) -> int:
    """A whole number of 64 bits that may be negative."""
    return value - (1 << 64) if value >> 63 else value
