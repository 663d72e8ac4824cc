from __future__ import annotations

import pytest

from buildkit.ops.clip import Clip


@pytest.fixture
def clipped(monkeypatch):
    """A clip of 100 bytes altogether and 20 a second, what it wrote, and its clock."""
    monkeypatch.setenv("BUILDKIT_STEP_LOG_MAX_SIZE", "100")
    monkeypatch.setenv("BUILDKIT_STEP_LOG_MAX_SPEED", "20")
    written, clock = [], [0.0]
    return Clip(lambda stream, content: written.append((stream, content)), lambda: clock[0]), written, clock


@pytest.mark.row("L111")
def test_output_beyond_the_speed_is_clipped_and_goes_on_later(clipped):
    clip, written, clock = clipped
    clock[0] = 0.5
    clip.write(1, b"x" * 30)
    clip.write(1, b"x" * 30)
    clock[0] = 3.5
    clip.write(1, b"y" * 10)
    assert written == [(1, b"x" * 20 + b"\n[output clipped, log limit 20B/s reached]\n"), (1, b"y" * 10)]


@pytest.mark.row("L111")
def test_output_beyond_the_size_is_clipped_for_good(clipped):
    clip, written, clock = clipped
    clock[0] = 1000
    clip.write(2, b"x" * 99)
    clip.write(2, b"y" * 2)
    clip.write(2, b"z")
    assert written == [(2, b"x" * 99), (2, b"y\n[output clipped, log limit 100B reached]\n")]


@pytest.mark.row("L112")
def test_the_tail_comes_along_when_a_step_fails(clipped):
    clip, written, clock = clipped
    clock[0] = 1000
    clip.write(1, b"x" * 101)
    clip.write(1, b"last")
    written.clear()
    clip.flush()
    clip.flush()
    assert written == [(1, b"x" * 101 + b"last")]


@pytest.mark.row("L111")
def test_limits_have_defaults_and_can_be_lifted(monkeypatch):
    written = []
    clip = Clip(lambda stream, content: written.append(content), lambda: 0.0)
    monkeypatch.setattr("buildkit.ops.clip.math.ceil", lambda _: 1)
    clip.write(1, b"x" * (300 << 10))
    assert written[0].endswith(b"log limit 200KiB/s reached]\n")
    monkeypatch.setenv("BUILDKIT_STEP_LOG_MAX_SPEED", "-1")
    clip = Clip(lambda stream, content: written.append(content), lambda: 0.0)
    clip.write(1, b"x" * (3 << 20))
    assert written[1].endswith(b"log limit 2MiB reached]\n")
    monkeypatch.setenv("BUILDKIT_STEP_LOG_MAX_SIZE", "-1")
    clip = Clip(lambda stream, content: written.append(content), lambda: 0.0)
    clip.write(1, b"x" * (3 << 20))
    assert len(written[2]) == 3 << 20
