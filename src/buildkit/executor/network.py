"""Network modes of containers, and what each means for the runtime."""

from __future__ import annotations

from buildkit.core.errors import InvalidInput, Unsupported

MODES = ("host", "none")
"""What this executor can give; ``cni`` and ``bridge`` are BuildKit's other ones."""


def choose_mode(configured: str) -> str:
    """The worker's default mode from its configuration: ``auto`` (or "") is ``host`` as long as CNI is not there."""
    if configured in ("", "auto"):
        return "host"
    if configured in ("cni", "bridge"):
        raise Unsupported(f"network mode {configured} is not supported yet: use host or none")
    if configured not in MODES:
        raise InvalidInput(f'invalid network mode: "{configured}"')
    return configured


def namespace_path(asked: str, default: str) -> str | None:
    """For the runtime: None is the host's network, "" a new namespace with a loopback device alone."""
    mode = asked or default
    if mode not in MODES:
        raise InvalidInput(f"unknown network mode {mode}")
    return None if mode == "host" else ""
