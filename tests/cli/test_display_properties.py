"""Displays survive whatever a build prints."""

from __future__ import annotations

import io
import re
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from tests.kit.progress_records import Clock

from buildkit.cli.display.plain import PlainDisplay
from buildkit.cli.display.screen import Screen
from buildkit.cli.display.trace import merge_intervals
from buildkit.cli.display.tty import TTYDisplay
from buildkit.core.progress import LogUpdate, ProgressGroup, StatusUpdate, VertexUpdate, WarningUpdate

times = st.integers(0, 30)
moments = st.one_of(st.none(), times)
digests = st.sampled_from("abc")
names = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=30)
output = st.one_of(
    st.binary(max_size=40), st.sampled_from([b"\x1b[", b"\x1b[2J", b"\r\n", b"\x1b[99999999A", b"\x1b]0;"])
)
groups = st.one_of(st.none(), st.builds(ProgressGroup, st.just("g"), st.just("group"), st.booleans()))
updates = st.one_of(
    st.builds(VertexUpdate, digests, names, st.just(()), moments, moments, st.booleans(), names, groups),
    st.builds(StatusUpdate, digests, names, st.just(""), times, times, times, moments, moments),
    st.builds(LogUpdate, digests, st.just(1), output, times),
    st.builds(WarningUpdate, digests, st.just(1), names.map(str.encode)),
)
batches = st.lists(st.lists(updates, max_size=6), max_size=8)


@given(batches)
def test_plain_progress_takes_any_updates(given_batches):
    out, clock = io.BytesIO(), Clock()
    display = PlainDisplay(out, clock=clock)
    for batch in given_batches:
        clock.now += 1
        display.take(batch)
        display.refresh()
    display.finish()
    numbers = [int(n) for n in re.findall(rb"(?m)^#(\d+) ", out.getvalue())]
    assert list(dict.fromkeys(numbers)) == list(range(1, max(numbers, default=0) + 1))


@given(batches, st.integers(1, 100), st.integers(1, 30))
def test_live_progress_takes_any_updates_in_any_terminal(given_batches, width, height):
    out, clock = io.BytesIO(), Clock()
    display = TTYDisplay(out, lambda: (width, height), environment={}, clock=clock)
    for batch in given_batches:
        clock.now += 1
        display.take(batch)
        display.refresh()
        drawn = out.getvalue().rpartition(b"\x1b[?25l")[2]
        assert drawn.count(b"\n") <= max(height + 2, 3) + drawn.count(b" " * width + b"\n")
    display.finish()


@given(st.lists(output), st.integers(1, 5), st.integers(1, 12))
def test_a_screen_stays_within_its_size(chunks, height, width):
    screen = Screen(height, width)
    for chunk in chunks:
        screen.write(chunk)
    assert len(screen.rows) <= height and all(len(row) <= width for row in screen.rows)
    assert not any(character < " " or character == "\x7f" for row in screen.rows for character in row)


@given(st.lists(st.tuples(times, moments).map(lambda pair: (pair[0], pair[1] and max(pair)))))
def test_merged_intervals_cover_the_same_time_without_overlap(intervals):
    def covered(spans):
        return {t for start, stop in spans for t in range(start, 40 if stop is None else stop)}

    merged = merge_intervals(intervals)
    assert covered(merged) == covered(intervals)
    assert all(a[1] is not None and a[1] < b[0] for a, b in pairwise(merged))
