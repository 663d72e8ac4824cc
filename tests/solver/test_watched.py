"""Looking at what the scheduler decides."""

from __future__ import annotations

import logging

import pytest
from tests.kit.graphs import World, vertex

from buildkit.solver.watched import ALL, SOME


@pytest.fixture
def moves(caplog):
    def found():
        return [one.getMessage() for one in caplog.records if one.name == "buildkit.solver.watched"]

    with caplog.at_level(logging.INFO, "buildkit.solver.watched"):
        yield found


async def build():
    w = World()
    top = vertex("top", "s1", "r1", vertex("middle", "s2", "r2", vertex("bottom", "s3", "r3")))
    assert await w.build(top) == "r1"


@pytest.mark.row("S45")
async def test_every_move_is_logged_when_the_environment_wants_it(moves, monkeypatch):
    monkeypatch.setenv(ALL, "1")
    await build()
    for name in ("top", "middle", "bottom"):
        assert any(f"{name!r} [0]: SETTLED -> SETTLED of RESULT" in one for one in moves())
    assert any("'top'" in one and "asks {0: 'SETTLED'}" in one for one in moves())


@pytest.mark.row("S45")
@pytest.mark.parametrize(
    ("wanted", "seen"), [("midd", {"middle"}), ("bottom^", {"bottom", "middle"}), ("top,bott", {"top", "bottom"})]
)
async def test_steps_are_chosen_by_their_names(moves, monkeypatch, wanted, seen):
    monkeypatch.setenv(SOME, wanted)
    await build()
    assert {one.split("'")[1] for one in moves()} == seen


@pytest.mark.parametrize("environ", [{}, {ALL: "0"}, {SOME: '"'}, {SOME: ""}])
async def test_nothing_is_logged_otherwise(moves, monkeypatch, environ):
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    await build()
    assert not any("edge" in one for one in moves())
