"""What travels beside an op: hints for solving and showing it. No part of the op's digest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from buildkit.core import wire
from buildkit.core.values import dataclass, field, replace

if TYPE_CHECKING:
    from buildkit.api import ops as pb

CUSTOM_NAME = "llb.customname"
"""The description key whose value clients show as the vertex's name."""


@dataclass(frozen=True, slots=True)
class ProgressGroup:
    """Vertices that clients show as one; a ``weak`` group only when a member outside of it starts."""

    id: str
    name: str
    weak: bool = False


@dataclass(frozen=True, slots=True)
class LinuxResources:
    """Limits of one step's container; bytes, microseconds and CPU lists as in the OCI runtime spec; 0 is no limit."""

    memory: int = 0
    memory_swap: int = 0
    cpu_shares: int = 0
    cpu_period: int = 0
    cpu_quota: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""


@dataclass(frozen=True, slots=True)
class OpMetadata:
    """``pb.OpMetadata`` as a value. ``export_cache`` None leaves it to the build."""

    ignore_cache: bool = False
    description: Mapping[str, str] = field(default_factory=dict)
    export_cache: bool | None = None
    caps: Mapping[str, bool] = field(default_factory=dict)
    progress_group: ProgressGroup | None = None
    resources: LinuxResources | None = None

    def merged(self, over: OpMetadata) -> OpMetadata:
        """Both, where ``over`` wins."""
        return OpMetadata(
            self.ignore_cache or over.ignore_cache,
            {**self.description, **over.description},
            self.export_cache if over.export_cache is None else over.export_cache,
            {**self.caps, **dict.fromkeys(over.caps, True)},
            over.progress_group or self.progress_group,
            over.resources or self.resources,
        )

    def requiring(self, *caps: str) -> OpMetadata:
        """Add capabilities that a daemon must have to run this op."""
        return replace(self, caps={**self.caps, **dict.fromkeys(caps, True)}) if caps else self

    def write(self, out: pb.OpMetadata) -> None:
        """Fill an empty message."""
        out.ignore_cache = self.ignore_cache
        out.description.update(self.description)
        out.caps.update(self.caps)
        if self.export_cache is not None:
            out.export_cache.SetInParent()
            out.export_cache.Value = self.export_cache
        if (group := self.progress_group) is not None:
            shown = out.progress_group
            shown.SetInParent()
            shown.id, shown.name, shown.weak = group.id, group.name, group.weak
        if (r := self.resources) is not None:
            limits = out.linux_resources
            limits.SetInParent()
            limits.memory, limits.memorySwap, limits.cpuShares = r.memory, r.memory_swap, r.cpu_shares
            limits.cpuPeriod, limits.cpuQuota = r.cpu_period, r.cpu_quota
            limits.cpusetCpus, limits.cpusetMems = r.cpuset_cpus, r.cpuset_mems

    def to_bytes(self) -> bytes:
        """The wire form, serialized."""
        out = wire.number(1, self.ignore_cache)
        out += wire.mapping(2, {key: value.encode() for key, value in self.description.items()})
        if self.export_cache is not None:
            out += wire.field(4, wire.number(1, self.export_cache))
        out += wire.flags(5, self.caps)
        if (group := self.progress_group) is not None:
            out += wire.field(6, wire.text(1, group.id) + wire.text(2, group.name) + wire.number(3, group.weak))
        if (r := self.resources) is not None:
            numbers = (r.memory, r.memory_swap, r.cpu_shares, r.cpu_period, r.cpu_quota)
            limits = b"".join(wire.number(i, value) for i, value in enumerate(numbers, 1))
            out += wire.field(7, limits + wire.text(6, r.cpuset_cpus) + wire.text(7, r.cpuset_mems))
        return out

    @classmethod
    def from_pb(cls, message: pb.OpMetadata) -> OpMetadata:
        """Read the wire form."""
        group = resources = None
        if message.HasField("progress_group"):
            g = message.progress_group
            group = ProgressGroup(g.id, g.name, g.weak)
        if message.HasField("linux_resources"):
            r = message.linux_resources
            resources = LinuxResources(
                r.memory, r.memorySwap, r.cpuShares, r.cpuPeriod, r.cpuQuota, r.cpusetCpus, r.cpusetMems
            )
        return cls(
            message.ignore_cache,
            dict(message.description),
            message.export_cache.Value if message.HasField("export_cache") else None,
            dict(message.caps),
            group,
            resources,
        )


NO_METADATA = OpMetadata()
