"""What a daemon says of itself: its version and its workers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from buildkit.core.platform import Platform
from buildkit.core.values import dataclass, field

if TYPE_CHECKING:
    from buildkit.api import worker_pb2


@dataclass(frozen=True, slots=True)
class Version:
    """Which BuildKit it is."""

    package: str = ""
    version: str = ""
    revision: str = ""
    dockerfile: str = ""

    @classmethod
    def from_pb(cls, message: worker_pb2.BuildkitVersion) -> Version:
        """Read the wire form."""
        return cls(message.package, message.version, message.revision, message.dockerfileVersion)


@dataclass(frozen=True, slots=True)
class Device:
    """A device of a worker that builds may ask for."""

    name: str
    auto_allow: bool = False
    on_demand: bool = False
    annotations: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class KeepRule:
    """One rule of a worker's garbage collection: bytes and nanoseconds, 0 is no limit of that kind."""

    all: bool = False
    filters: tuple[str, ...] = ()
    keep_duration: int = 0
    reserved_space: int = 0
    max_used_space: int = 0
    min_free_space: int = 0


@dataclass(frozen=True, slots=True)
class WorkerRecord:
    """One worker of a daemon."""

    id: str
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    platforms: tuple[Platform, ...] = ()
    rules: tuple[KeepRule, ...] = ()
    version: Version = Version()
    devices: tuple[Device, ...] = ()

    @classmethod
    def from_pb(cls, message: worker_pb2.WorkerRecord) -> WorkerRecord:
        """Read the wire form."""
        return cls(
            message.ID,
            dict(message.Labels),
            tuple(
                Platform(p.OS, p.Architecture, p.Variant, p.OSVersion, tuple(p.OSFeatures)) for p in message.platforms
            ),
            tuple(
                KeepRule(
                    rule.all,
                    tuple(rule.filters),
                    rule.keepDuration,
                    rule.reservedSpace,
                    rule.maxUsedSpace,
                    rule.minFreeSpace,
                )
                for rule in message.GCPolicy
            ),
            Version.from_pb(message.BuildkitVersion),
            tuple(Device(d.Name, d.AutoAllow, d.OnDemand, dict(d.Annotations)) for d in message.CDIDevices),
        )
