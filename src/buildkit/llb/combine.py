"""States made of several others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from buildkit.core.errors import InvalidInput
from buildkit.llb.constraints import Options, constraints_of
from buildkit.llb.graph import BuildOp, DiffOp, MergeOp
from buildkit.llb.state import State, scratch
from buildkit.llb.vertex import Output


def merge(inputs: Sequence[State], **options: Unpack[Options]) -> State:
    """Lay states on top of each other, lowest first; empty ones count for nothing."""
    constraints = constraints_of(options)
    states = [state for state in inputs if state.output is not None]
    if len(states) < 2:
        return states[0] if states else scratch()
    outputs = [state.output for state in states if state.output is not None]
    return states[0].with_output(Output(MergeOp(outputs, constraints)))


def diff(lower: State, upper: State, **options: Unpack[Options]) -> State:
    """The changes from ``lower`` to ``upper``, to be merged onto something."""
    constraints = constraints_of(options)
    if lower.output is None:
        return scratch() if upper.output is None else upper
    return lower.with_output(Output(DiffOp(lower.output, upper.output, constraints)))


def nested(definition: State, filename: str = "", **options: Unpack[Options]) -> State:
    """Solve the definition in a file of ``definition`` (by default ``buildkit.llb.definition``)."""
    if definition.output is None:
        raise InvalidInput("a nested build needs a filesystem that holds its definition")
    return definition.with_output(Output(BuildOp(definition.output, filename, constraints_of(options))))
