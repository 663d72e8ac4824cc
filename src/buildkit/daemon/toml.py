"""``buildkitd.toml``, read into values (specification rows B30 to B47)."""

from __future__ import annotations

from pathlib import Path

from buildkit.core.entitlement import parse_entitlement
from buildkit.core.errors import InvalidInput, Unsupported
from buildkit.core.values import dataclass, replace
from buildkit.daemon.amounts import Space, parse_duration, parse_space
from buildkit.daemon.config import DaemonConfig, GcConfig, HistoryConfig, PolicyRule, TlsFiles, WorkerConfig
from buildkit.daemon.table import Table
from buildkit.executor.hosts import Dns
from buildkit.executor.settings import DEVICE_DIRECTORIES, DeviceSettings, NetworkSettings
from buildkit.oci.hosts import HostConfig, KeyPair

FRONTENDS = ("dockerfile.v0", "gateway.v0")


@dataclass(frozen=True, slots=True)
class Read:
    """A configuration, and names of keys that mean nothing."""

    config: DaemonConfig
    unknown: tuple[str, ...] = ()


def read_config(path: Path, start: DaemonConfig) -> Read:
    """What the file says, over ``start``; a file that is not there says nothing.

    Raises `InvalidInput` (``failed to parse config: …``) and `Unsupported` for what is asked for and not built.
    """
    try:
        text = path.read_text()
    except FileNotFoundError:
        return Read(start)
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"failed to load config from {path}: {error}") from None
    try:
        return parse_config(text, start)
    except (InvalidInput, Unsupported) as error:
        raise error.prefixed(f"failed to parse config: {path}: ") from None


def parse_config(text: str, start: DaemonConfig) -> Read:
    """See `read_config`."""
    import tomllib

    try:
        table = Table(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(str(error)) from None
    config = _read(table, start)
    return Read(config, tuple(table.unread()))


def _read(table: Table, start: DaemonConfig) -> DaemonConfig:
    table.refuse("proxyNetwork", "the proxy network")
    _refuse_containerd(table.table("worker").table("containerd"))
    _refuse_cache(table)
    system = table.table("system")
    system.refuse("platformsCacheMaxAge", "looking for platforms again while running")
    system.refuse("maxRegistryConcurrency", "a limit of connections per registry")
    grpc = table.table("grpc")
    grpc.refuse("securityDescriptor", "a Windows security descriptor")
    root, environment = table.text("root"), table.text("provenanceEnvDir")
    tls = grpc.table("tls")
    logging = table.table("log")
    return replace(
        start,
        root=Path(root) if root else start.root,
        addresses=grpc.texts("address") or start.addresses,
        debug_address=grpc.text("debugAddress") or "",
        uid=grpc.number("uid"),
        gid=grpc.number("gid"),
        tls=TlsFiles(tls.text("cert") or "", tls.text("key") or "", tls.text("ca") or ""),
        log_level=_level(table, logging, start.log_level),
        log_format=logging.text("format") or start.log_format,
        entitlements=frozenset(parse_entitlement(text) for text in table.texts("insecure-entitlements") or ()),
        devices=_devices(table.table("cdi")),
        worker=_worker(table.table("worker").table("oci")),
        registries={host: _registry(inner) for host, inner in table.table("registry").entries()},
        dns=_dns(table.table("dns")),
        history=_history(table.table("history")),
        disabled_frontends=_disabled(table.table("frontend")),
        trace_socket=table.table("otel").text("socketPath") or start.trace_socket,
        environment=Path(environment) if environment else start.environment,
    )


def _level(table: Table, logging: Table, default: str) -> str:
    level = logging.text("level") or default
    if table.flag("debug"):
        level = "debug"
    return "trace" if table.flag("trace") else level


def _worker(table: Table) -> WorkerConfig:
    if table.flag("enabled") is False:
        raise InvalidInput("no worker found: worker.oci is disabled and there is no other")
    for key, what in (
        ("rootless", "running without root"),
        ("noProcessSandbox", "steps in the host's process namespace"),
        ("userRemapUnsupported", "remapping users"),
        ("proxySnapshotterPath", "snapshotters behind a socket"),
        ("stargzSnapshotter", "the stargz snapshotter"),
        ("selinux", "SELinux"),
    ):
        table.refuse(key, what)
    return WorkerConfig(
        labels=table.strings("labels"),
        platforms=table.texts("platforms") or (),
        snapshotter=table.text("snapshotter") or "auto",
        network=_network(table),
        binary=table.text("binary") or "",
        cgroup_parent=table.text("defaultCgroupParent") or "",
        apparmor_profile=table.text("apparmor-profile") or "",
        max_parallelism=table.number("max-parallelism") or 0,
        gc=_gc(table),
    )


def _network(table: Table) -> NetworkSettings:
    default = NetworkSettings()
    plugins = table.text("cniBinaryPath")
    return NetworkSettings(
        mode=table.text("networkMode") or "auto",
        config=table.text("cniConfigPath") or default.config,
        plugins=(plugins,) if plugins else default.plugins,
        pool_size=table.number("cniPoolSize") or 0,
        bridge=table.text("bridgeName") or default.bridge,
        subnet=table.text("bridgeSubnet") or default.subnet,
    )


def _gc(table: Table) -> GcConfig:
    old, reserved, most, free = (
        _space(table, key) for key in ("gckeepstorage", "reservedSpace", "maxUsedSpace", "minFreeSpace")
    )
    if not (reserved or most or free):
        reserved = old
    rules = tuple(_rule(inner) for inner in table.tables("gcpolicy"))
    return GcConfig(table.flag("gc") is not False, rules, reserved, most, free)


def _space(table: Table, key: str) -> Space:
    return table.amount(key, parse_space) or Space()


def _rule(table: Table) -> PolicyRule:
    old = _space(table, "keepBytes")
    return PolicyRule(
        all=bool(table.flag("all")),
        filters=table.texts("filters") or (),
        keep_duration=table.amount("keepDuration", parse_duration) or 0.0,
        reserved_space=_space(table, "reservedSpace") or old,
        max_used_space=_space(table, "maxUsedSpace"),
        min_free_space=_space(table, "minFreeSpace"),
    )


def _registry(table: Table) -> HostConfig:
    pairs = [KeyPair(pair.text("cert") or "", pair.text("key") or "") for pair in table.tables("keypair")]
    return HostConfig(
        mirrors=table.texts("mirrors") or (),
        plain_http=table.flag("http"),
        insecure=table.flag("insecure"),
        authorities=table.texts("ca") or (),
        key_pairs=tuple(pairs),
        tls_folders=table.texts("tlsconfigdir") or (),
    )


def _dns(table: Table) -> Dns:
    return Dns(table.texts("nameservers") or (), table.texts("options") or (), table.texts("searchDomains") or ())


def _history(table: Table) -> HistoryConfig:
    default = HistoryConfig()
    age, entries = table.amount("maxAge", parse_duration), table.number("maxEntries")
    return HistoryConfig(default.max_age if age is None else age, default.max_entries if entries is None else entries)


def _disabled(table: Table) -> frozenset[str]:
    tables = {name: table.table(name) for name in FRONTENDS}
    tables["gateway.v0"].refuse("allowedRepositories", "a list of allowed frontends")
    return frozenset(name for name, inner in tables.items() if inner.flag("enabled") is False)


def _devices(table: Table) -> DeviceSettings | None:
    settings = DeviceSettings(table.texts("specDirs") or DEVICE_DIRECTORIES, table.texts("autoAllowed") or ())
    return None if table.flag("disabled") else settings


def _refuse_containerd(table: Table) -> None:
    if table.flag("enabled"):
        raise Unsupported("worker.containerd.enabled: the containerd worker is not supported")
    _skip(table)


def _refuse_cache(table: Table) -> None:
    table.table("cache").refuse("gha", "signing and verifying of GitHub's cache")
    table.table("ghacache").refuse("sign", "signing and verifying of GitHub's cache")
    table.table("ghacache").refuse("verify", "signing and verifying of GitHub's cache")


def _skip(table: Table) -> None:
    """The settings of a worker that is off say nothing."""
    table.skip(*_CONTAINERD_KEYS)


_CONTAINERD_KEYS = (
    *("address", "labels", "platforms", "namespace", "runtime", "gc", "gckeepstorage", "reservedSpace"),
    *("maxUsedSpace", "minFreeSpace", "gcpolicy", "networkMode", "cniConfigPath", "cniBinaryPath", "cniPoolSize"),
    *("bridgeName", "bridgeSubnet", "snapshotter", "apparmor-profile", "selinux", "max-parallelism"),
    *("defaultCgroupParent", "rootless"),
)
