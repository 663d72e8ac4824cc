"""How an executor is configured, as values: cheap to import."""

from __future__ import annotations

from buildkit.core.values import dataclass, field
from buildkit.executor.hosts import Dns

RUNTIMES = ("crun", "buildkit-runc", "runc")
"""Names of runtimes looked for, the fastest first."""

PLUGIN_DIRECTORIES = ("/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni")
"""Where distributions put CNI plugins."""

DEVICE_DIRECTORIES = ("/etc/cdi", "/var/run/cdi", "/etc/buildkit/cdi")
"""Where CDI specifications are looked for; a later one wins."""


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    """The network of processes that ask for none in particular."""

    mode: str = ""
    """``auto`` (or ""), ``host``, ``none``, ``cni`` or ``bridge``; see `buildkit.executor.network.resolve_mode`."""
    config: str = "/etc/buildkit/cni.json"
    """The CNI configuration for ``cni``, and what makes ``auto`` choose it."""
    plugins: tuple[str, ...] = PLUGIN_DIRECTORIES
    """Directories of CNI plugins."""
    pool_size: int = 0
    """How many networks are kept ready; above that they are dropped after five minutes without use."""
    bridge: str = "buildkit0"
    """The device of ``bridge``."""
    subnet: str = "10.10.0.0/16"
    """The addresses of ``bridge``."""


@dataclass(frozen=True, slots=True)
class DeviceSettings:
    """Where devices are described (CDI), and which of them every build may have: names or kinds (``vendor/class``)."""

    spec_dirs: tuple[str, ...] = DEVICE_DIRECTORIES
    auto_allowed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything about an executor."""

    network: NetworkSettings = field(default_factory=NetworkSettings)
    dns: Dns = field(default_factory=Dns)
    cgroup_parent: str = ""
    runtimes: tuple[str, ...] = RUNTIMES
    apparmor_profile: str = ""
    """The AppArmor profile of processes that are not insecure; "" for none."""
    trace_socket: str = ""
    """Where processes may send spans (OTLP over gRPC); "" for nowhere."""
