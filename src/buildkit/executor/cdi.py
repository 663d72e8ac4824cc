"""CDI specifications: files in which a machine's owner says what a container needs to use a device.

The format is the Container Device Interface's, versions 0.3.0 to 1.1.0: YAML or JSON, unknown fields refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct, ValidationError, convert, field

from buildkit.core.errors import InvalidInput

_VERSIONS = ("0.1.0", "0.2.0", "0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0", "1.1.0")
_VENDOR = re.compile(r"[A-Za-z]([\w.-]*[A-Za-z0-9])?", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9]([\w.:-]*[A-Za-z0-9])?", re.ASCII)
_ANNOTATION = re.compile(r"([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[a-z0-9]([\w.-]{0,61}[a-z0-9])?", re.ASCII | re.I)
_NUMBER = re.compile(r"0x[0-9a-fA-F]+|0o?[0-7]+|-?[1-9][0-9]*|0")
_HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
_LONGEST_FILE = 16 << 20
_LONGEST_ANNOTATIONS = 256 << 10
_DEEPEST = 32
_NULL = ("", "~", "null", "Null", "NULL")


class DeviceNode(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A node to make in the container; numbers are texts as written, see `number`."""

    path: str
    host_path: str = ""
    type: str = ""
    major: str = "0"
    minor: str = "0"
    file_mode: str | None = None
    permissions: str = ""
    uid: str | None = None
    gid: str | None = None


class DeviceMount(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A file or directory of the host."""

    host_path: str
    container_path: str
    options: tuple[str, ...] = ()
    type: str = ""


class Hook(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A program that the runtime executes around the container's start or end."""

    hook_name: str
    path: str
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    timeout: str | None = None


class NetDevice(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A network interface of the host."""

    host_interface_name: str
    name: str


class IntelRdt(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Shares of processor caches and memory bandwidth."""

    clos_id: str = field(default="", name="closID")
    l3_cache_schema: str = ""
    mem_bw_schema: str = ""
    schemata: tuple[str, ...] = ()
    enable_monitoring: bool = False


class Edits(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """What changes in a container that gets a device."""

    env: tuple[str, ...] = ()
    device_nodes: tuple[DeviceNode, ...] = ()
    net_devices: tuple[NetDevice, ...] = ()
    hooks: tuple[Hook, ...] = ()
    mounts: tuple[DeviceMount, ...] = ()
    intel_rdt: IntelRdt | None = None
    additional_gids: tuple[str, ...] = ()

    def __add__(self, other: Edits) -> Edits:
        """Both; of two shares of caches the other's."""
        return Edits(
            self.env + other.env,
            self.device_nodes + other.device_nodes,
            self.net_devices + other.net_devices,
            self.hooks + other.hooks,
            self.mounts + other.mounts,
            other.intel_rdt or self.intel_rdt,
            self.additional_gids + other.additional_gids,
        )


class SpecDevice(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """One device of a specification."""

    name: str
    annotations: dict[str, str] = {}
    container_edits: Edits = Edits()


class Spec(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """One file: devices of one kind (``vendor/class``) and what each of them needs besides its own edits."""

    cdi_version: str = ""
    kind: str = ""
    annotations: dict[str, str] = {}
    devices: tuple[SpecDevice, ...] = ()
    container_edits: Edits = Edits()

    @property
    def all_edits(self) -> Iterator[Edits]:
        """Those for every device, then each device's."""
        yield self.container_edits
        yield from (device.container_edits for device in self.devices)


def number(text: str) -> int:
    """A number as YAML has it: decimal, ``0644``, ``0o644`` or ``0x1a4``; raises `InvalidInput`."""
    if not _NUMBER.fullmatch(text):
        raise InvalidInput(f'invalid number "{text}"')
    if len(text) > 1 and text[0] == "0" and text[1].isdigit():
        return int(text, 8)
    return int(text, 0)


def read_spec(path: Path) -> Spec:
    """The specification in a file; raises `InvalidInput` with what is wrong, `OSError` when it cannot be read."""
    with path.open("rb") as file:
        content = file.read(_LONGEST_FILE + 1)
    if len(content) > _LONGEST_FILE:
        raise InvalidInput(f"larger than {_LONGEST_FILE >> 20} MB")
    return parse_spec(content, is_json=path.suffix == ".json")


def parse_spec(content: bytes, *, is_json: bool = False) -> Spec:
    """See `read_spec`."""
    try:
        found = _from_json(content) if is_json else _from_yaml(content)
        spec = convert(found, Spec, strict=False)
    except (ValidationError, ValueError, RecursionError) as error:
        raise InvalidInput(f"failed to unmarshal CDI Spec: {error}") from None
    try:
        _check(spec)
    except InvalidInput as error:
        raise error.prefixed("invalid CDI Spec: ") from None
    return spec


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f'key "{next(n for n in names if names.count(n) > 1)}" is there more than once')
    return {name: value for name, value in found.items() if value is not None}


def _from_json(content: bytes) -> object:
    return json.loads(content, object_pairs_hook=_once, parse_int=str)


def _from_yaml(content: bytes) -> object:
    """Every scalar as its text: whether ``0644`` is a name or a number is the field's to say.

    Its events are looked at first: on deep nesting the library crashes or takes for ever.
    """
    import yaml

    loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
    depth = 0
    try:
        for event in yaml.parse(content, loader):
            if isinstance(event, yaml.AliasEvent):
                raise ValueError("aliases are not supported")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _DEEPEST:
                raise ValueError("nested too deeply")
        return _plain(yaml.compose(content, loader))
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None


def _plain(node: Any) -> object:
    kind = None if node is None else node.id
    if kind == "mapping":
        return _once([(str(_plain(key)), _plain(value)) for key, value in node.value])
    if kind == "sequence":
        return [_plain(one) for one in node.value]
    if node is None or (node.style is None and node.value in _NULL):
        return None
    return node.value


def _check(spec: Spec) -> None:
    version = spec.cdi_version.removeprefix("v")
    if version not in _VERSIONS:
        raise InvalidInput(f'invalid version "{spec.cdi_version}"')
    needed = _needed_version(spec)
    if _VERSIONS.index(version) < _VERSIONS.index(needed):
        raise InvalidInput(f"the spec version must be at least v{needed}")
    vendor, slash, device_class = spec.kind.partition("/")
    if not slash or not _VENDOR.fullmatch(vendor):
        raise InvalidInput(f'invalid vendor. "{vendor if slash else ""}" of kind "{spec.kind}"')
    if not _VENDOR.fullmatch(device_class):
        raise InvalidInput(f'invalid class. "{device_class}" of kind "{spec.kind}"')
    _check_annotations(spec.kind, spec.annotations)
    _check_edits(spec.container_edits)
    for device in spec.devices:
        try:
            _check_device(spec, device)
        except InvalidInput as error:
            raise error.prefixed(f'failed add device "{device.name}": ') from None
    names = [device.name for device in spec.devices]
    for name in names:
        if names.count(name) > 1:
            raise InvalidInput(f'invalid spec, multiple device "{name}"')
    if not names:
        raise InvalidInput("invalid spec, no devices")


def _needed_version(spec: Spec) -> str:
    """The oldest version that has everything the specification uses."""
    edits = list(spec.all_edits)
    if any(e.net_devices or (e.intel_rdt and (e.intel_rdt.schemata or e.intel_rdt.enable_monitoring)) for e in edits):
        return "1.1.0"
    if any(e.intel_rdt or e.additional_gids for e in edits):
        return "0.7.0"
    if spec.annotations or any(d.annotations for d in spec.devices) or "." in spec.kind.partition("/")[2]:
        return "0.6.0"
    if any(d.name[:1].isdigit() for d in spec.devices) or any(n.host_path for e in edits for n in e.device_nodes):
        return "0.5.0"
    return "0.4.0" if any(mount.type for e in edits for mount in e.mounts) else "0.3.0"


def _check_device(spec: Spec, device: SpecDevice) -> None:
    if not _NAME.fullmatch(device.name):
        raise InvalidInput(f'invalid device name "{device.name}"')
    _check_annotations(f"{spec.kind}={device.name}", device.annotations)
    if device.container_edits == Edits():
        raise InvalidInput("invalid device, empty device edits")
    _check_edits(device.container_edits)


def _check_annotations(name: str, annotations: Mapping[str, str]) -> None:
    for key in annotations:
        if not _ANNOTATION.fullmatch(key):
            raise InvalidInput(f"{name}.annotations.{key} is invalid")
    size = sum(len(key) + len(value) for key, value in annotations.items())
    if size > _LONGEST_ANNOTATIONS:
        raise InvalidInput(f"annotations size {size} is larger than limit {_LONGEST_ANNOTATIONS}")


def _check_edits(edits: Edits) -> None:
    _check_env(edits.env, "invalid container edits")
    for node in edits.device_nodes:
        if not node.path:
            raise InvalidInput("invalid (empty) device path")
        if node.type not in ("", "b", "c", "u", "p"):
            raise InvalidInput(f'device "{node.path}": invalid type "{node.type}"')
        if set(node.permissions) - set("rwm"):
            raise InvalidInput(f'device "{node.path}": invalid permissions "{node.permissions}"')
        for text in (node.major, node.minor, node.file_mode, node.uid, node.gid):
            number(text or "0")
    for hook in edits.hooks:
        if hook.hook_name not in _HOOKS:
            raise InvalidInput(f'invalid hook name "{hook.hook_name}"')
        if not hook.path:
            raise InvalidInput(f'invalid hook "{hook.hook_name}" with empty path')
        _check_env(hook.env, f'invalid hook "{hook.hook_name}"')
        number(hook.timeout or "0")
    for mount in edits.mounts:
        if not mount.host_path:
            raise InvalidInput("invalid mount, empty host path")
        if not mount.container_path:
            raise InvalidInput("invalid mount, empty container path")
    for text in edits.additional_gids:
        number(text)
    share = edits.intel_rdt.clos_id if edits.intel_rdt else ""
    if share != "/" and (share in (".", "..") or set(share) & set("/\n") or len(share) >= 4096):
        raise InvalidInput("invalid ClosID")


def _check_env(env: tuple[str, ...], where: str) -> None:
    for entry in env:
        if entry.find("=") <= 0:
            raise InvalidInput(f'{where}: invalid environment variable "{entry}"')
