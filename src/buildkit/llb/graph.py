"""MergeOp, DiffOp, PassthroughOp and BuildOp: vertices that combine others."""

from __future__ import annotations

from collections.abc import Sequence

from buildkit.core.errors import InvalidInput
from buildkit.llb import caps
from buildkit.llb.constraints import Constraints
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
