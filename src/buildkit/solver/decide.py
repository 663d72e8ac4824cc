"""Which inputs to ask next, and for what: the solver's only decision, without I/O.

An edge answers three questions, each costing more than the one before: which keys follow from definitions
alone, which keys can be known without its result, and what the result is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from enum import IntEnum

from buildkit.core.values import dataclass


class Level(IntEnum):
    """How much an edge has told, or is asked to tell."""

    UNASKED = 0
    DEFINED = 1
    """Keys that follow from definitions."""
    SETTLED = 2
    """All keys that can be known without the result."""
    RESULT = 3
    """The result; of an input: also the digest of its content, where the op wants one."""


@dataclass(frozen=True, slots=True)
class Probe:
    """What one input has told so far. Facts only accumulate."""

    ceiling: Level
    """RESULT if the op can digest this input's content, else SETTLED."""
    level: Level = Level.UNASKED
    matches: AbstractSet[str] = frozenset()
    """Keys of the asking edge that this input leads to."""


def next_step(probes: Sequence[Probe]) -> Mapping[int, Level]:
    """The inputs to ask while no record is found, by index. Empty: nothing more can be learned, so execute.

    First every definition. Then only the inputs that matched nothing. When all of them matched, but not
    together, the least known ones.
    """
    for probe in probes:
        if probe.level >= probe.ceiling and not probe.matches:
            return {}
    if unasked := [i for i, probe in enumerate(probes) if not probe.level]:
        return dict.fromkeys(unasked, Level.DEFINED)
    hungry = [i for i, probe in enumerate(probes) if not probe.matches]
    if hungry:
        return {i: Level(probes[i].level + 1) for i in hungry}
    growing = [i for i, probe in enumerate(probes) if probe.level < probe.ceiling]
    least = min((probes[i].level for i in growing), default=Level.RESULT)
    return {i: Level(least + 1) for i in growing if probes[i].level == least}
