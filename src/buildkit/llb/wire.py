"""Protobuf's wire format for messages with maps: the runtime's own order of map keys is not the one others write."""

from __future__ import annotations

from collections.abc import Mapping


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


def mapping(number: int, entries: Mapping[str, bytes]) -> bytes:
    """A map from text to bytes, text or messages, sorted by key."""
    encoded = sorted((key.encode(), value) for key, value in entries.items())
    return b"".join(field(number, field(1, key) + field(2, value)) for key, value in encoded)


def flags(number: int, entries: Mapping[str, bool]) -> bytes:
    """A map from text to yes or no, sorted by key."""
    encoded = sorted((key.encode(), value) for key, value in entries.items())
    return b"".join(field(number, field(1, key) + varint(2 << 3) + varint(value)) for key, value in encoded)
