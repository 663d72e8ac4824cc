"""Vertices that wait for a place before they execute, and the limits that jobs give them."""

from __future__ import annotations

import asyncio

import pytest
from tests.kit.graphs import World, op_of, settled, vertex

from buildkit.core.values import replace
from buildkit.solver.graph import Edge


class Seen:
    """The progress of vertices by name."""

    def __init__(self):
        self.last = {}

    def write(self, update):
        self.last[update.name] = update

    def running(self):
        return sorted(name for name, one in self.last.items() if one.started and not one.completed)

    def ended(self):
        return sorted(name for name, one in self.last.items() if one.completed)


def in_turn(edge, places):
    """The edge of a vertex that executes in one of ``places``."""
    return Edge(replace(edge.vertex, turn=lambda: places))


def limited(edge, limits):
    return Edge(replace(edge.vertex, options=replace(edge.vertex.options, limits=limits)))


@pytest.mark.row("X76", "S40")
async def test_a_vertex_that_waits_for_its_turn_does_not_show_as_started():
    places, gate, seen = asyncio.Semaphore(1), asyncio.Event(), Seen()
    first = in_turn(vertex("a", "a", "a", before=gate.wait), places)
    second = in_turn(vertex("b", "b", "b", before=gate.wait), places)
    top = vertex("top", "top", "top", first, second)
    building = asyncio.ensure_future(World().build(top, progress=seen))
    await settled()
    assert len(seen.running()) == 1
    gate.set()
    await building
    assert seen.ended() == ["a", "b", "top"]
    assert not places.locked()


@pytest.mark.row("X76", "S41")
async def test_a_vertex_that_is_not_wanted_any_more_gives_up_its_place_in_the_queue():
    places, seen = asyncio.Semaphore(1), Seen()
    await places.acquire()
    edge = in_turn(vertex("a", "a", "a"), places)
    building = asyncio.ensure_future(World().build(edge, progress=seen))
    await settled()
    building.cancel()
    with pytest.raises(asyncio.CancelledError):
        await building
    assert seen.running() == []
    assert op_of(edge).executed == 0
    places.release()
    assert not places.locked()


@pytest.mark.row("X76")
async def test_what_comes_from_the_cache_waits_for_no_turn():
    world, places = World(), asyncio.Semaphore(1)
    await world.build(in_turn(vertex("a", "a", "a"), places))
    await places.acquire()
    assert await world.build(in_turn(vertex("a", "a", "a"), places)) == "a"


@pytest.mark.row("L13")
async def test_a_step_hears_the_limits_of_every_job_that_wants_it():
    heard, gate, world = [], asyncio.Event(), World()

    async def during(step):
        heard.append(step.limits())

    def wanted(limits):
        return limited(vertex("a", "a", "a", before=gate.wait, during=during), limits)

    building = [asyncio.ensure_future(world.build(wanted(limits))) for limits in (1, 2, None)]
    await settled()
    gate.set()
    await asyncio.gather(*building)
    assert heard == [(1, 2)]
