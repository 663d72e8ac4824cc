"""Frontend options (``key=value`` of a solve) as a value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

from buildkit.core.csv import parse_fields
from buildkit.core.errors import BuildkitError, InvalidInput
from buildkit.core.goquote import quote
from buildkit.core.platform import Platform, host_platform, normalize
from buildkit.core.values import dataclass, field
from buildkit.frontend.dockerfile.cacheimports import parse_cache_imports
from buildkit.frontend.dockerfile.gotext import equal_fold, lower, parse_bool, parse_int
from buildkit.frontend.dockerfile.limits import parse_resources, parse_ulimits
from buildkit.frontend.dockerfile.linter import CheckOptions, parse_check_options
from buildkit.frontend.dockerfile.platformspec import parse_platform
from buildkit.frontend.frontend import CacheImport
from buildkit.llb.hosts import parse_ip
from buildkit.llb.metadata import LinuxResources

ResolveMode: TypeAlias = Literal["default", "pull", "local"]
Network: TypeAlias = Literal["sandbox", "host", "none"]

_BUILD_ARG = "build-arg:"
_LABEL = "label:"
_SESSION = "local-sessionid:"
_ATTEST = ("attest:", "build-arg:BUILDKIT_ATTEST_")
_SBOM_GENERATOR = "docker/buildkit-syft-scanner:stable-1"
_RESOLVE_MODES: dict[str, ResolveMode] = {"": "default", "default": "default", "pull": "pull", "local": "local"}
_NETWORKS: dict[str, Network] = {"": "sandbox", "sandbox": "sandbox", "host": "host", "none": "none"}


@dataclass(frozen=True, slots=True)
class Sbom:
    """Who lists the packages of the result: a normalised image reference and its parameters."""

    generator: str
    parameters: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """All that options say about a build. ``target_platforms`` is empty when none was asked for."""

    build_args: Mapping[str, str]
    labels: Mapping[str, str]
    target: str = ""
    target_platforms: tuple[Platform, ...] = ()
    build_platforms: tuple[Platform, ...] = ()
    """Where steps can run; the first is ``BUILDPLATFORM``."""
    multi_platform: bool = False
    """The result is a map by platform even if there is one."""
    no_cache: tuple[str, ...] | None = None
    """Stages to build anew; ``()`` is all, None is none."""
    resolve_mode: ResolveMode = "default"
    network: Network = "sandbox"
    """The network of steps that do not choose."""
    extra_hosts: tuple[tuple[str, str], ...] = ()
    hostname: str = ""
    cgroup_parent: str = ""
    shm_size: int = 0
    """Bytes of ``/dev/shm``; 0 leaves the default."""
    ulimits: tuple[tuple[str, int, int], ...] = ()
    """Name, soft and hard limit."""
    resources: LinuxResources | None = None
    cache_namespace: str = ""
    cache_imports: tuple[CacheImport, ...] = ()
    check: CheckOptions | None = None
    """Overrides the file's ``# check=``."""
    sbom: Sbom | None = None
    labs: bool = False
    """The Dockerfile asks for a frontend of the labs channel."""
    local_sessions: Mapping[str, str] = field(default_factory=dict[str, str])
    """Which session offers a local directory, where it is not the build's own."""

    def is_no_cache(self, stage: str) -> bool:
        """Whether this stage is to be built anew."""
        if not self.no_cache:
            return self.no_cache is not None
        return any(equal_fold(name, stage) for name in self.no_cache)


def parse_options(options: Mapping[str, str], worker_platforms: tuple[Platform, ...] = ()) -> BuildOptions:
    """Read options; raises `InvalidInput`."""
    _refuse_removed(options)
    build_platform = worker_platforms[0] if worker_platforms else host_platform()
    platforms = _platforms(options.get("platform", ""))
    mode = options.get("image-resolve-mode", "")
    if mode not in _RESOLVE_MODES:
        raise InvalidInput(f"invalid image-resolve-mode: {mode}")
    extra_hosts = _extra_hosts(options.get("add-hosts", ""))
    shm_size = _shm_size(options.get("shm-size", ""))
    ulimits = parse_ulimits(options.get("ulimit", ""))
    resources = parse_resources(options)
    network = options.get("force-network-mode", "")
    if network not in _NETWORKS:
        raise InvalidInput(f"invalid netmode {network}")
    return BuildOptions(
        build_args=_with_prefix(options, _BUILD_ARG),
        labels=_with_prefix(options, _LABEL),
        target=options.get("target", ""),
        target_platforms=platforms,
        build_platforms=(build_platform,),
        multi_platform=_multi_platform(options, platforms),
        no_cache=_no_cache(options),
        resolve_mode=_RESOLVE_MODES[mode],
        network=_NETWORKS[network],
        extra_hosts=extra_hosts,
        hostname=options.get("build-arg:BUILDKIT_SANDBOX_HOSTNAME") or options.get("hostname", ""),
        cgroup_parent=options.get("cgroup-parent", ""),
        shm_size=shm_size,
        ulimits=ulimits,
        resources=resources,
        cache_namespace=options.get("build-arg:BUILDKIT_CACHE_MOUNT_NS", ""),
        cache_imports=parse_cache_imports(options),
        sbom=_sbom(options),
        check=_check(options),
        local_sessions=_with_prefix(options, _SESSION),
    )


def _refuse_removed(options: Mapping[str, str]) -> None:
    removed = 'support for "{}" was removed in BuildKit 0.11'
    if options.get("override-copy-image"):
        raise InvalidInput(removed.format("override-copy-image"))
    if (value := options.get("build-arg:BUILDKIT_DISABLE_FILEOP")) is not None and _is_true(value):
        raise InvalidInput('support for "BUILDKIT_DISABLE_FILEOP" build-arg was removed in BuildKit 0.11')


def _is_true(text: str) -> bool:
    try:
        return parse_bool(text)
    except ValueError:
        return False


def _with_prefix(options: Mapping[str, str], prefix: str) -> dict[str, str]:
    return {key[len(prefix) :]: value for key, value in options.items() if key.startswith(prefix)}


def _platforms(text: str) -> tuple[Platform, ...]:
    found: list[Platform] = []
    for part in text.split(",") if text else ():
        try:
            found.append(normalize(parse_platform(part)))
        except BuildkitError as error:
            raise error.prefixed(f"failed to parse target platform {part}: ") from None
    return tuple(found)


def _multi_platform(options: Mapping[str, str], platforms: tuple[Platform, ...]) -> bool:
    several = len(platforms) > 1
    text = options.get("build-arg:BUILDKIT_MULTI_PLATFORM") or options.get("multi-platform", "")
    if not text:
        return several
    try:
        asked = parse_bool(text)
    except ValueError:
        raise InvalidInput(f"invalid boolean value for multi-platform: {text}") from None
    if several and not asked:
        raise InvalidInput("conflicting config: returning multiple target platforms is not allowed")
    return asked


def _no_cache(options: Mapping[str, str]) -> tuple[str, ...] | None:
    text = options.get("no-cache")
    return tuple(text.split(",")) if text else None if text is None else ()


def _extra_hosts(text: str) -> tuple[tuple[str, str], ...]:
    if not text:
        return ()
    hosts: list[tuple[str, str]] = []
    try:
        for field in parse_fields(text):
            name, equals, address = lower(field).partition("=")
            if not equals:
                raise ValueError(f"invalid key-value pair {field}")
            hosts.append((name, parse_ip(address)))
    except (ValueError, InvalidInput) as error:
        raise InvalidInput(f"failed to parse additional hosts: {error}") from None
    return tuple(hosts)


def _shm_size(text: str) -> int:
    try:
        return parse_int(text) if text else 0
    except ValueError as error:
        raise InvalidInput(f"failed to parse shm size: {error}") from None


def _check(options: Mapping[str, str]) -> CheckOptions | None:
    text = options.get("build-arg:BUILDKIT_DOCKERFILE_CHECK")
    if text is None:
        return None
    try:
        return parse_check_options(text)
    except BuildkitError as error:
        raise error.prefixed("failed to parse build-arg:BUILDKIT_DOCKERFILE_CHECK: ") from None


def parse_attestations(options: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """What ``attest:*`` asks for: type to attributes; raises `InvalidInput`."""
    asked: dict[str, dict[str, str]] = {}
    for prefix in _ATTEST:
        for name, value in _with_prefix(options, prefix).items():
            asked[lower(name)] = _attestation(lower(name), value)
    for name in asked:
        if name not in ("sbom", "provenance"):
            raise InvalidInput(f"unknown attestation type {quote(name)}")
    return asked


def _attestation(name: str, text: str) -> dict[str, str]:
    attrs = {"sbom": {"generator": _SBOM_GENERATOR}, "provenance": {"version": "v1"}}.get(name, {})
    try:
        for field in parse_fields(text) if text else ():
            key, _, value = field.partition("=")
            attrs[key] = value
    except ValueError as error:
        raise InvalidInput(f"failed to parse {name}: {error}") from None
    return attrs


def _sbom(options: Mapping[str, str]) -> Sbom | None:
    attrs = parse_attestations(options).get("sbom")
    if attrs is None:
        return None
    from buildkit.oci.names import parse_reference

    generator = attrs.pop("generator")
    try:
        return Sbom(str(parse_reference(generator).with_default_tag()), attrs)
    except BuildkitError as error:
        raise error.prefixed(f"failed to parse sbom scanner {generator}: ") from None
