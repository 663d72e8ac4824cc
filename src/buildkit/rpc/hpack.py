"""Header compression for HTTP/2 (RFC 7541): a full decoder, and an encoder that never grows the peer's table.

Headers are tuples of (name, value) byte pairs. The encoder emits indexed static fields and literals without
indexing; a header list that was encoded before is taken from a cache.
"""

from __future__ import annotations

from collections import deque
from functools import lru_cache
from typing import TypeAlias

Headers: TypeAlias = tuple[tuple[bytes, bytes], ...]

_STATIC_TEXT = (
    ":authority|:method GET|:method POST|:path /|:path /index.html|:scheme http|:scheme https|:status 200|:status 204|"
    ":status 206|:status 304|:status 400|:status 404|:status 500|accept-charset|accept-encoding gzip, deflate|"
    "accept-language|accept-ranges|accept|access-control-allow-origin|age|allow|authorization|cache-control|"
    "content-disposition|content-encoding|content-language|content-length|content-location|content-range|"
    "content-type|cookie|date|etag|expect|expires|from|host|if-match|if-modified-since|if-none-match|if-range|"
    "if-unmodified-since|last-modified|link|location|max-forwards|proxy-authenticate|proxy-authorization|range|"
    "referer|refresh|retry-after|server|set-cookie|strict-transport-security|transfer-encoding|user-agent|vary|via|"
    "www-authenticate"
)
STATIC: Headers = tuple(
    (name.encode(), value.encode()) for name, _, value in (field.partition(" ") for field in _STATIC_TEXT.split("|"))
)
_STATIC_FIELDS = {field: index for index, field in reversed(list(enumerate(STATIC, 1)))}
_STATIC_NAMES = {name: index for index, (name, _) in reversed(list(enumerate(STATIC, 1)))}

# RFC 7541 appendix B is a canonical code, so the lengths say all: one letter a symbol, "A" for 5 bits.
_HUFFMAN_LENGTHS = (
    "ISXXXXXXXTZXXZXXXXXXXXZXXXXXXXXXBFFHIBDGFFDGDBBBAAABBBBBBBCDKBHFIBCCCCCCCCCCCCCCCCCCCCCCDCDIOIJBKABA"
    "BABBBACCBBBABCBAABCCCCCKGJIXPRPPRRRSRSSSSSTSTTRSTSSSSQRSRSSTRQPRRSSQSRRTQRSSQQRQSRSSPRRRSRRSVVPORSRU"
    "VVVWWVTUOQVWWVWTQQVVXWWWPTPQRQQSRRUUTTVSVWVVWWWWWXWWWWWVZ"
)
_END_OF_STRING = 256
_ENTRY_OVERHEAD = 32
_DEFAULT_TABLE_SIZE = 4096
_REMEMBERED = 64
"""Bytes of the longest coded string whose decoding is remembered."""


class HeaderError(Exception):
    """The peer's header block breaks RFC 7541 or our limits; the connection can not go on."""


def _huffman_codes() -> dict[tuple[int, int], int]:
    codes: dict[tuple[int, int], int] = {}
    lengths = [ord(letter) - ord("A") + 5 for letter in _HUFFMAN_LENGTHS]
    code = length = 0
    for symbol in sorted(range(len(lengths)), key=lambda symbol: (lengths[symbol], symbol)):
        code <<= lengths[symbol] - length
        length = lengths[symbol]
        codes[length, code] = symbol
        code += 1
    return codes


_HUFFMAN = _huffman_codes()


def decode_huffman(block: bytes) -> bytes:
    """Decode a Huffman string; raises `HeaderError` for bad padding or an encoded end of string."""
    return _decode_short(block) if len(block) <= _REMEMBERED else _decode_any(block)


def _decode_any(block: bytes) -> bytes:
    out = bytearray()
    code = length = 0
    for byte in block:
        for shift in range(7, -1, -1):
            code = code << 1 | (byte >> shift & 1)
            length += 1
            symbol = _HUFFMAN.get((length, code))
            if symbol is not None:
                if symbol == _END_OF_STRING:
                    raise HeaderError("huffman string holds an end-of-string symbol")
                out.append(symbol)
                code = length = 0
            elif length > 30:
                raise HeaderError("huffman string holds an unknown code")
    if length > 7 or code != (1 << length) - 1:
        raise HeaderError("huffman string has bad padding")
    return bytes(out)


_decode_short = lru_cache(maxsize=256)(_decode_any)


class Decoder:
    """The receiving side's dynamic table and the parser of header blocks."""

    def __init__(self, *, table_size: int = _DEFAULT_TABLE_SIZE, max_list_size: int = 64 * 1024) -> None:
        """``table_size`` is what our SETTINGS allow; ``max_list_size`` bounds a decoded list (RFC 9113, 6.5.2)."""
        self._allowed = self._limit = table_size
        self._max_list_size = max_list_size
        self._table: deque[tuple[bytes, bytes]] = deque()
        self._used = 0

    def decode(self, block: bytes) -> Headers:
        """Decode one complete header block."""
        fields: list[tuple[bytes, bytes]] = []
        at, size = 0, 0
        while at < len(block):
            first = block[at]
            if first & 0x80:
                index, at = _integer(block, at, 7)
                field = self._entry(index)
            elif first & 0x40:
                field, at = self._literal(block, at, 6)
                self._remember(field)
            elif first & 0x20:
                limit, at = _integer(block, at, 5)
                if limit > self._allowed or fields:
                    raise HeaderError("header table size update is not allowed here")
                self._limit = limit
                self._evict()
                continue
            else:
                field, at = self._literal(block, at, 4)
            size += len(field[0]) + len(field[1]) + _ENTRY_OVERHEAD
            if size > self._max_list_size:
                raise HeaderError(f"header list is larger than {self._max_list_size} bytes")
            fields.append(field)
        return tuple(fields)

    def _entry(self, index: int) -> tuple[bytes, bytes]:
        if 0 < index <= len(STATIC):
            return STATIC[index - 1]
        if len(STATIC) < index <= len(STATIC) + len(self._table):
            return self._table[index - len(STATIC) - 1]
        raise HeaderError(f"header index {index} is out of range")

    def _literal(self, block: bytes, at: int, bits: int) -> tuple[tuple[bytes, bytes], int]:
        index, at = _integer(block, at, bits)
        if index:
            name = self._entry(index)[0]
        else:
            name, at = _string(block, at)
        value, at = _string(block, at)
        return (name, value), at

    def _remember(self, field: tuple[bytes, bytes]) -> None:
        self._table.appendleft(field)
        self._used += len(field[0]) + len(field[1]) + _ENTRY_OVERHEAD
        self._evict()

    def _evict(self) -> None:
        while self._used > self._limit:
            name, value = self._table.pop()
            self._used -= len(name) + len(value) + _ENTRY_OVERHEAD


def _integer(block: bytes, at: int, bits: int) -> tuple[int, int]:
    mask = (1 << bits) - 1
    if at >= len(block):
        raise HeaderError("header block is cut short")
    value = block[at] & mask
    at += 1
    if value < mask:
        return value, at
    for shift in range(0, 35, 7):
        if at >= len(block):
            raise HeaderError("header block is cut short")
        byte = block[at]
        at += 1
        value += (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, at
    raise HeaderError("header block holds an integer that is too large")


def _string(block: bytes, at: int) -> tuple[bytes, int]:
    if at >= len(block):
        raise HeaderError("header block is cut short")
    huffman = block[at] & 0x80
    length, at = _integer(block, at, 7)
    end = at + length
    if end > len(block):
        raise HeaderError("header block is cut short")
    text = block[at:end]
    return (decode_huffman(text) if huffman else text), end


def _put_integer(out: bytearray, value: int, bits: int, flags: int) -> None:
    mask = (1 << bits) - 1
    if value < mask:
        out.append(flags | value)
        return
    out.append(flags | mask)
    value -= mask
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


@lru_cache(maxsize=64)
def encode(headers: Headers) -> bytes:
    """Encode a header list as a block that any peer can decode without state."""
    out = bytearray()
    for name, value in headers:
        index = _STATIC_FIELDS.get((name, value))
        if index is not None:
            out.append(0x80 | index)
            continue
        index = _STATIC_NAMES.get(name, 0)
        _put_integer(out, index, 4, 0)
        if not index:
            _put_integer(out, len(name), 7, 0)
            out += name
        _put_integer(out, len(value), 7, 0)
        out += value
    return bytes(out)
