"""Plain progress, against recordings and by hand."""

from __future__ import annotations

import io
import re

import pytest
from tests.kit.progress_records import GOLDEN, Clock, play, records

from buildkit.cli.display.plain import PlainDisplay
from buildkit.core.progress import LogUpdate, ProgressGroup, StatusUpdate, VertexUpdate, WarningUpdate

SECOND = 1_000_000_000


def printed(*batches, at=()):
    """What plain progress prints of batches, each taken and shown at its own time (seconds)."""
    out, clock = io.BytesIO(), Clock()
    display = PlainDisplay(out, clock=clock)
    for index, batch in enumerate(batches):
        clock.now = int((at[index] if at else index) * SECOND)
        display.take(batch)
        display.refresh()
    display.finish()
    return out.getvalue().decode()


def vertex(name, started=None, completed=None, **more):
    times = (None if t is None else int(t * SECOND) for t in (started, completed))
    return VertexUpdate(name, name, (), *times, **more)


def log(name, content, at=0.0):
    return LogUpdate(name, 1, content, int(at * SECOND))


def replayed(name):
    out, clock = io.BytesIO(), Clock()
    play(PlainDisplay(out, clock=clock), records(name), clock)
    return out.getvalue().decode()


def blocks(text):
    return sorted(re.sub(r"(?m)^#\d+", "#", text).split("\n\n"))


@pytest.mark.row("T92", "T93")
def test_a_recorded_build_prints_as_it_did():
    assert replayed("first") == (GOLDEN / "first.txt").read_text()


@pytest.mark.row("T92", "T95")
def test_a_recorded_failure_prints_the_same_blocks_and_ends_with_ten_lines_of_log():
    text = replayed("failing")
    assert blocks(text) == blocks((GOLDEN / "failing.txt").read_text())
    assert text.endswith("0.069 line 13\n------\n") and text.split("------")[1].count("\n0.069 line") == 10


@pytest.mark.row("T93")
def test_log_times_lose_decimals_as_they_grow():
    logs = [log("a", b"x\n", at) for at in (1, 12.3456, 123.456)]
    assert "#1 1.000 x\n#1 12.35 x\n#1 123.5 x\n" in printed([vertex("a", 0), *logs])


@pytest.mark.row("T92")
def test_the_rest_of_an_open_line_continues_it():
    text = printed([vertex("a", 0), log("a", b"ab")], [log("a", b"cd\n")], [vertex("a", 0, 2)])
    assert text == "#1 a\n#1 0.000 abcd\n#1 DONE 2.0s\n"


@pytest.mark.row("T92")
def test_a_line_left_open_is_ended_by_the_end_of_its_vertex():
    assert printed([vertex("a", 0), log("a", b"ab")], [vertex("a", 0, 1)]) == "#1 a\n#1 0.000 ab\n#1 DONE 1.0s\n"


@pytest.mark.row("T92")
def test_dots_mark_a_vertex_that_loses_the_floor_while_it_runs():
    text = printed([vertex("a", 0), log("a", b"x\n")], [vertex("b", 0, 1)])
    assert text == "#1 a\n#1 0.000 x\n#1 ...\n\n#2 b\n#2 DONE 1.0s\n\n#1 a\n"


@pytest.mark.row("T92")
@pytest.mark.parametrize(
    ("more", "line"),
    [
        ({"cached": True}, "CACHED"),
        ({"error": "boom"}, "ERROR: boom"),
        ({"error": "x: context canceled"}, "CANCELED"),
        ({}, "DONE 0.5s"),
    ],
)
def test_a_vertex_ends_with_how_it_ended(more, line):
    assert f"#1 {line}\n" in printed([vertex("a", 0, 0.5, **more)])


@pytest.mark.row("T94")
def test_a_status_is_repeated_only_when_it_moved_enough():
    def status(current, at):
        return [StatusUpdate("a", "s", "", current, 1000, int(at * SECOND), 0)]

    text = printed([vertex("a", 0), *status(0, 0)], status(40, 1), status(60, 2), status(61, 8), at=(0, 1, 2, 8))
    shown = re.findall(r"#1 s (\S+) /", text)
    assert shown == ["0B", "60B", "61B"]


@pytest.mark.row("T94")
def test_a_vertex_that_waited_ten_seconds_gets_the_floor():
    busy = [[log("a", b"x\n", at)] for at in range(1, 12)]
    text = printed([vertex("a", 0), vertex("b", 0)], *busy, [log("a", b"y\n", 11.5), log("b", b"z\n", 11.5)])
    assert "#2 b" in text and "#2 11.50 z\n" in text


@pytest.mark.row("T92")
def test_a_warning_is_printed_once():
    warning = WarningUpdate("a", 1, b"Rule: text (line 5)")
    assert printed([vertex("a", 0), warning], [vertex("a", 0, 1)]).count("#1 WARN: Rule: text (line 5)\n") == 1


@pytest.mark.row("T99")
def test_a_group_is_one_vertex_and_cached_only_if_all_of_it_is():
    group = ProgressGroup("g", "the group")
    members = [vertex(name, 0, 1, cached=name == "m1", group=group) for name in ("m1", "m2")]
    assert printed(members) == "#1 the group\n#1 DONE 1.0s\n"


@pytest.mark.row("T99")
def test_a_group_of_weak_members_stays_hidden():
    weak = ProgressGroup("g", "the group", weak=True)
    assert printed([vertex("m", 0, 1, group=weak)]) == ""


@pytest.mark.row("T98")
def test_names_are_cut_only_when_asked(monkeypatch):
    name = "n" * 80
    assert f"#1 {name}\n" in printed([vertex(name, 0, 1)])
    monkeypatch.setenv("PROGRESS_NO_TRUNC", "0")
    assert f"#1 {'n' * 72}...\n" in printed([vertex(name, 0, 1)])
