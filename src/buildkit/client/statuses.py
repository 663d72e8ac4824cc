"""``StatusResponse`` messages as progress updates (rows A20-A29)."""

from __future__ import annotations

from collections.abc import Callable

from buildkit.core.errors import Range, SourceDetail
from buildkit.core.progress import LogUpdate, ProgressGroup, StatusUpdate, Update, VertexUpdate, WarningUpdate
from buildkit.core.wire import read, read_text, signed


def updates_of(message: bytes) -> list[Update]:
    """The updates in one message: vertexes, statuses, logs, warnings; raises `InvalidInput`."""
    return [_READERS[number](content) for number, _, content in read(message) if number in _READERS]


def _time_of(content: bytes) -> int:
    """``google.protobuf.Timestamp`` in nanoseconds since the Unix epoch."""
    parts = {number: signed(value) for number, value, _ in read(content)}
    return parts.get(1, 0) * 10**9 + parts.get(2, 0)


def _vertex(content: bytes) -> VertexUpdate:
    texts, inputs, cached = dict[int, str](), list[str](), False
    started = completed = group = None
    for number, value, found in read(content):
        if number == 2:
            inputs.append(read_text(found))
        elif number == 4:
            cached = bool(value)
        elif number == 5:
            started = _time_of(found)
        elif number == 6:
            completed = _time_of(found)
        elif number == 8:
            group = _group(found)
        else:
            texts[number] = read_text(found)
    return VertexUpdate(
        texts.get(1, ""), texts.get(3, ""), tuple(inputs), started, completed, cached, texts.get(7, ""), group
    )


def _group(content: bytes) -> ProgressGroup:
    id, name, weak = "", "", False
    for number, value, found in read(content):
        if number == 1:
            id = read_text(found)
        elif number == 2:
            name = read_text(found)
        elif number == 3:
            weak = bool(value)
    return ProgressGroup(id, name, weak)


def _status(content: bytes) -> StatusUpdate:
    texts, counts, times = dict[int, str](), dict[int, int](), dict[int, int]()
    for number, value, found in read(content):
        if number <= 3:
            texts[number] = read_text(found)
        elif number <= 5:
            counts[number] = signed(value)
        elif number <= 8:
            times[number] = _time_of(found)
    return StatusUpdate(
        texts.get(2, ""),
        texts.get(1, ""),
        texts.get(3, ""),
        counts.get(4, 0),
        counts.get(5, 0),
        times.get(6, 0),
        times.get(7),
        times.get(8),
    )


def _log(content: bytes) -> LogUpdate:
    vertex, stream, output, timestamp = "", 0, b"", 0
    for number, value, found in read(content):
        if number == 1:
            vertex = read_text(found)
        elif number == 2:
            timestamp = _time_of(found)
        elif number == 3:
            stream = value
        elif number == 4:
            output = found
    return LogUpdate(vertex, stream, output, timestamp)


def _warning(content: bytes) -> WarningUpdate:
    vertex, level, short, url, detail = "", 0, b"", "", list[bytes]()
    source: SourceDetail | None = None
    ranges: list[Range] = []
    for number, value, found in read(content):
        if number == 1:
            vertex = read_text(found)
        elif number == 2:
            level = signed(value)
        elif number == 3:
            short = found
        elif number == 4:
            detail.append(found)
        elif number == 5:
            url = read_text(found)
        elif number == 6:
            source = _source(found)
        elif number == 7:
            ranges.append(_range(found))
    if source is not None:
        source = SourceDetail(source.filename, source.content, source.language, tuple(ranges), source.definition)
    return WarningUpdate(vertex, level, short, tuple(detail), url, source)


def _source(content: bytes) -> SourceDetail:
    parts = {number: found for number, _, found in read(content)}
    name, language = read_text(parts.get(1, b"")), read_text(parts.get(4, b""))
    return SourceDetail(name, parts.get(2, b""), language, (), parts.get(3, b""))


def _range(content: bytes) -> Range:
    places = {number: _position(found) for number, _, found in read(content)}
    return Range(*places.get(1, (0, 0)), *places.get(2, (0, 0)))


def _position(content: bytes) -> tuple[int, int]:
    parts = {number: signed(value) for number, value, _ in read(content)}
    return parts.get(1, 0), parts.get(2, 0)


_READERS: dict[int, Callable[[bytes], Update]] = {1: _vertex, 2: _status, 3: _log, 4: _warning}
