"""The daemon's command line: ``--flag value`` and ``--flag=value``, laid over the configuration file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from buildkit.core.entitlement import parse_entitlement
from buildkit.core.errors import BuildkitError, InvalidInput, Unsupported
from buildkit.core.gobool import FALSE, TRUE
from buildkit.core.values import dataclass, field, replace
from buildkit.daemon.amounts import Space
from buildkit.daemon.config import DaemonConfig, GcConfig, TlsFiles, WorkerConfig, group_id
from buildkit.executor.settings import DeviceSettings, NetworkSettings


class BadUsage(BuildkitError):
    """A command line that makes no sense."""


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag: ``text``, ``list`` or ``bool``; ``missing`` is what it would do if it were built."""

    name: str
    summary: str
    kind: str = "text"
    missing: str = ""
    harmless: tuple[str, ...] = ()
    """Values that ask for nothing, for a flag that is not built."""
    variable: str = ""
    """The environment variable that stands in for it."""


_CONTAINERD = "the containerd worker"

FLAGS = (
    Flag("config", "path of the configuration file"),
    Flag("root", "folder of the state"),
    Flag("addr", "address to listen on: unix://…, tcp://…, fd://", "list"),
    Flag("group", "group (name or number) that owns unix sockets"),
    Flag("debug", "log everything", "bool"),
    Flag("trace", "log everything", "bool"),
    Flag("log-level", "trace, debug, info, warn, error or fatal", variable="BUILDKITD_LOG_LEVEL"),
    Flag("log-format", "text or json"),
    Flag("tlscert", "certificate (PEM)"),
    Flag("tlskey", "key of the certificate (PEM)"),
    Flag("tlscacert", "authority that clients' certificates must come from (PEM)"),
    Flag("allow-insecure-entitlement", "what builds may be granted: network.host, security.insecure", "list"),
    Flag("oci-worker", "true, false or auto", harmless=("true", "auto")),
    Flag("oci-worker-labels", "label of the worker: name=value", "list"),
    Flag("oci-worker-snapshotter", "auto, overlayfs or native"),
    Flag("oci-worker-platform", "platform that the worker offers", "list"),
    Flag("oci-worker-net", "network of steps: auto, host, none, cni or bridge"),
    Flag("oci-worker-binary", "OCI runtime"),
    Flag("oci-worker-gc", "remove what is not used any more", "bool"),
    Flag("oci-worker-gc-keepstorage", "MB to keep: Reserved[,Free[,Maximum]]"),
    Flag("oci-max-parallelism", "steps that run at once; 0 is as many as there are processors"),
    Flag("rootless", "run without root", "bool", "running without root"),
    Flag("oci-worker-rootless", "run without root", "bool", "running without root"),
    Flag("oci-worker-no-process-sandbox", "share processes with steps", "bool", "steps in the host's processes"),
    Flag("oci-worker-apparmor-profile", "AppArmor profile of steps"),
    Flag("oci-worker-selinux", "SELinux labels for steps", "bool", "SELinux"),
    Flag("oci-worker-proxy-snapshotter-path", "socket of a snapshotter", missing="snapshotters behind a socket"),
    Flag("oci-cni-config-path", "configuration of CNI (/etc/buildkit/cni.json)"),
    Flag("oci-cni-binary-dir", "folder of CNI's plugins"),
    Flag("oci-cni-pool-size", "networks kept ready"),
    Flag("proxy-network", "watch the network of steps", "bool", "the proxy network"),
    Flag("otel-socket-path", "socket for traces of steps"),
    Flag("cdi-disabled", "give no devices to steps", "bool"),
    Flag("cdi-spec-dir", "folder of devices (CDI)", "list"),
    Flag("save-cache-debug", "remember what cache keys are made of", "bool", "remembering cache keys"),
    Flag("debugaddr", "address for debugging", variable="BUILDKITD_DEBUGADDR"),
    Flag("containerd-worker", "true, false or auto", missing=_CONTAINERD, harmless=("false", "auto")),
    Flag("help", "show this", "bool"),
    Flag("version", "show the version", "bool"),
)
_IGNORED_PREFIX = "containerd-"
"""Settings of a worker that is off say nothing."""
_SHORT = {"h": "help", "v": "version"}


@dataclass(frozen=True, slots=True)
class Given:
    """What the command line says."""

    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])

    def last(self, name: str) -> str | None:
        """The value of a flag; the last one counts."""
        found = self.values.get(name)
        return found[-1] if found else None

    def all(self, name: str) -> tuple[str, ...]:
        """Every value of a flag that may be repeated."""
        return self.values.get(name, ())

    def on(self, name: str) -> bool:
        """Whether a bool is set."""
        return self.last(name) == "true"


def parse_flags(arguments: Sequence[str], environ: Mapping[str, str]) -> Given:
    """Raises `BadUsage`, and `Unsupported` for what is known and not built."""
    known = {flag.name: flag for flag in FLAGS}
    values: dict[str, list[str]] = {}
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-") or word == "-":
            raise BadUsage(f"unexpected word: {word}")
        name, equals, value = word.lstrip("-").partition("=")
        name = _SHORT.get(name, name)
        flag = known.get(name)
        if flag is None and name.startswith(_IGNORED_PREFIX):
            flag = Flag(name, "", "bool" if name.endswith(("-gc", "-rootless", "-selinux")) else "text")
        if flag is None:
            raise BadUsage(f"flag provided but not defined: -{name}")
        if flag.kind == "bool":
            value = _truth(flag, value if equals else "true")
        elif not equals:
            if not rest:
                raise BadUsage(f"flag needs an argument: --{name}")
            value = rest.pop(0)
        if flag.missing and value not in ("", "false", *flag.harmless):
            raise Unsupported(f"--{name}: {flag.missing} is not supported yet")
        values.setdefault(name, []).append(value)
    for flag in FLAGS:
        if flag.variable and environ.get(flag.variable) and flag.name not in values:
            if flag.missing:
                raise Unsupported(f"${flag.variable}: {flag.missing} is not supported yet")
            values[flag.name] = [environ[flag.variable]]
    return Given({name: tuple(found) for name, found in values.items()})


def _truth(flag: Flag, text: str) -> str:
    if text in TRUE:
        return "true"
    if text in FALSE:
        return "false"
    raise BadUsage(f'invalid boolean value "{text}" for --{flag.name}')


def overlay(given: Given, config: DaemonConfig) -> DaemonConfig:
    """The configuration with what the command line says; raises `InvalidInput`."""
    if given.last("oci-worker") not in (None, "true", "auto"):
        raise InvalidInput("no worker found, rebuild the buildkit daemon?")
    tls = config.tls
    entitlements = given.all("allow-insecure-entitlement")
    group = given.last("group")
    level = given.last("log-level") or config.log_level
    root = given.last("root")
    return replace(
        config,
        root=Path(root) if root else config.root,
        addresses=given.all("addr") or config.addresses,
        debug_address=given.last("debugaddr") or config.debug_address,
        gid=group_id(group) if group else config.gid,
        tls=TlsFiles(
            given.last("tlscert") or tls.certificate,
            given.last("tlskey") or tls.key,
            given.last("tlscacert") or tls.authority,
        ),
        log_level="trace" if given.on("trace") else "debug" if given.on("debug") else level,
        log_format=given.last("log-format") or config.log_format,
        entitlements=frozenset(map(parse_entitlement, entitlements)) if entitlements else config.entitlements,
        devices=_devices(given, config.devices),
        trace_socket=given.last("otel-socket-path") or config.trace_socket,
        worker=_worker(given, config.worker),
    )


def _devices(given: Given, devices: DeviceSettings | None) -> DeviceSettings | None:
    if given.last("cdi-disabled") is not None:
        devices = None if given.on("cdi-disabled") else devices or DeviceSettings()
    directories = given.all("cdi-spec-dir")
    return replace(devices, spec_dirs=directories) if devices and directories else devices


def _worker(given: Given, worker: WorkerConfig) -> WorkerConfig:
    labels = dict(worker.labels)
    for text in given.all("oci-worker-labels"):
        for pair in text.split(","):
            name, equals, value = pair.partition("=")
            if not equals:
                raise InvalidInput(f'label "{pair}" is not name=value')
            labels[name] = value
    parallelism = given.last("oci-max-parallelism")
    if parallelism is not None and not parallelism.isdigit():
        raise InvalidInput(f"--oci-max-parallelism: {parallelism} is not a number")
    platforms = tuple(one for text in given.all("oci-worker-platform") for one in text.split(","))
    return replace(
        worker,
        labels=labels,
        platforms=platforms or worker.platforms,
        snapshotter=given.last("oci-worker-snapshotter") or worker.snapshotter,
        network=_network(given, worker.network),
        binary=given.last("oci-worker-binary") or worker.binary,
        apparmor_profile=given.last("oci-worker-apparmor-profile") or worker.apparmor_profile,
        max_parallelism=worker.max_parallelism if parallelism is None else int(parallelism),
        gc=_gc(given, worker.gc),
    )


def _network(given: Given, network: NetworkSettings) -> NetworkSettings:
    plugins, size = given.last("oci-cni-binary-dir"), given.last("oci-cni-pool-size")
    if size is not None and not size.isdigit():
        raise InvalidInput(f"--oci-cni-pool-size: {size} is not a number")
    return replace(
        network,
        mode=given.last("oci-worker-net") or network.mode,
        config=given.last("oci-cni-config-path") or network.config,
        plugins=(plugins,) if plugins else network.plugins,
        pool_size=network.pool_size if size is None else int(size),
    )


def _gc(given: Given, gc: GcConfig) -> GcConfig:
    if given.last("oci-worker-gc") is not None:
        gc = replace(gc, enabled=given.on("oci-worker-gc"))
    text = given.last("oci-worker-gc-keepstorage")
    if not text:
        return gc
    numbers = text.split(",")
    if len(numbers) > 3 or not all(number.strip().isdigit() for number in numbers if number):
        raise InvalidInput(f"--oci-worker-gc-keepstorage: {text} is not Reserved[,Free[,Maximum]] in MB")
    reserved, free, most = (Space(int(n or 0) * 10**6) for n in (*numbers, "", "")[:3])
    return replace(gc, reserved_space=reserved, min_free_space=free, max_used_space=most)


def usage_text() -> str:
    """What ``--help`` prints."""
    width = max(len(flag.name) for flag in FLAGS)
    lines = ["usage: buildkitd [flags]", "", "Flags:"]
    for flag in FLAGS:
        note = " (not supported yet)" if flag.missing else ""
        lines.append(f"  --{flag.name:<{width}}  {flag.summary}{note}")
    return "\n".join(lines) + "\n"
