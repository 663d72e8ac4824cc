"""The packets in which BuildKit's clients and daemons exchange trees, coded by hand (specification rows A152, A153).

Paths are bytes on the wire and need not be UTF-8, which protobuf libraries insist on; here they are texts with
surrogates, as `os.fsdecode` makes them.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping

from buildkit.core.errors import InvalidInput
from buildkit.core.values import dataclass, field
from buildkit.core.wire import varint

STAT, REQUEST, DATA, FINISH, ERROR = range(5)

DIRECTORY, SYMLINK, DEVICE, PIPE, SOCKET = 1 << 31, 1 << 27, 1 << 26, 1 << 25, 1 << 24
SETUID, SETGID, CHARACTER, STICKY, IRREGULAR = 1 << 23, 1 << 22, 1 << 21, 1 << 20, 1 << 19
KIND = DIRECTORY | SYMLINK | DEVICE | PIPE | SOCKET | CHARACTER | IRREGULAR
"""The bits that are zero in the mode of a regular file."""

_KINDS = {
    stat.S_IFREG: 0,
    stat.S_IFDIR: DIRECTORY,
    stat.S_IFLNK: SYMLINK,
    stat.S_IFBLK: DEVICE,
    stat.S_IFCHR: DEVICE | CHARACTER,
    stat.S_IFIFO: PIPE,
    stat.S_IFSOCK: 0,
}
END_OF_STATS = b"\x08\x00"
FINISHED = b"\x08\x03"


@dataclass(frozen=True, slots=True)
class Stat:
    """One file as the wire tells it. ``mode`` has Go's bits, ``mtime`` is nanoseconds, ``size`` bytes.

    ``link`` is where a symbolic link points, or the path of the file that a regular one is a hard link to.
    """

    path: str
    mode: int = 0
    uid: int = 0
    gid: int = 0
    size: int = 0
    mtime: int = 0
    link: str = ""
    major: int = 0
    minor: int = 0
    xattrs: Mapping[str, bytes] = field(default_factory=dict[str, bytes])

    @property
    def permissions(self) -> int:
        """The mode bits that chmod(2) takes."""
        mode = self.mode
        special = (mode & SETUID and stat.S_ISUID) | (mode & SETGID and stat.S_ISGID) | (mode & STICKY and stat.S_ISVTX)
        return mode & 0o777 | special


@dataclass(frozen=True, slots=True)
class Packet:
    """One message. ``stat`` None in a `STAT` packet says that there are no more."""

    kind: int
    stat: Stat | None = None
    id: int = 0
    content: bytes | memoryview = b""


def wire_mode(mode: int) -> int:
    """Go's mode bits of a ``st_mode``; a socket is an ordinary file to whoever gets it."""
    special = (mode & stat.S_ISUID and SETUID) | (mode & stat.S_ISGID and SETGID) | (mode & stat.S_ISVTX and STICKY)
    return mode & 0o777 | _KINDS[stat.S_IFMT(mode)] | special


def decode(message: bytes | memoryview) -> Packet:
    """Take a packet apart; raises `InvalidInput`. Large content is a view of it."""
    try:
        return _decode(message)
    except (IndexError, UnicodeError) as error:
        raise InvalidInput("transfer: a packet is cut short") from error


def _decode(message: bytes | memoryview) -> Packet:
    kind = id = at = 0
    found: Stat | None = None
    content: bytes | memoryview = b""
    end = len(message)
    while at < end:
        tag = message[at]
        at += 1
        if tag == 0x08:
            kind, at = _number(message, at)
        elif tag == 0x22:
            size, at = _number(message, at)
            if at + size > end:
                raise IndexError
            content = memoryview(message)[at : at + size] if size > 512 else message[at : at + size]
            at += size
        elif tag == 0x18:
            id, at = _number(message, at)
        elif tag == 0x12:
            size, at = _number(message, at)
            if at + size > end:
                raise IndexError
            found = _decode_stat(bytes(message), at, at + size)
            at += size
        else:
            at = _skip(message, at, tag, end)
    return Packet(kind, found, id & 0xFFFFFFFF, content)


def stat_of(message: bytes) -> bytes:
    """The serialized ``Stat`` in a `STAT` packet that `decode` took."""
    at, end = 0, len(message)
    while at < end:
        tag = message[at]
        at += 1
        if tag == 0x12:
            size, at = _number(message, at)
            return message[at : at + size]
        at = _skip(message, at, tag, end)
    return b""


def _decode_stat(message: bytes, at: int, end: int) -> Stat:
    numbers = [0] * 10
    path = link = ""
    xattrs: dict[str, bytes] = {}
    while at < end:
        tag = message[at]
        at += 1
        if tag in (0x0A, 0x3A, 0x52):
            size, at = _number(message, at)
            if at + size > end:
                raise IndexError
            part = message[at : at + size]
            at += size
            if tag == 0x0A:
                path = os.fsdecode(part)
            elif tag == 0x3A:
                link = os.fsdecode(part)
            else:
                name, content = _decode_pair(part)
                xattrs[name] = content
        elif tag & 7 == 0 and 0x10 <= tag <= 0x48:
            value = message[at]
            at += 1
            if value > 0x7F:
                value, at = _number(message, at - 1)
            numbers[tag >> 3] = value
        else:
            at = _skip(message, at, tag, end)
    _, _, mode, uid, gid, size, mtime, _, major, minor = numbers
    return Stat(
        path,
        mode & 0xFFFFFFFF,
        uid & 0xFFFFFFFF,
        gid & 0xFFFFFFFF,
        _signed(size),
        _signed(mtime),
        link,
        _signed(major),
        _signed(minor),
        xattrs,
    )


def _decode_pair(part: bytes) -> tuple[str, bytes]:
    name, content, at = "", b"", 0
    while at < len(part):
        tag = part[at]
        at += 1
        if tag in (0x0A, 0x12):
            size, at = _number(part, at)
            if at + size > len(part):
                raise IndexError
            if tag == 0x0A:
                name = os.fsdecode(part[at : at + size])
            else:
                content = part[at : at + size]
            at += size
        else:
            at = _skip(part, at, tag, len(part))
    return name, content


def _number(message: bytes | memoryview, at: int) -> tuple[int, int]:
    value = message[at]
    if value < 0x80:
        return value, at + 1
    second = message[at + 1]
    if second < 0x80:
        return value & 0x7F | second << 7, at + 2
    value = value & 0x7F | (second & 0x7F) << 7
    at += 2
    shift = 14
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at
        shift += 7
        if shift > 63:
            raise InvalidInput("transfer: a packet holds a number that is too long")


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _skip(message: bytes | memoryview, at: int, tag: int, end: int) -> int:
    """Over a field that we do not know; ``tag`` was read."""
    if tag > 0x7F:
        _, at = _number(message, at)
    match tag & 7:
        case 0:
            _, at = _number(message, at)
        case 1:
            at += 8
        case 2:
            size, at = _number(message, at)
            at += size
        case 5:
            at += 4
        case _:
            raise InvalidInput("transfer: a packet is malformed")
    if at > end:
        raise IndexError
    return at


def _bytes_field(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    return bytes((tag,)) + varint(size) + content


def encode_stat(found: Stat) -> bytes:
    """A `STAT` packet."""
    parts = [_bytes_field(0x0A, os.fsencode(found.path))]
    for tag, value in (
        (b"\x10", found.mode),
        (b"\x18", found.uid),
        (b"\x20", found.gid),
        (b"\x28", found.size),
        (b"\x30", found.mtime),
    ):
        if value:
            parts += (tag, varint(value))
    if found.link:
        parts.append(_bytes_field(0x3A, os.fsencode(found.link)))
    if found.major:
        parts += (b"\x40", varint(found.major))
    if found.minor:
        parts += (b"\x48", varint(found.minor))
    for name, content in sorted(found.xattrs.items()):
        parts.append(_bytes_field(0x52, _bytes_field(0x0A, os.fsencode(name)) + _bytes_field(0x12, content)))
    return _bytes_field(0x12, b"".join(parts))


def encode_request(id: int) -> bytes:
    """A `REQUEST` packet: send the content of file number ``id``."""
    return b"\x08\x01" + (b"\x18" + varint(id) if id else b"")


def encode_data(id: int, content: bytes = b"") -> bytes:
    """A `DATA` packet; without content it ends the file."""
    head = b"\x08\x02" + (b"\x18" + varint(id) if id else b"")
    return head + _bytes_field(0x22, content) if content else head


def encode_error(text: str) -> bytes:
    """An `ERROR` packet."""
    return b"\x08\x04" + _bytes_field(0x22, os.fsencode(text))
