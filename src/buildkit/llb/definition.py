"""`Definition`: a graph written down, and the way there and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from buildkit.core.digest import Digest, sha256
from buildkit.core.errors import InvalidInput
from buildkit.core.platform import Platform, host_platform
from buildkit.llb import caps
from buildkit.llb.constraints import Constraints
from buildkit.llb.metadata import OpMetadata
from buildkit.llb.sourcemap import Location, SourceMap, SourceMapCollector
from buildkit.llb.state import State
from buildkit.llb.vertex import Encoded, Marshalling, Output, Vertex

if TYPE_CHECKING:
    from buildkit.api import ops_pb2 as pb


@dataclass(frozen=True, slots=True)
class Definition:
    """``pb.Definition`` as a value. The last of ``ops`` has no body and points at the result; none is empty."""

    ops: tuple[bytes, ...] = ()
    metadata: Mapping[Digest, OpMetadata] = field(default_factory=dict)
    source: SourceMap | None = None

    @property
    def head(self) -> Digest:
        """The digest of the op that makes the result, or an empty string."""
        from buildkit.api import ops_pb2 as pb

        if not self.ops:
            return ""
        last = pb.Op.FromString(self.ops[-1])
        return last.inputs[0].digest if last.inputs else ""

    def to_pb(self) -> pb.Definition:
        """The wire form."""
        from buildkit.api import ops_pb2 as pb

        out = pb.Definition()
        getattr(out, "def").extend(self.ops)
        for digest, metadata in self.metadata.items():
            out.metadata[digest].CopyFrom(metadata.to_pb())
        if self.source is not None:
            out.Source.CopyFrom(self.source.to_pb())
        return out

    @classmethod
    def from_pb(cls, message: pb.Definition) -> Definition:
        """Read the wire form."""
        return cls(
            tuple(getattr(message, "def")),
            {digest: OpMetadata.from_pb(metadata) for digest, metadata in message.metadata.items()},
            SourceMap.from_pb(message.Source) if message.HasField("Source") else None,
        )

    def to_bytes(self) -> bytes:
        """Serialize, equal bytes for equal definitions; raises `InvalidInput` for text that is not UTF-8."""
        try:
            return self.to_pb().SerializeToString(deterministic=True)
        except UnicodeEncodeError:
            raise InvalidInput(_NOT_UTF8) from None

    @classmethod
    def from_bytes(cls, content: bytes) -> Definition:
        """Parse what `to_bytes` or another client wrote; raises `InvalidInput`."""
        from google.protobuf.message import DecodeError

        from buildkit.api import ops_pb2 as pb

        try:
            return cls.from_pb(pb.Definition.FromString(content))
        except DecodeError as error:
            raise InvalidInput(f"not an LLB definition: {error}") from None


_NOT_UTF8 = "string field contains invalid UTF-8"


def marshal(state: State, known_caps: frozenset[str] | None, constraints: Constraints) -> Definition:
    """Write down the graph below ``state``, inputs before what reads them; raises `InvalidInput`."""
    from buildkit.api import ops_pb2 as pb

    if state.output is None:
        return Definition()
    marshalling = Marshalling(_defaults(state.marshal_defaults, constraints), known_caps)
    ops: dict[Digest, bytes] = {}
    metadata: dict[Digest, OpMetadata] = {}
    sources = SourceMapCollector()
    for vertex in _in_order(state.output.vertex):
        try:
            encoded = vertex.encode(marshalling)
        except UnicodeEncodeError:
            raise InvalidInput(_NOT_UTF8) from None
        marshalling.encoded[vertex] = encoded
        known = metadata.get(encoded.digest)
        metadata[encoded.digest] = encoded.metadata if known is None else known.merged(encoded.metadata)
        sources.add(encoded.digest, encoded.locations)
        ops.setdefault(encoded.digest, encoded.op)
    last = pb.Op(inputs=[marshalling.input(state.output)]).SerializeToString(deterministic=True)
    metadata[sha256(last)] = _required_by(metadata.values())
    return Definition((*ops.values(), last), metadata, sources.result())


def _defaults(of_state: Constraints, given: Constraints) -> Constraints:
    from buildkit.core.identity import new_id

    return Constraints(
        given.platform or of_state.platform or host_platform(),
        of_state.filters + given.filters,
        of_state.metadata.merged(given.metadata),
        given.local_unique_id or of_state.local_unique_id or new_id(),
    )


def _required_by(metadata: Sequence[OpMetadata] | object) -> OpMetadata:
    wanted = [caps.CONSTRAINTS, caps.PLATFORM]
    for m in metadata:  # type: ignore[attr-defined]
        if m.ignore_cache:
            wanted.append(caps.META_IGNORE_CACHE)
        if m.description:
            wanted.append(caps.META_DESCRIPTION)
        if m.export_cache is not None:
            wanted.append(caps.META_EXPORT_CACHE)
    return OpMetadata(caps=dict.fromkeys(wanted, True))


def _in_order(root: Vertex) -> list[Vertex]:
    """Depth first, inputs before users, each once; without recursion, for graphs of any depth."""
    order: list[Vertex] = []
    seen: set[Vertex] = set()
    todo: list[tuple[Vertex, bool]] = [(root, False)]
    while todo:
        vertex, ready = todo.pop()
        if ready:
            order.append(vertex)
        elif vertex not in seen:
            seen.add(vertex)
            todo.append((vertex, True))
            todo.extend((output.vertex, False) for output in reversed(vertex.inputs()) if output.vertex not in seen)
    return order


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
        from google.protobuf.message import DecodeError

        from buildkit.api import ops_pb2 as pb

        self.metadata = definition.metadata
        self.content = {sha256(op): op for op in definition.ops}
        try:
            self.ops = {digest: pb.Op.FromString(op) for digest, op in self.content.items()}
        except DecodeError as error:
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


def with_metadata(definition: Definition, metadata: Mapping[Digest, OpMetadata]) -> Definition:
    """The same ops with other metadata."""
    return replace(definition, metadata=metadata)
