"""The daemon's configuration as values: ``buildkitd.toml``, over which the command line is laid."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from buildkit.core.errors import InvalidInput
from buildkit.core.values import dataclass, field
from buildkit.daemon.amounts import Space
from buildkit.daemon.traces import Destination
from buildkit.executor.hosts import Dns
from buildkit.executor.settings import DeviceSettings, NetworkSettings
from buildkit.oci.hosts import HostConfig


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Paths of PEM files. With an authority, clients must show a certificate that it signed."""

    certificate: str = ""
    key: str = ""
    authority: str = ""


@dataclass(frozen=True, slots=True)
class PolicyRule:
    """One ``[[worker.oci.gcpolicy]]``; durations in seconds."""

    all: bool = False
    filters: tuple[str, ...] = ()
    keep_duration: float = 0.0
    reserved_space: Space = Space()
    max_used_space: Space = Space()
    min_free_space: Space = Space()


@dataclass(frozen=True, slots=True)
class GcConfig:
    """Garbage collection. ``rules`` replace the built-in ones; the limits shape those."""

    enabled: bool = True
    rules: tuple[PolicyRule, ...] = ()
    reserved_space: Space = Space()
    max_used_space: Space = Space()
    min_free_space: Space = Space()


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """``[worker.oci]``."""

    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    platforms: tuple[str, ...] = ()
    snapshotter: str = "auto"
    network: NetworkSettings = field(default_factory=NetworkSettings)
    binary: str = ""
    cgroup_parent: str = ""
    apparmor_profile: str = ""
    max_parallelism: int = 0
    gc: GcConfig = GcConfig()


@dataclass(frozen=True, slots=True)
class HistoryConfig:
    """How long finished builds are remembered: what is older (seconds) and beyond the newest ``entries`` goes."""

    max_age: float = 48 * 3600.0
    max_entries: int = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonConfig:
    """Everything that can be configured."""

    root: Path
    addresses: tuple[str, ...]
    debug_address: str = ""
    """Where to tell what goes on inside; "" for nowhere."""
    uid: int | None = None
    gid: int | None = None
    """Owners of unix sockets."""
    tls: TlsFiles = TlsFiles()
    log_level: str = "info"
    log_format: str = "text"
    entitlements: frozenset[str] = frozenset()
    devices: DeviceSettings | None = DeviceSettings()
    """None: steps are given no devices."""
    worker: WorkerConfig = WorkerConfig()
    registries: Mapping[str, HostConfig] = field(default_factory=dict[str, HostConfig])
    dns: Dns = field(default_factory=Dns)
    history: HistoryConfig = HistoryConfig()
    disabled_frontends: frozenset[str] = frozenset()
    trace_socket: str = "/run/buildkit/otel-grpc.sock"
    """Where steps may send spans, if there is a collector for them."""
    traces: Destination | None = None
    """The collector of spans."""
    environment: Path | None = None
    """The folder of what provenance says of this place; see `buildkit.daemon.environment`."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where the daemon keeps things when nobody says otherwise."""

    root: Path
    config: Path
    address: str


def default_places(environ: Mapping[str, str], uid: int) -> Places:
    """For root the system's folders, for anyone else the user's own."""
    if uid == 0:
        return Places(
            Path("/var/lib/buildkit"), Path("/etc/buildkit/buildkitd.toml"), "unix:///run/buildkit/buildkitd.sock"
        )
    home = Path(environ.get("HOME", "/"))
    state = Path(environ.get("XDG_DATA_HOME") or home / ".local/share")
    config = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    runtime = Path(environ.get("XDG_RUNTIME_DIR") or f"/run/user/{uid}")
    return Places(state / "buildkit", config / "buildkit/buildkitd.toml", f"unix://{runtime}/buildkit/buildkitd.sock")


def group_id(text: str) -> int:
    """The number of a group given by name or number; raises `InvalidInput`."""
    if text.isdigit():
        return int(text)
    import grp

    try:
        return grp.getgrnam(text).gr_gid
    except KeyError:
        raise InvalidInput(f"group {text} not found") from None


def disk_size(path: Path) -> int:
    """Bytes of the disk that ``path`` is on; 0 if it cannot be asked."""
    try:
        found = os.statvfs(path)
    except OSError:
        return 0
    return found.f_blocks * found.f_frsize
