"""Vertices and their outputs: the graph that states are built on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from buildkit.core import wire
from buildkit.core.digest import Digest, sha256
from buildkit.core.errors import Internal, InvalidInput
from buildkit.core.platform import Platform
from buildkit.core.values import dataclass
from buildkit.llb.callers import Programs
from buildkit.llb.constraints import Constraints
from buildkit.llb.metadata import NO_METADATA, OpMetadata

if TYPE_CHECKING:
    from buildkit.api import ops as pb
    from buildkit.llb.definition import Location


_FIELDS = {"exec": 2, "file": 4, "build": 5, "merge": 6, "diff": 7, "passthrough": 8}


class Encoded(NamedTuple):
    """An op as it stands in a definition."""

    digest: Digest
    op: bytes
    metadata: OpMetadata
    locations: tuple[Location, ...]


class Vertex(Protocol):
    """An op in the making. Compared by identity."""

    def inputs(self) -> Sequence[Output]:
        """The outputs it reads, in the order in which a definition lists their ops."""
        ...

    def encode(self, marshalling: Marshalling) -> Encoded:
        """Its bytes; all inputs are encoded already. Raises `InvalidInput`."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Output:
    """One filesystem that a vertex makes. ``platform`` is set where the vertex decides it."""

    vertex: Vertex
    index: int = 0
    platform: Platform | None = None


class Late:
    """Stands for an output that is named before it is known: hand out ``output``, set ``target`` before marshalling."""

    def __init__(self) -> None:
        self.output = Output(self)
        self.target: Output | None = None

    def inputs(self) -> Sequence[Output]:
        """Never asked: see `known`."""
        raise Internal("a late output stands for its target")

    def encode(self, marshalling: Marshalling) -> Encoded:
        """Never asked: see `known`."""
        raise Internal("a late output stands for its target")


def known(output: Output) -> Output:
    """The output itself, or what a `Late` one stands for; raises `InvalidInput` when that is empty."""
    while isinstance(output.vertex, Late):
        if output.vertex.target is None:
            raise InvalidInput("an empty filesystem can not be read from")
        output = output.vertex.target
    return output


class Marshalling:
    """One run of turning a graph into a definition: its defaults, and the ops encoded so far, by identity."""

    def __init__(
        self, defaults: Constraints, known_caps: frozenset[str] | None, programs: Programs | None = None
    ) -> None:
        self.defaults = defaults
        self.known_caps = known_caps
        """What the daemon can do, or None when nobody asked it."""
        self._programs = programs
        self.encoded: dict[Vertex, Encoded] = {}

    def input(self, output: Output) -> pb.Input:
        """The reference to an output of an encoded vertex."""
        from buildkit.api import ops as pb

        output = known(output)
        return pb.Input(digest=self.encoded[output.vertex].digest, index=output.index)

    def op(self, constraints: Constraints, *, platform: bool) -> pb.Op:
        """An op without a body: constraints, and the platform when ``platform``."""
        from buildkit.api import ops as pb

        op = pb.Op(constraints=pb.WorkerConstraints(filter=self.defaults.filters + constraints.filters))
        if platform:
            where = constraints.platform or self.defaults.platform
            if where is None:
                raise Internal("an op with a platform needs a default platform")
            op.platform.SetInParent()
            op.platform.OS = where.os
            op.platform.Architecture = where.architecture
            op.platform.Variant = where.variant
            op.platform.OSVersion = where.os_version
            op.platform.OSFeatures.extend(where.os_features)
        return op

    def finish(self, op: pb.Op, constraints: Constraints, body: bytes = b"") -> Encoded:
        """Serialize an op deterministically, its body last as Go does; ``body`` is one that is written already."""
        kind = op.WhichOneof("op")
        if kind is not None:
            body = wire.field(_FIELDS[kind], getattr(op, kind).SerializeToString(deterministic=True))
            op.ClearField(kind)
        content = op.SerializeToString(deterministic=True) + body
        metadata = constraints.metadata
        if self.defaults.metadata != NO_METADATA:
            metadata = self.defaults.metadata.merged(metadata)
        locations = constraints.locations
        if not locations and constraints.caller is not None and self._programs is not None:
            locations = (self._programs.location_of(constraints.caller),)
        return Encoded(sha256(content), content, metadata, locations)
