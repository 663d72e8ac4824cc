"""Entitlements: what a build must be granted by name, because it weakens the walls around its steps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from buildkit.core.errors import InvalidInput, PermissionDenied
from buildkit.core.values import dataclass, field

KNOWN = ("network.host", "security.insecure", "device")


@dataclass(frozen=True, slots=True)
class Grants:
    """What a build may do."""

    names: frozenset[str] = frozenset()
    devices: Mapping[str, str] = field(default_factory=dict[str, str])
    """Devices that it may have; a value that is not empty is the device meant by the key."""
    all_devices: bool = False

    def __contains__(self, name: str) -> bool:
        return name in self.names


def parse_entitlement(text: str) -> str:
    """The name in ``name`` or ``device=…``; raises `InvalidInput`."""
    name, _, _ = text.partition("=")
    if (name if name == "device" else text) not in KNOWN:
        raise InvalidInput(f"unknown entitlement {text}")
    return name


def grant(wanted: Iterable[str], allowed: frozenset[str]) -> Grants:
    """What a build gets that asks for ``wanted``; raises `PermissionDenied` for what is not ``allowed``."""
    names: set[str] = set()
    devices: dict[str, str] = {}
    all_devices = False
    for text in wanted:
        name = parse_entitlement(text)
        if name not in allowed:
            raise PermissionDenied(f"granting entitlement {name} is not allowed by build daemon configuration")
        names.add(name)
        if name == "device":
            given = _parse_device(text.partition("=")[2])
            devices.update(given)
            all_devices = all_devices or not given
    return Grants(frozenset(names), devices, all_devices)


def _parse_device(text: str) -> dict[str, str]:
    """``""`` for all, ``name``, or ``name,alias=other``: a build that asks for ``other`` gets ``name``."""
    if not text:
        return {}
    from buildkit.core.csv import split_fields

    name, *rest = split_fields(text, "device")
    alias = ""
    for part in rest:
        key, equals, value = part.partition("=")
        if not equals:
            raise InvalidInput(f'invalid device config "{part}"')
        if key != "alias":
            raise InvalidInput(f'unknown device config key "{key}"')
        alias = value
    return {alias: name} if alias else {name: ""}
