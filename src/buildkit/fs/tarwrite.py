"""Tar headers byte for byte as Go's archive/tar writes them: ustar where it can say it, else one PAX record more."""

from __future__ import annotations

import os
import posixpath

from buildkit.core.errors import InvalidInput

REGULAR, HARD_LINK, SYMLINK, CHARACTER, BLOCK, DIRECTORY, FIFO, EXTENDED = (
    b"0", b"1", b"2", b"3", b"4", b"5", b"6", b"x",
)  # fmt: skip
XATTR_PREFIX = "SCHILY.xattr."
END = bytes(1024)
"""Two empty blocks: the end of an archive."""

_NAME, _PREFIX = 100, 155
_MOST_7, _MOST_11 = 8**7 - 1, 8**11 - 1


def padding(size: int) -> bytes:
    """What fills up the last block of a content."""
    return bytes(-size % 512)


def header(
    name: str,
    kind: bytes,
    *,
    mode: int = 0,
    uid: int = 0,
    gid: int = 0,
    size: int = 0,
    mtime: int = 0,
    link: str = "",
    device: int = 0,
    records: dict[str, bytes] | None = None,
) -> bytes:
    """One entry's header blocks. ``mtime`` in seconds, ``size`` only for regular files, ``records`` for PAX."""
    encoded, target = os.fsencode(name), os.fsencode(link)
    numbers = b"%07o\0%07o\0" % (os.major(device), os.minor(device))
    whole = len(encoded) <= _NAME and encoded.isascii()
    split = (b"", encoded) if whole else split_name(encoded)
    if split is not None and not records and _fits(target, uid, gid, size, mtime):
        prefix, rest = split
        return _block(rest, kind, mode, uid, gid, size, mtime, target, numbers, prefix)
    return _extended(encoded, kind, mode, uid, gid, size, mtime, target, numbers, records or {})


def _fits(target: bytes, uid: int, gid: int, size: int, mtime: int) -> bool:
    return (
        len(target) <= _NAME
        and target.isascii()
        and uid <= _MOST_7
        and gid <= _MOST_7
        and size <= _MOST_11
        and 0 <= mtime <= _MOST_11
    )


def split_name(name: bytes) -> tuple[bytes, bytes] | None:
    """A name over 100 bytes as prefix and rest, cut at a slash, where ustar has room for it."""
    if len(name) <= _NAME or not name.isascii():
        return None
    end = len(name)
    if end > _PREFIX + 1:
        end = _PREFIX + 1
    elif name.endswith(b"/"):
        end -= 1
    cut = name.rfind(b"/", 0, end)
    if cut <= 0 or not 0 < len(name) - cut - 1 <= _NAME:
        return None
    return name[:cut], name[cut + 1 :]


def _block(
    name: bytes,
    kind: bytes,
    mode: int,
    uid: int,
    gid: int,
    size: int,
    mtime: int,
    target: bytes,
    numbers: bytes,
    prefix: bytes,
) -> bytes:
    front = name.ljust(_NAME, b"\0") + b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (mode, uid, gid, size, mtime)
    back = b"%b%b%b%b%b" % (
        kind,
        target.ljust(_NAME, b"\0"),
        b"ustar\x0000" + bytes(64),
        numbers,
        prefix.ljust(_PREFIX + 12, b"\0"),
    )
    checksum = sum(front) + sum(back) + 8 * 32
    return b"%b%06o\0 %b" % (front, checksum, back)


def _extended(
    name: bytes,
    kind: bytes,
    mode: int,
    uid: int,
    gid: int,
    size: int,
    mtime: int,
    target: bytes,
    numbers: bytes,
    given: dict[str, bytes],
) -> bytes:
    records = dict(given)
    if len(name) > _NAME or not name.isascii():
        records["path"] = name
    if len(target) > _NAME or not target.isascii():
        records["linkpath"] = target
    for key, number, most in (("uid", uid, _MOST_7), ("gid", gid, _MOST_7), ("size", size, _MOST_11)):
        if number > most:
            records[key] = b"%d" % number
    if not 0 <= mtime <= _MOST_11:
        records["mtime"] = b"%d" % mtime
    text = b"".join(record(key, records[key]) for key in sorted(records))
    if len(text) > 1 << 20:
        raise InvalidInput(
            f"{os.fsdecode(name)}: extended attributes of {len(text)} bytes do not fit into a tar header"
        )
    directory, _, file = name.rpartition(b"/")
    joined = posixpath.normpath(b"/".join(part for part in (directory, b"PaxHeaders.0", file) if part))
    outer = ascii_part(joined)[:_NAME].rstrip(b"/")
    return b"".join(
        (
            _block(outer, EXTENDED, 0, 0, 0, len(text), 0, b"", bytes(16), b""),
            text,
            padding(len(text)),
            _block(
                cut_name(ascii_part(name)),
                kind,
                mode,
                uid if uid <= _MOST_7 else 0,
                gid if gid <= _MOST_7 else 0,
                size if size <= _MOST_11 else 0,
                mtime if 0 <= mtime <= _MOST_11 else 0,
                cut_name(ascii_part(target)),
                numbers,
                b"",
            ),
        )
    )


def record(key: str, content: bytes) -> bytes:
    """One record of an extended header, its length included."""
    body = b" %b=%b\n" % (os.fsencode(key), content)
    length = len(body) + len(str(len(body)))
    if len(str(length)) != len(str(len(body))):
        length = len(body) + len(str(length))
    return b"%d%b" % (length, body)


def ascii_part(text: bytes) -> bytes:
    """Without what is no ASCII."""
    return text if text.isascii() else bytes(byte for byte in text if byte < 0x80)


def cut_name(text: bytes) -> bytes:
    """As much as the field holds, not ending in a slash when it was cut there."""
    if len(text) > _NAME and text[_NAME - 1 : _NAME] == b"/":
        return text[: _NAME - 1].rstrip(b"/")
    return text[:_NAME]
