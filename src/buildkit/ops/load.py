"""From a definition to an edge of the solver's graph."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from buildkit.api import ops as pb
from buildkit.core import wire
from buildkit.core.digest import Digest, sha256
from buildkit.core.entitlement import Grants
from buildkit.core.errors import BuildkitError, InvalidInput, VertexDetail
from buildkit.core.platform import Platform, host_platform, normalize
from buildkit.core.progress import ProgressGroup
from buildkit.core.values import dataclass
from buildkit.executor.settings import DeviceSettings
from buildkit.ops.caps import check_caps
from buildkit.ops.names import CUSTOM_NAME, op_name
from buildkit.ops.validate import check_entitlements, check_op
from buildkit.solver.graph import Edge, Op, Vertex, VertexOptions
from buildkit.store.refs import Ref

Result = Ref | None

Policy = Callable[[pb.Op], Awaitable[bool]]
"""Judges a source op and may change it in place: whether it did. Raises to deny."""


@dataclass(frozen=True, slots=True)
class Description:
    """One op of a definition, ready to be made into an op that runs."""

    op: pb.Op
    metadata: pb.OpMetadata
    name: str
    platform: Platform
    """Where it runs: the op's own platform in normal form, else this machine's."""


class Maker(Protocol):
    """Makes the ops of one definition; see `buildkit.ops.make.OpMaker`."""

    def make(self, description: Description) -> Op[Result]:
        """The op that does what is described."""

    def turn(self, description: Description) -> Callable[[], AbstractAsyncContextManager[Any]] | None:
        """What the op needs to hold while it executes."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What a definition may ask for."""

    entitlements: Grants = Grants()
    policy: Policy | None = None
    devices: DeviceSettings = DeviceSettings()
    """Where the devices are described that steps may be given."""


NOTHING_SPECIAL = Rules()
"""No entitlements, no policy."""


async def load(definition: pb.Definition, maker: Maker, rules: Rules = NOTHING_SPECIAL) -> Edge[Result]:
    """The edge that a definition describes.

    Raises `InvalidInput` or `PermissionDenied`, beginning with ``failed to load LLB: ``.
    """
    try:
        return await _load(definition, maker, rules)
    except BuildkitError as error:
        raise error.prefixed("failed to load LLB: ") from None


async def _load(definition: pb.Definition, maker: Maker, rules: Rules) -> Edge[Result]:
    if not getattr(definition, "def"):
        raise InvalidInput("invalid empty definition")
    ops, last = _parse(definition)
    renamed = await _apply_policy(ops, rules.policy)
    order = _in_order(ops)
    digests = _digests(ops, order, renamed)
    if len(ops) < 2:
        raise InvalidInput(f"invalid LLB with {len(ops)} vertexes")
    inputs = ops[last].inputs
    if not inputs:
        raise InvalidInput("invalid LLB with no inputs on last vertex")
    head = inputs[0]
    vertices: dict[Digest, Vertex[Result]] = {}
    for digest in _needed(ops, order, head.digest):
        metadata = definition.metadata[digest] if digest in definition.metadata else pb.OpMetadata()
        vertices[digest] = _vertex(ops[digest], metadata, digest, digests[digest], vertices, maker, rules)
    return Edge(vertices[head.digest], head.index)


def _parse(definition: pb.Definition) -> tuple[dict[Digest, pb.Op], Digest]:
    """Ops by the digest of their bytes, and which one ends the definition."""
    ops: dict[Digest, pb.Op] = {}
    last = ""
    for content in getattr(definition, "def"):
        try:
            op = pb.Op.FromString(content)
        except pb.DecodeError as error:
            raise InvalidInput(f"failed to parse llb proto op: {error}") from None
        for number, one in enumerate(op.inputs):
            if one.index < 0:
                raise InvalidInput(f"invalid input {number} output index {one.index}")
        last = sha256(content)
        ops[last] = op
    return ops, last


async def _apply_policy(ops: Mapping[Digest, pb.Op], policy: Policy | None) -> set[Digest]:
    """Have every source judged; gives those that were changed."""
    changed: set[Digest] = set()
    if policy is not None:
        for digest, op in ops.items():
            if op.WhichOneof("op") == "source":
                try:
                    if await policy(op):
                        changed.add(digest)
                except BuildkitError as error:
                    raise error.prefixed("error evaluating the source policy: ") from None
    return changed


def _in_order(ops: Mapping[Digest, pb.Op]) -> list[Digest]:
    """Inputs before their users, each once; raises `InvalidInput` for an input that is not there or is its own user."""
    order: list[Digest] = []
    state: dict[Digest, bool] = {}
    todo = [(digest, False) for digest in reversed(list(ops))]
    while todo:
        digest, seen = todo.pop()
        if seen:
            state[digest] = True
            order.append(digest)
            continue
        if digest in state:
            if not state[digest]:
                raise InvalidInput(f"invalid LLB: {digest} is an input of itself")
            continue
        if digest not in ops:
            raise InvalidInput(f"invalid missing input digest {digest}")
        state[digest] = False
        todo.append((digest, True))
        todo += [(one.digest, False) for one in reversed(ops[digest].inputs) if not state.get(one.digest, False)]
    return order


def _digests(ops: Mapping[Digest, pb.Op], order: Sequence[Digest], changed: set[Digest]) -> dict[Digest, Digest]:
    """The digest of each op as it is now, changes of its inputs included."""
    digests: dict[Digest, Digest] = {}
    for digest in order:
        op = ops[digest]
        renamed = [one for one in op.inputs if digests[one.digest] != one.digest]
        if not renamed and digest not in changed:
            digests[digest] = digest
            continue
        written = pb.Op()
        written.CopyFrom(op)
        for one in written.inputs:
            one.digest = digests[one.digest]
        digests[digest] = sha256(encode_op(written))
    return digests


def encode_op(op: pb.Op) -> bytes:
    """The bytes of an op as Go writes them: fields by number, maps sorted by key."""
    kind = op.WhichOneof("op")
    if kind != "source":
        return op.SerializeToString(deterministic=True)
    source = wire.text(1, op.source.identifier) + wire.mapping(2, {k: v.encode() for k, v in op.source.attrs.items()})
    rest = pb.Op()
    rest.CopyFrom(op)
    rest.ClearField("source")
    rest.ClearField("inputs")
    inputs = pb.Op(inputs=op.inputs).SerializeToString(deterministic=True)
    return inputs + wire.field(3, source) + rest.SerializeToString(deterministic=True)


def _needed(ops: Mapping[Digest, pb.Op], order: Sequence[Digest], head: Digest) -> list[Digest]:
    """What ``head`` depends on, itself included, inputs first."""
    needed = {head}
    for digest in reversed(order):
        if digest in needed:
            needed.update(one.digest for one in ops[digest].inputs)
    return [digest for digest in order if digest in needed]


def _vertex(
    op: pb.Op,
    metadata: pb.OpMetadata,
    client_digest: Digest,
    digest: Digest,
    vertices: Mapping[Digest, Vertex[Result]],
    maker: Maker,
    rules: Rules,
) -> Vertex[Result]:
    inputs = tuple(Edge(vertices[one.digest], one.index) for one in op.inputs)
    name = metadata.description.get(CUSTOM_NAME)
    try:
        check_op(op)
        name = name or op_name(op, [edge.vertex.name for edge in inputs])
        _check_wishes(op, metadata, rules)
    except BuildkitError as error:
        raise error.suffixed(f" ({name or client_digest})").detailed(VertexDetail(client_digest)) from None
    description = Description(op, metadata, name, _platform(op))
    return Vertex(
        digest=digest,
        name=name,
        resolve=lambda: maker.make(description),
        inputs=inputs,
        options=_options(metadata),
        client_digest=client_digest if client_digest != digest else "",
        turn=maker.turn(description),
    )


def _check_wishes(op: pb.Op, metadata: pb.OpMetadata, rules: Rules) -> None:
    """Raises for an op that asks for what it may not have, or what there is not."""
    check_caps(metadata.caps)
    check_entitlements(op, rules.entitlements)
    if op.WhichOneof("op") == "exec" and op.exec.cdiDevices:
        from buildkit.ops.devices import settle_devices

        settle_devices(op.exec, rules.entitlements, rules.devices)


def _platform(op: pb.Op) -> Platform:
    if not op.HasField("platform"):
        return host_platform()
    given = op.platform
    return normalize(Platform(given.OS, given.Architecture, given.Variant, given.OSVersion, tuple(given.OSFeatures)))


def _options(metadata: pb.OpMetadata) -> VertexOptions:
    group = None
    if metadata.HasField("progress_group"):
        given = metadata.progress_group
        group = ProgressGroup(given.id, given.name, given.weak)
    return VertexOptions(
        ignore_cache=metadata.ignore_cache,
        export_cache=metadata.export_cache.Value if metadata.HasField("export_cache") else None,
        description=dict(metadata.description),
        group=group,
        limits=metadata.linux_resources if metadata.HasField("linux_resources") else None,
    )
