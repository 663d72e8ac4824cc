"""MergeOp, DiffOp, PassthroughOp and BuildOp: vertices that combine others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from buildkit.core.errors import InvalidInput
from buildkit.llb import caps
from buildkit.llb.constraints import Constraints, Options, constraints_of
from buildkit.llb.state import State, scratch
from buildkit.llb.vertex import Encoded, Marshalling, Output

_NOTHING = -1
_SELF = -1


class MergeOp:
    """Filesystems on top of each other."""

    def __init__(self, inputs: Sequence[Output], constraints: Constraints) -> None:
        self._inputs = tuple(inputs)
        self.constraints = constraints.requiring(caps.MERGE_OP)

    def inputs(self) -> Sequence[Output]:
        """Lowest first."""
        return self._inputs

    def encode(self, marshalling: Marshalling) -> Encoded:
        """See `Vertex.encode`."""
        op = marshalling.op(self.constraints, platform=False)
        op.merge.SetInParent()
        for number, output in enumerate(self._inputs):
            op.inputs.append(marshalling.input(output))
            op.merge.inputs.add(input=number)
        return marshalling.finish(op, self.constraints)


class DiffOp:
    """What must be put on ``lower`` to get ``upper``."""

    def __init__(self, lower: Output | None, upper: Output | None, constraints: Constraints) -> None:
        self._lower = lower
        self._upper = upper
        self.constraints = constraints.requiring(caps.DIFF_OP)

    def inputs(self) -> Sequence[Output]:
        """Lower, upper; empty ones left out."""
        return [output for output in (self._lower, self._upper) if output is not None]

    def encode(self, marshalling: Marshalling) -> Encoded:
        """See `Vertex.encode`."""
        op = marshalling.op(self.constraints, platform=False)
        for message, output in ((op.diff.lower, self._lower), (op.diff.upper, self._upper)):
            message.SetInParent()
            message.input = _NOTHING if output is None else len(op.inputs)
            if output is not None:
                op.inputs.append(marshalling.input(output))
        return marshalling.finish(op, self.constraints)


class PassthroughOp:
    """Hands on ``kept`` of its inputs, after all of them were made."""

    def __init__(self, id: str, inputs: Sequence[Output], kept: Sequence[int], constraints: Constraints) -> None:
        self._id = id
        self._inputs = tuple(inputs)
        self._kept = tuple(kept)
        self.constraints = constraints.requiring(caps.PASSTHROUGH_OP)

    def inputs(self) -> Sequence[Output]:
        """In the order given."""
        return self._inputs

    def encode(self, marshalling: Marshalling) -> Encoded:
        """See `Vertex.encode`."""
        if not self._inputs:
            raise InvalidInput("passthrough must have at least one input")
        if not self._id:
            raise InvalidInput("passthrough requires an id")
        if not self._kept:
            raise InvalidInput("passthrough must have at least one output")
        op = marshalling.op(self.constraints, platform=False)
        op.inputs.extend(marshalling.input(output) for output in self._inputs)
        op.passthrough.id = self._id
        op.passthrough.outputs.extend(self._kept)
        return marshalling.finish(op, self.constraints)


class BuildOp:
    """Solves the definition that is in a file of its input."""

    def __init__(self, source: Output, filename: str, constraints: Constraints) -> None:
        self._source = source
        self._filename = filename
        self.constraints = constraints.requiring(caps.BUILD_OP_LLB_FILENAME)

    def inputs(self) -> Sequence[Output]:
        """Where the definition is."""
        return (self._source,)

    def encode(self, marshalling: Marshalling) -> Encoded:
        """See `Vertex.encode`."""
        op = marshalling.op(self.constraints, platform=True)
        op.inputs.append(marshalling.input(self._source))
        op.build.builder = _SELF
        op.build.inputs["buildkit.llb.definition"].input = 0
        if self._filename:
            op.build.attrs["llbbuild.filename"] = self._filename
        return marshalling.finish(op, self.constraints)


def merge(inputs: Sequence[State], **options: Unpack[Options]) -> State:
    """Lay states on top of each other, lowest first; empty ones count for nothing."""
    states = [state for state in inputs if state.output is not None]
    if len(states) < 2:
        return states[0] if states else scratch()
    outputs = [state.output for state in states if state.output is not None]
    return states[0].with_output(Output(MergeOp(outputs, constraints_of(options))))


def diff(lower: State, upper: State, **options: Unpack[Options]) -> State:
    """The changes from ``lower`` to ``upper``, to be merged onto something."""
    if lower.output is None:
        return scratch() if upper.output is None else upper
    return lower.with_output(Output(DiffOp(lower.output, upper.output, constraints_of(options))))


def passthrough(id: str, state: State, *others: State, **options: Unpack[Options]) -> State:
    """``state``, made only after ``others``."""
    inputs = [s.output for s in (state, *others) if s.output is not None]
    kept = () if state.output is None else (0,)
    return state.with_output(Output(PassthroughOp(id, inputs, kept, constraints_of(options))))


def nested(definition: State, filename: str = "", **options: Unpack[Options]) -> State:
    """Solve the definition in a file of ``definition`` (by default ``buildkit.llb.definition``)."""
    if definition.output is None:
        raise InvalidInput("a nested build needs a filesystem that holds its definition")
    return definition.with_output(Output(BuildOp(definition.output, filename, constraints_of(options))))
