"""Entitlements: what a build must be granted by name, because it weakens the walls around its steps."""

from __future__ import annotations

from collections.abc import Iterable

from buildkit.core.errors import InvalidInput, PermissionDenied

KNOWN = ("network.host", "security.insecure", "device")


def parse_entitlement(text: str) -> str:
    """The name in ``name`` or ``device=…``; raises `InvalidInput`."""
    name, _, _ = text.partition("=")
    if (name if name == "device" else text) not in KNOWN:
        raise InvalidInput(f"unknown entitlement {text}")
    return name


def grant(wanted: Iterable[str], allowed: frozenset[str]) -> frozenset[str]:
    """What a build gets that asks for ``wanted``; raises `PermissionDenied` for what is not ``allowed``."""
    granted = set()
    for text in wanted:
        name = parse_entitlement(text)
        if name not in allowed:
            raise PermissionDenied(f"granting entitlement {name} is not allowed by build daemon configuration")
        granted.add(name)
    return frozenset(granted)
