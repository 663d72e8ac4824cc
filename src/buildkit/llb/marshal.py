"""From a graph to its `Definition`."""

from __future__ import annotations

from collections.abc import Iterable

from buildkit.core.digest import Digest, sha256
from buildkit.core.errors import InvalidInput, Range
from buildkit.core.platform import host_platform
from buildkit.llb import caps
from buildkit.llb.callers import Programs
from buildkit.llb.constraints import Constraints
from buildkit.llb.definition import NOT_UTF8, Definition, Location, SourceFile, SourceMap
from buildkit.llb.metadata import OpMetadata
from buildkit.llb.vertex import Marshalling, Output, Vertex, known


class SourceMapCollector:
    """Gathers the locations of ops while they are marshalled; files that are the same are kept once."""

    def __init__(self) -> None:
        self._files: list[SourceFile] = []
        self._index: dict[SourceFile, int] = {}
        self._locations: dict[Digest, tuple[tuple[int, tuple[Range, ...]], ...]] = {}

    def add(self, digest: Digest, locations: Iterable[Location]) -> None:
        """Note where an op comes from."""
        places = tuple((self._index_of(location.file), location.ranges) for location in locations)
        self._locations[digest] = self._locations.get(digest, ()) + places

    def result(self) -> SourceMap:
        """What was gathered."""
        return SourceMap(tuple(self._files), self._locations)

    def _index_of(self, file: SourceFile) -> int:
        index = self._index.get(file)
        if index is None:
            index = next((i for i, known in enumerate(self._files) if known.same(file)), len(self._files))
            if index == len(self._files):
                self._files.append(file)
            self._index[file] = index
        return index


def marshal(
    output: Output | None,
    known_caps: frozenset[str] | None,
    defaults: Constraints,
    given: Constraints,
    *,
    python_lines: bool = False,
) -> Definition:
    """Write down the graph below ``output``; ``given`` wins over ``defaults``. Inputs stand before what
    reads them; raises `InvalidInput`."""
    from buildkit.api import ops as pb

    if output is None:
        return Definition()
    marshalling = Marshalling(_defaults(defaults, given), known_caps, Programs() if python_lines else None)
    ops: dict[Digest, bytes] = {}
    metadata: dict[Digest, OpMetadata] = {}
    sources = SourceMapCollector()
    for vertex in _in_order(known(output).vertex):
        try:
            encoded = vertex.encode(marshalling)
        except UnicodeEncodeError:
            raise InvalidInput(NOT_UTF8) from None
        marshalling.encoded[vertex] = encoded
        earlier = metadata.get(encoded.digest)
        metadata[encoded.digest] = encoded.metadata if earlier is None else earlier.merged(encoded.metadata)
        sources.add(encoded.digest, encoded.locations)
        ops.setdefault(encoded.digest, encoded.op)
    last = pb.Op(inputs=[marshalling.input(output)]).SerializeToString(deterministic=True)
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


def _required_by(metadata: Iterable[OpMetadata]) -> OpMetadata:
    wanted = [caps.CONSTRAINTS, caps.PLATFORM]
    for m in metadata:
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
            inputs = (known(output).vertex for output in reversed(vertex.inputs()))
            todo.extend((v, False) for v in inputs if v not in seen)
    return order
