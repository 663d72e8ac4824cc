"""The one decision, as a table."""

import pytest

from buildkit.solver.decide import Level, Probe, next_step

U, D, S, R = Level
hit, miss = frozenset({"k"}), frozenset()


@pytest.mark.row("S24")
@pytest.mark.parametrize(
    ("why", "probes", "step"),
    [
        ("every definition first", [Probe(S), Probe(S)], {0: D, 1: D}),
        ("content waits for every definition", [Probe(R, D, miss), Probe(S)], {1: D}),
        ("then only the input that matched nothing", [Probe(S, D, miss), Probe(S, D, hit)], {0: S}),
        ("an input that can tell no more ends it", [Probe(S, S, miss), Probe(R, D, hit)], {}),
        ("one is enough", [Probe(S, S, miss), Probe(R, D, miss)], {}),
        ("even before the others answered", [Probe(S, S, miss), Probe(S)], {}),
        ("the content of what matched nothing", [Probe(R, S, miss), Probe(R, D, hit)], {0: R}),
        ("matched, but not together", [Probe(R, D, hit), Probe(R, D, hit)], {0: S, 1: S}),
        ("the least known one first", [Probe(R, S, hit), Probe(R, D, hit)], {1: S}),
        ("nothing left to learn", [Probe(S, S, hit), Probe(R, R, hit)], {}),
    ],
)
def test_next_step(why, probes, step):
    assert next_step(probes) == step, why
