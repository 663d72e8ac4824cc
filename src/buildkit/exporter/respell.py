"""Headers of tars read and written again byte for byte as Go's archive/tar does it: so BuildKit rewrites layers."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping

from buildkit.core.values import dataclass, field
from buildkit.fs.tarwrite import EXTENDED, ascii_part, cut_name, padding, record, split_name

_USTAR, _PAX, _GNU = 1, 2, 4
"""Formats, as bits: what an entry may be, and may be written as."""
_ANY = _USTAR | _PAX | _GNU
_NAME, _OWNER = 100, 32
_SECOND = 1_000_000_000
_NUMBERS = {
    "mode": slice(100, 108), "uid": slice(108, 116), "gid": slice(116, 124), "size": slice(124, 136),
    "mtime": slice(136, 148), "major": slice(329, 337), "minor": slice(337, 345),
}  # fmt: skip
_TEXTS = {"name": slice(0, 100), "link": slice(157, 257), "uname": slice(265, 297), "gname": slice(297, 329)}
_SPELLED = re.compile(
    rb"(?s).{99}[^/](?:[0-7]{7}\0){3}[0-7]{11}\0([0-7]{11})\0[0-7]{6}\0 "
    rb"[0-6].{100}ustar\x0000.{64}(?:[0-7]{7}\0){2}\0{167}"
)
"""A ustar header whose numbers are spelled as Go spells them; the group is its time."""
_RECORDS = {
    "path": "name", "linkpath": "link", "uname": "uname", "gname": "gname", "uid": "uid", "gid": "gid",
    "size": "size", "mtime": "mtime", "atime": "atime", "ctime": "ctime",
}  # fmt: skip
"""Keys of extended headers that are fields of an entry."""
_GNU_TIMES = {"atime": slice(345, 357), "ctime": slice(357, 369)}
_PREFIX, _MAGIC, _CHECKSUM = slice(345, 500), slice(257, 265), slice(148, 156)


@dataclass(slots=True)
class Special:
    """What stands before a header and belongs to it: extended records, GNU's long names."""

    raw: bytes = b""
    format: int = _ANY
    records: dict[str, bytes] = field(default_factory=dict)
    name: bytes = b""
    link: bytes = b""

    def add(self, block: bytes, text: bytes, records: Mapping[str, bytes] | None) -> None:
        """One more of them; ``records`` are those that an extended header's ``text`` holds."""
        self.raw += block + text + padding(len(text))
        self.format &= _format_of(block)
        if records is not None:
            self.format &= _PAX
            self.records = dict(records)
            return
        self.format &= _GNU
        long = text.partition(b"\0")[0]
        if block[156:157] == b"L":
            self.name = long
        else:
            self.link = long


def global_header(block: bytes, records: Mapping[str, bytes]) -> bytes:
    """A header for all that follow."""
    name = _prefix(block) + _text(block[:_NAME])
    return _raw_file(name or b"GlobalHead.0.0", records_text(records), b"g", _PAX)


def records_text(records: Mapping[str, bytes]) -> bytes:
    """Records in order."""
    return b"".join(record(key, records[key]) for key in sorted(records))


def respelled(block: bytes, special: Special, latest: int) -> bytes:
    """The header and all that belongs before it, with no time later than ``latest`` (seconds since 1970).

    Raises `ValueError` for what Go can not write.
    """
    plain = _SPELLED.match(block) if not special.raw and latest >= 0 else None
    if plain is None or any(b"\0" in block[place].rstrip(b"\0") for place in _TEXTS.values()) or not block.isascii():
        return _Entry(block, special).written(latest * _SECOND)
    if int(plain[1], 8) <= latest:
        return block
    clamped = bytearray(block)
    clamped[_NUMBERS["mtime"]] = _spelled(latest, 12, binary=False)
    return _finished(clamped, _USTAR)


class _Entry:
    def __init__(self, block: bytes, special: Special) -> None:
        self.texts = {key: _text(block[place]) for key, place in _TEXTS.items()}
        self.numbers = {key: number(block[place]) for key, place in _NUMBERS.items()}
        self.kind = block[156:157]
        self.records = special.records
        self.format = special.format & _format_of(block)
        magic = block[_MAGIC]
        if magic[:6] != b"ustar\0" and magic != b"ustar  \0":  # of a time before names of owners
            self.texts |= {"uname": b"", "gname": b""}
            self.numbers |= {"major": 0, "minor": 0}
        self.texts["name"] = _prefix(block) + self.texts["name"]
        self.times: dict[str, int] = {"mtime": self.numbers.pop("mtime") * _SECOND}
        if magic == b"ustar  \0":
            self.times |= _gnu_times(block) or {}
        self._take_records()
        self.texts["name"] = special.name or self.texts["name"]
        self.texts["link"] = special.link or self.texts["link"]
        if self.kind == b"\0":
            self.kind = b"5" if self.texts["name"].endswith(b"/") else b"0"
        if self.format & _USTAR and self.format & _PAX:
            self.format &= _USTAR

    def _take_records(self) -> None:
        for key, value in self.records.items():
            target = _RECORDS.get(key)
            if not value or target is None:
                continue
            if target in self.texts:
                self.texts[target] = value
            elif target in self.numbers:
                self.numbers[target] = int(value)
            else:
                self.times[target] = parse_time(value)

    def written(self, latest: int) -> bytes:
        self.times = {key: min(time, latest) for key, time in self.times.items()}
        if not self.format:
            self.times = {"mtime": (self.times["mtime"] + _SECOND // 2) // _SECOND * _SECOND}
        if self.kind in (b"0", b"3", b"4", b"6", b"S") and self.texts["name"].endswith(b"/"):
            raise ValueError("a file's name ends in a slash")
        allowed, records = self._allowed()
        if allowed & _USTAR:
            prefix, name = split_name(self.texts["name"]) or (b"", self.texts["name"])
            return self._block({**self.texts, "name": name}, _USTAR, prefix)
        if allowed & _PAX:
            before = self._extended(records) if records else b""
            texts = {key: cut_name(ascii_part(text)) for key, text in self.texts.items()}
            return before + self._block(texts, _PAX)
        if allowed & _GNU:
            before = b"".join(
                _raw_file(b"././@LongLink", self.texts[key] + b"\0", kind, _GNU)
                for key, kind in (("name", b"L"), ("link", b"K"))
                if len(self.texts[key]) > _NAME
            )
            return before + self._block({key: cut_name(text) for key, text in self.texts.items()}, _GNU)
        raise ValueError("no format can say this")

    def _allowed(self) -> tuple[int, dict[str, bytes]]:
        """Formats that can say it, and the records that an extended header needs."""
        formats, found, prefers_pax = _ANY, dict[str, bytes](), False

        def need(key: str, value: bytes, needed: bool) -> None:
            if needed or self.records.get(key) == value:
                found[key] = value

        for key, target in (("path", "name"), ("linkpath", "link"), ("uname", "uname"), ("gname", "gname")):
            text, most = self.texts[target], _OWNER if target in ("uname", "gname") else _NAME
            is_path, is_long = key in ("path", "linkpath"), len(text) > most
            if b"\0" in text or (is_long and not is_path):
                formats &= ~_GNU
            special = is_long or not text.isascii()
            if special and not (key == "path" and split_name(text)):
                formats &= ~_USTAR
            need(key, text, special)
        for key, value in self.numbers.items():
            width = _NUMBERS[key].stop - _NUMBERS[key].start
            large = not 0 <= value < 8 ** (width - 1)
            if large:
                formats &= ~_USTAR
                formats &= ~0 if key in _RECORDS else ~_PAX
                formats &= ~0 if width > 8 or -(1 << 56) <= value < 1 << 56 else ~_GNU
            if key in _RECORDS:
                need(key, b"%d" % value, large)
        for key, time in self.times.items():
            whole = 0 <= time // _SECOND < 8**11
            if key != "mtime" or not whole:
                formats &= ~_USTAR
            exact = key != "mtime" or not whole or bool(time % _SECOND)
            prefers_pax |= exact
            need(key, format_time(time), exact)
        if self.records:
            found |= {k: v for k, v in self.records.items() if k not in found and k not in _RECORDS}
            formats &= _PAX
        if self.format:
            formats &= self.format | (_USTAR if self.format & _PAX and not prefers_pax else 0)
        return formats, found

    def _extended(self, records: Mapping[str, bytes]) -> bytes:
        directory, slash, file = self.texts["name"].rpartition(b"/")
        joined = posixpath.normpath(directory + slash + b"PaxHeaders.0/" + file)
        joined = b"/" + joined.lstrip(b"/") if joined.startswith(b"//") else joined
        return _raw_file(joined, records_text(records), EXTENDED, _PAX)

    def _block(self, texts: Mapping[str, bytes], format: int, prefix: bytes = b"") -> bytes:
        block = bytearray(512)
        block[156:157] = self.kind
        for key, text in texts.items():
            place = _TEXTS[key]
            block[place] = text[: place.stop - place.start].ljust(place.stop - place.start, b"\0")
        numbers = {**self.numbers, "mtime": self.times["mtime"] // _SECOND}
        for key, value in numbers.items():
            block[_NUMBERS[key]] = _spelled(value, _NUMBERS[key].stop - _NUMBERS[key].start, binary=format == _GNU)
        block[_PREFIX] = prefix.ljust(155, b"\0")
        if format == _GNU:
            for key, place in _GNU_TIMES.items():
                if key in self.times:
                    block[place] = _spelled(self.times[key] // _SECOND, 12, binary=True)
        return _finished(block, format)


def _spelled(value: int, width: int, *, binary: bool) -> bytes:
    if 0 <= value < 8 ** (width - 1):
        return b"%0*o\0" % (width - 1, value)
    if not binary:
        return b"%0*o\0" % (width - 1, 0)
    bits = 8 * width
    raw = bytearray((value % (1 << bits)).to_bytes(width, "big"))
    raw[0] |= 0x80
    return bytes(raw)


def _raw_file(name: bytes, content: bytes, kind: bytes, format: int) -> bytes:
    block = bytearray(512)
    name = ascii_part(name)[:_NAME].rstrip(b"/")
    block[: len(name)] = name
    block[100:148] = b"0000000\0" * 3 + b"%011o\0%011o\0" % (len(content), 0)
    block[156:157] = kind
    return _finished(block, format) + content + padding(len(content))


def _finished(block: bytearray, format: int) -> bytes:
    block[_MAGIC] = b"ustar  \0" if format == _GNU else b"ustar\x0000"
    block[_CHECKSUM] = b" " * 8
    block[_CHECKSUM] = b"%06o\0 " % sum(block)
    return bytes(block)


def _format_of(block: bytes) -> int:
    if block[_MAGIC] == b"ustar  \0":
        return _GNU if _gnu_times(block) is not None else 0
    if block[257:263] != b"ustar\0" or block[508:512] == b"tar\0" or not block.isascii():
        return 0
    return _USTAR | _PAX if all(not block[place.stop - 1] for place in _NUMBERS.values()) else 0


def _gnu_times(block: bytes) -> dict[str, int] | None:
    """The times of a GNU header; None where something else stands in their place, as old tars of Go's have it."""
    try:
        return {key: number(block[at]) * _SECOND for key, at in _GNU_TIMES.items() if block[at.start]}
    except ValueError:
        return None


def _prefix(block: bytes) -> bytes:
    prefix = b""
    if block[257:263] == b"ustar\0":
        prefix = _text(block[_PREFIX])
    elif block[_MAGIC] == b"ustar  \0" and _gnu_times(block) is None:
        prefix = _text(block[_PREFIX])
        prefix = prefix if prefix.isascii() else b""
    return prefix + b"/" if prefix else b""


def _text(part: bytes) -> bytes:
    return part.partition(b"\0")[0]


def number(part: bytes) -> int:
    """Octal digits, or a binary number when the first bit is set; raises `ValueError`."""
    if part[0] & 0x80:
        top = 1 << (8 * len(part) - 1)
        value = int.from_bytes(part, "big") & (top - 1)
        value -= top if part[0] & 0x40 else 0
        if not -(1 << 63) <= value < 1 << 63:
            raise ValueError(f"{part!r} is too large a number")
        return value
    digits = _text(part.strip(b"\0 ")) or b"0"
    if digits.strip(b"01234567"):
        raise ValueError(f"{digits!r} is not an octal number")
    return int(digits, 8)


def parse_time(value: bytes) -> int:
    """Seconds with a fraction as nanoseconds; raises `ValueError`."""
    seconds, _, fraction = value.partition(b".")
    if fraction and not fraction.isdigit():
        raise ValueError(f"{value!r} is not a time")
    rest = int(fraction[:9].ljust(9, b"0") or 0)
    return int(seconds) * _SECOND + (-rest if seconds.startswith(b"-") else rest)


def format_time(time: int) -> bytes:
    """Nanoseconds as seconds, with a fraction where there is one."""
    seconds, rest = divmod(abs(time), _SECOND)
    sign = b"-" if time < 0 else b""
    return sign + (b"%d.%09d" % (seconds, rest)).rstrip(b"0") if rest else sign + b"%d" % seconds
