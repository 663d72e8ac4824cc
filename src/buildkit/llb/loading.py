"""From a `Definition` back to a graph."""

from __future__ import annotations

from collections.abc import Sequence

from buildkit.core.digest import Digest, sha256
from buildkit.core.errors import InvalidInput
from buildkit.core.platform import Platform
from buildkit.llb.definition import Definition, Location
from buildkit.llb.metadata import OpMetadata
from buildkit.llb.state import State
from buildkit.llb.vertex import Encoded, Marshalling, Output


class DefinitionOp:
    """A vertex of a definition that came from elsewhere."""

    def __init__(self, graph: LoadedGraph, digest: Digest) -> None:
        self._graph = graph
        self._digest = digest

    def inputs(self) -> Sequence[Output]:
        """As its op says."""
        return [self._graph.output(i.digest, i.index) for i in self._graph.ops[self._digest].inputs]

    def encode(self, marshalling: Marshalling) -> Encoded:
        """The bytes as they came."""
        graph, digest = self._graph, self._digest
        return Encoded(digest, graph.content[digest], graph.metadata.get(digest, OpMetadata()), graph.places(digest))


class LoadedGraph:
    """The ops of a definition, parsed; raises `InvalidInput` when one points nowhere or the graph has a cycle."""

    def __init__(self, definition: Definition) -> None:
        from buildkit.api import ops as pb

        self.metadata = definition.metadata
        self.content = {sha256(op): op for op in definition.ops}
        try:
            self.ops = {digest: pb.Op.FromString(op) for digest, op in self.content.items()}
        except pb.DecodeError as error:
            raise InvalidInput(f"failed to parse llb proto op: {error}") from None
        self._source = definition.source
        self._vertices: dict[Digest, DefinitionOp] = {}
        for op in self.ops.values():
            for i in op.inputs:
                if i.digest not in self.ops:
                    raise InvalidInput(f'invalid definition op with unknown op "{i.digest}"')
                if i.index < 0:
                    raise InvalidInput("invalid definition op with invalid index")

    def output(self, digest: Digest, index: int) -> Output:
        """An output of one of its ops."""
        vertex = self._vertices.get(digest)
        if vertex is None:
            vertex = self._vertices[digest] = DefinitionOp(self, digest)
        return Output(vertex, index, self._platform_of(digest))

    def places(self, digest: Digest) -> tuple[Location, ...]:
        """The lines that made an op."""
        return () if self._source is None else self._source.locations_of(digest)

    def _platform_of(self, digest: Digest) -> Platform | None:
        op = self.ops[digest]
        if not op.HasField("platform"):
            return None
        p = op.platform
        return Platform(p.OS, p.Architecture, p.Variant, p.OSVersion, tuple(p.OSFeatures))


def load(definition: Definition) -> State:
    """Go on from a definition: a state whose graph it is; raises `InvalidInput`."""
    if not definition.ops:
        return State(None)
    graph = LoadedGraph(definition)
    last = graph.ops[sha256(definition.ops[-1])]
    if not last.inputs:
        raise InvalidInput("invalid LLB with no inputs on last vertex")
    return State(graph.output(last.inputs[0].digest, last.inputs[0].index))
