"""Addresses as Go's ``net`` package reads and writes them."""

from __future__ import annotations

from buildkit.core.errors import InvalidInput


def parse_ip(text: str) -> str:
    """An IPv4 or IPv6 address, always in the same spelling; raises `InvalidInput`."""
    from ipaddress import IPv6Address, ip_address

    try:
        address = ip_address(text)
    except ValueError:
        raise InvalidInput(f"failed to parse IP {text}") from None
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            raise InvalidInput(f"failed to parse IP {text}")
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
    return str(address)
