"""Checking that a definition asks for nothing that this build does not know."""

from __future__ import annotations

from collections.abc import Iterable

from buildkit.core.errors import InvalidInput
from buildkit.llb.caps import BY_PING

_KNOWN = frozenset(BY_PING)


def check_caps(required: Iterable[str]) -> None:
    """Raises `InvalidInput` for a capability that is not known."""
    for id in required:
        if id not in _KNOWN:
            raise InvalidInput(f"unknown API capability {id}")
