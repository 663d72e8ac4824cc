"""Reading tar streams of any make (ustar, PAX, GNU long names), with limits; sparse members are refused."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Protocol

from buildkit.core.errors import Corrupt, Unsupported
from buildkit.core.values import dataclass, field
from buildkit.fs.tarwrite import XATTR_PREFIX

_READ = 1 << 20
_MOST_SPECIAL = 1 << 20
"""Bytes of one long name or PAX header."""

_ZERO = bytes(512)
_SPACES = b" \0"


class Readable(Protocol):
    """Something with ``read``; short reads are fine, empty means the end."""

    def read(self, size: int, /) -> bytes:
        """Up to ``size`` bytes."""
        ...


@dataclass(slots=True)
class Member:
    """One entry of an archive. Times in nanoseconds."""

    name: str
    kind: bytes
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    link: str
    device: int
    xattrs: dict[str, bytes] = field(default_factory=dict)


class TarReader:
    """Members of a stream, in order; between two steps, `content` gives the bytes of the current one."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self._buffer = memoryview(b"")
        self._left = 0  # bytes of the current member not yet read
        self._padding = 0

    def __iter__(self) -> Iterator[Member]:
        while True:
            member = self._next()
            if member is None:
                return
            yield member

    def content(self) -> Iterator[memoryview]:
        """The current member's bytes, in pieces."""
        while self._left:
            piece = self._some(self._left)
            if not piece:
                raise Corrupt(f"archive is truncated: {self._left} bytes of a file are missing")
            self._left -= len(piece)
            yield piece

    def drain(self) -> None:
        """Read what follows the end of the archive."""
        while self._some(_READ):
            pass

    def _next(self) -> Member | None:
        records: dict[str, bytes] = {}
        long_name = long_link = None
        while True:
            self._skip()
            block = self._block()
            if block is None:
                return None
            size = _number(block[124:136])
            kind = block[156:157]
            if size < 0:
                raise Corrupt("archive has a member of negative size")
            if kind in (b"x", b"L", b"K", b"g"):
                if size > _MOST_SPECIAL:
                    raise Corrupt(f"archive has an extended header of {size} bytes; at most {_MOST_SPECIAL} are taken")
                text = self._exactly(size)
                self._exactly(-size % 512)
                if kind == b"x":
                    records = parse_records(text)
                elif kind == b"L":
                    long_name = _text(text)
                elif kind == b"K":
                    long_link = _text(text)
                continue
            member = _member(block, kind, size, records, long_name, long_link)
            # links and devices have no content, whatever their size field says
            self._left = member.size if kind not in (b"1", b"2", b"3", b"4", b"5", b"6") else 0
            self._padding = -self._left % 512
            if not self._left:
                member.size = 0
            return member

    def _skip(self) -> None:
        left = self._left + self._padding
        while left:
            piece = self._some(left)
            if not piece and left > self._padding:
                raise Corrupt("archive is truncated in the middle of a file")
            if not piece:
                break  # the padding of the last member may be missing
            left -= len(piece)
        self._left = self._padding = 0

    def _block(self) -> bytes | None:
        """The next header; None at the end, which is two empty blocks or no more bytes."""
        block = self._exactly(512, may_end=True)
        if block == _ZERO or not block:
            if block and self._exactly(512, may_end=True) not in (_ZERO, b""):
                raise Corrupt("archive is damaged: an empty block stands before a header")
            return None
        checksum = _number(block[148:156])
        unsigned = sum(block) - sum(block[148:156]) + 8 * 32
        if checksum != unsigned and checksum != unsigned - 256 * sum(
            1 for place, byte in enumerate(block) if byte > 127 and not 148 <= place < 156
        ):
            raise Corrupt("archive is damaged: a header has a wrong checksum")
        return block

    def _some(self, size: int) -> memoryview:
        if not self._buffer:
            self._buffer = memoryview(self._stream.read(_READ))
        piece = self._buffer[:size]
        self._buffer = self._buffer[size:]
        return piece

    def _exactly(self, size: int, *, may_end: bool = False) -> bytes:
        piece = bytes(self._some(size)) if size else b""
        while len(piece) < size:
            more = self._some(size - len(piece))
            if not more:
                if may_end and not piece:
                    return b""
                raise Corrupt("archive is truncated in the middle of a header")
            piece += more
        return piece


def _member(
    block: bytes,
    kind: bytes,
    size: int,
    records: dict[str, bytes],
    long_name: bytes | None,
    long_link: bytes | None,
) -> Member:
    if kind == b"S" or any(key.startswith("GNU.sparse.") for key in records):
        raise Unsupported(f"archive member {os.fsdecode(_text(block[:100]))}: sparse files are not supported")
    name = _text(block[:100])
    if block[257:263] == b"ustar\0" and block[345]:
        name = _text(block[345:500]) + b"/" + name
    name = records.get("path") or long_name or name
    link = records.get("linkpath") or long_link or _text(block[157:257])
    if b"\0" in name or b"\0" in link:
        raise Corrupt("archive has a name with a NUL byte in it")
    if kind in (b"\0", b"7"):
        kind = b"5" if name.endswith(b"/") and kind == b"\0" else b"0"
    device = os.makedev(_device(block[329:337]), _device(block[337:345])) if kind in (b"3", b"4") else 0
    if "size" in records:
        size = _decimal(records["size"])
        if size < 0:
            raise Corrupt("archive has a member of negative size")
    return Member(
        os.fsdecode(name),
        kind,
        _number(block[100:108]) & 0o7777,
        _owner(_decimal(records["uid"]) if "uid" in records else _number(block[108:116])),
        _owner(_decimal(records["gid"]) if "gid" in records else _number(block[116:124])),
        size,
        _time(records["mtime"]) if "mtime" in records else _number(block[136:148]) * 1_000_000_000,
        os.fsdecode(link),
        device,
        {key.removeprefix(XATTR_PREFIX): text for key, text in records.items() if key.startswith(XATTR_PREFIX)},
    )


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _number(field: bytes) -> int:
    """Octal digits, or a big binary number when the first bit is set."""
    if field[0] & 0x80:
        number = int.from_bytes(field, "big", signed=False) & ((1 << (8 * len(field) - 1)) - 1)
        if field[0] & 0x40:
            number -= 1 << (8 * len(field) - 1)
        return number
    digits = _text(field.strip(_SPACES)).strip(_SPACES)
    if digits.strip(b"01234567"):
        raise Corrupt(f"archive is damaged: {digits!r} is not an octal number")
    return int(digits or b"0", 8)


def _decimal(digits: bytes) -> int:
    if not digits.removeprefix(b"-").isdigit() or len(digits) > 20:
        raise Corrupt(f"archive is damaged: {digits[:32]!r} is not a number")
    return int(digits)


def _owner(number: int) -> int:
    if not 0 <= number < 2**32 - 1:
        raise Corrupt(f"archive has an owner number {number} that no system takes")
    return number


def _device(field: bytes) -> int:
    number = _number(field)
    if not 0 <= number < 2**31:
        raise Corrupt(f"archive has a device number {number} that no system takes")
    return number


def _time(text: bytes) -> int:
    seconds, _, fraction = text.partition(b".")
    nanoseconds = _decimal(fraction[:9].ljust(9, b"0")) if fraction else 0
    whole = _decimal(seconds or b"0")
    return whole * 1_000_000_000 + (-nanoseconds if seconds.startswith(b"-") else nanoseconds)


def parse_records(text: bytes) -> dict[str, bytes]:
    """The records of an extended header; raises `Corrupt`."""
    records: dict[str, bytes] = {}
    position = 0
    while position < len(text):
        space = text.find(b" ", position, position + 20)
        if space < 0:
            raise Corrupt("archive is damaged: a PAX record has no length")
        end = position + _decimal(text[position:space])
        key, equals, content = text[space + 1 : end - 1].partition(b"=")
        if end > len(text) or end <= space + 1 or text[end - 1 : end] != b"\n" or not equals or not key:
            raise Corrupt("archive is damaged: a PAX record has a wrong length")
        records[os.fsdecode(key)] = content
        position = end
    return records
