"""Vertices and their outputs: the graph that states are built on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from buildkit.core.digest import Digest, sha256
from buildkit.core.errors import Internal, InvalidInput
from buildkit.core.platform import Platform
from buildkit.core.values import dataclass
from buildkit.llb import wire
from buildkit.llb.constraints import Constraints
from buildkit.llb.metadata import NO_METADATA, OpMetadata

if TYPE_CHECKING:
    from buildkit.api import ops_pb2 as pb
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


class LateOutput(Output):
    """An output that is named before it is known; set ``target`` before marshalling."""

    __slots__ = ("target",)
    target: Output | None

    def __init__(self) -> None:
        object.__setattr__(self, "target", None)

    def set(self, target: Output | None) -> None:
        """Say what it is."""
        object.__setattr__(self, "target", target)

    @property
    def vertex(self) -> Vertex:
        """That of the target; raises `InvalidInput` when there is none."""
        return self._known().vertex

    @property
    def index(self) -> int:
        """That of the target."""
        return self._known().index

    @property
    def platform(self) -> Platform | None:
        """None: the settings of a state do not wait."""
        return None

    def _known(self) -> Output:
        if self.target is None:
            raise InvalidInput("an empty filesystem can not be read from")
        return self.target


class Marshalling:
    """One run of turning a graph into a definition: its defaults, and the ops encoded so far, by identity."""

    def __init__(self, defaults: Constraints, known_caps: frozenset[str] | None) -> None:
        self.defaults = defaults
        self.known_caps = known_caps
        """What the daemon can do, or None when nobody asked it."""
        self.encoded: dict[Vertex, Encoded] = {}

    def input(self, output: Output) -> pb.Input:
        """The reference to an output of an encoded vertex."""
        from buildkit.api import ops_pb2 as pb

        return pb.Input(digest=self.encoded[output.vertex].digest, index=output.index)

    def op(self, constraints: Constraints, *, platform: bool) -> pb.Op:
        """An op without a body: constraints, and the platform when ``platform``."""
        from buildkit.api import ops_pb2 as pb

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
        return Encoded(sha256(content), content, metadata, constraints.locations)
