"""The live display, read back through a small terminal."""

from __future__ import annotations

import io
import re

import pytest
from tests.kit.progress_records import GOLDEN, Clock, play, records

from buildkit.cli.display.colors import Colors, read_colors
from buildkit.cli.display.screen import Screen
from buildkit.cli.display.tty import TTYDisplay
from buildkit.cli.units import format_bytes
from buildkit.core.progress import LogUpdate, StatusUpdate, VertexUpdate

SECOND = 1_000_000_000


class Console:
    """A display and what a terminal of 60 columns would show of it."""

    def __init__(self, height=24, width=60, **environment):
        self.raw, self.clock, self.height = io.BytesIO(), Clock(), height
        environment.setdefault("NO_COLOR", "1")
        self.display = TTYDisplay(self.raw, lambda: (width, self.height), environment=environment, clock=self.clock)

    def take(self, *updates, at=0.0):
        self.clock.now = int(at * SECOND)
        self.display.take(updates)
        self.display.refresh()
        return self.rows

    @property
    def rows(self):
        screen = Screen(200, self.display._width + 1)
        screen.write(self.raw.getvalue())
        return screen.rows


def vertex(name, started=None, completed=None, **more):
    times = (None if t is None else int(t * SECOND) for t in (started, completed))
    return VertexUpdate(name, name, (), *times, **more)


def line(left, timer):
    return left.ljust(59 - len(timer)) + timer


@pytest.mark.row("T96")
def test_a_finished_recording_shows_every_step_once_and_says_finished():
    console = Console()
    play(console.display, records("first"), console.clock)
    assert re.fullmatch(r"\[\+\] Building \d\.\ds \(10/10\) FINISHED", console.rows[0])
    assert sum(row.startswith(" => [base 3/4] RUN echo line out && echo err") for row in console.rows) == 1
    assert line(" => => transferring context: 1.98MB", "0.0s") in console.rows


@pytest.mark.row("T96", "T100")
def test_a_recorded_build_ends_with_the_screen_that_it_had():
    console = Console(width=80)
    play(console.display, records("live"), console.clock)
    expected = (GOLDEN / "live.txt").read_text().splitlines()
    assert console.rows[0].split("s (")[1] == expected[0].split("s (")[1] and console.rows[1:] == expected[1:]


@pytest.mark.row("T96")
def test_a_running_step_counts_up_in_place():
    console = Console()
    console.take(vertex("a", 0))
    assert console.take(at=2) == ["[+] Building 2.0s (0/1)", line(" => a", "2.0s")]


@pytest.mark.row("T96")
@pytest.mark.parametrize(
    ("more", "name"),
    [({"cached": True}, "CACHED a"), ({"error": "boom"}, "ERROR a"), ({"error": "context canceled"}, "CANCELED a")],
)
def test_a_step_says_how_it_ended(more, name):
    assert line(f" => {name}", "0.0s") in Console().take(vertex("a", 0, 0, **more))


@pytest.mark.row("T96", "T100")
def test_a_status_shows_its_sizes():
    rows = Console().take(vertex("a", 0), StatusUpdate("a", "s", "", 26, 54880, 0, 0))
    assert rows[2] == line(" => => s 26B / 54.88kB", "0.0s")


@pytest.mark.row("T96")
def test_a_talking_step_shows_its_last_lines():
    console = Console(BUILDKIT_TTY_LOG_LINES="7")
    lines = b"".join(b"line %d\n" % number for number in range(20))
    rows = console.take(vertex("a", 0), LogUpdate("a", 1, lines, 0))
    assert rows[2:] == [f" => => # line {number}" for number in range(14, 20)]


@pytest.mark.row("T96")
def test_finished_steps_give_way_to_running_ones_when_the_terminal_is_low():
    console = Console(height=6)
    rows = console.take(vertex("slow", 0), *(vertex(f"done{n}", 0, 1) for n in range(9)), at=1)
    assert rows[1].startswith(" => slow") and len(rows) == 5


@pytest.mark.row("T96")
def test_a_narrower_terminal_is_noticed():
    console = Console()
    console.take(vertex("a", 0))
    console.display._size = lambda: (30, 24)
    assert console.take()[-1] == " => a".ljust(25) + "0.0s"


def test_names_can_not_move_the_cursor():
    assert Console().take(vertex("a\x1b[5Ab\n", 0))[1].startswith(" => a [5Ab")


@pytest.mark.row("T95")
def test_the_log_of_a_failed_step_follows_the_block():
    console = Console()
    console.take(vertex("a", 0, 1, error="boom"), LogUpdate("a", 1, b"why\n", 0))
    console.display.finish()
    assert console.rows[-4:] == ["------", " > a:", "0.000 why", "------"]


@pytest.mark.row("T97")
def test_colors_follow_the_environment():
    assert read_colors({}) == (Colors("\x1b[34m", "\x1b[33m", "\x1b[33m", "\x1b[31m"), [])
    colors, complaints = read_colors({"BUILDKIT_COLORS": "run=light-green:error=255,0,43:warning=300,0,0:x=red"})
    assert (colors.run, colors.error, len(complaints)) == ("\x1b[92m", "\x1b[38;5;197m", 2)
    assert read_colors({"NO_COLOR": "1", "BUILDKIT_COLORS": "run=red"}) == (Colors("", "", "", ""), [])


@pytest.mark.row("T100")
@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0B"), (26, "26B"), (999, "999B"), (1000, "1.00kB"), (54880, "54.88kB"), (2_000_000, "2.00MB"), (-5, "-5B")],
)
def test_sizes_are_decimal(count, text):
    assert format_bytes(count) == text


@pytest.mark.parametrize(
    ("chunks", "rows"),
    [
        ([b"ab\rX\n"], ["Xb"]),
        ([b"10%\r", b"20%\r", b"100%"], ["100%"]),
        ([b"\x1b[3", b"1mred\x1b[0m"], ["red"]),
        ([b"one\ntwo\x1b[1A\rONE"], ["ONE", "two"]),
        ([b"gone\x1b[2K\rnew"], ["new"]),
        ([b"1\n2\n3\n4\n"], ["3", "4"]),
        ([b"abcdefghijKL"], ["abcdefghij", "KL"]),
        ([b"\xe2\x82", b"\xac"], ["€"]),
        ([b"\x1b]0;title\x07text"], ["text"]),
    ],
)
def test_a_screen_shows_what_a_terminal_would(chunks, rows):
    screen = Screen(3, 10)
    for chunk in chunks:
        screen.write(chunk)
    assert screen.rows == rows
