"""Addresses that the ``host-local`` plugin gave to a container whose ADD was never heard to end.

It keeps one file per address, named like the address, whose first line is the container's id.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from buildkit.executor.cni import INTERFACE, Attachment, Network

_DIRECTORY = "/var/lib/cni/networks"


def result_from_leases(network: Network, attachment: Attachment) -> Mapping[str, Any]:
    """What ADD would have told as far as plugins need it to undo their work; empty where nothing was leased."""
    found = [address for plugin in network.plugins for address in _leased(network.name, plugin, attachment.id)]
    if not found:
        return {}
    interface = {"name": INTERFACE, "sandbox": attachment.namespace}
    return {
        "cniVersion": network.version,
        "interfaces": [interface],
        "ips": [{"interface": 0, "address": address} for address in found],
    }


def _leased(network: str, plugin: Mapping[str, Any], id: str) -> Iterator[str]:
    ipam = plugin.get("ipam")
    if not isinstance(ipam, Mapping) or ipam.get("type") != "host-local":
        return
    directory = Path(str(ipam.get("dataDir") or _DIRECTORY), network)
    if not directory.is_dir():
        return
    for path in directory.iterdir():
        try:
            address = ipaddress.ip_interface(path.name)
            if path.read_text().split("\n", 1)[0].strip() == id:
                yield str(address)
        except (ValueError, OSError):  # its lock, a note of the last address, one released meanwhile
            continue
