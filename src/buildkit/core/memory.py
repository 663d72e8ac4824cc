"""Giving memory back: what a process that stays asks of the C library's allocator (glibc; others do without)."""

from __future__ import annotations

import gc
from typing import Any

_M_ARENA_MAX = -8
_ARENAS = 2
"""Threads run Python one at a time: more arenas than two hold memory that nobody uses."""


def be_frugal() -> None:
    """Have threads share their arenas. To be called before threads are made."""
    if (mallopt := _function("mallopt")) is not None:
        mallopt(_M_ARENA_MAX, _ARENAS)


def give_back() -> None:
    """Return what nobody uses to the system; takes some milliseconds."""
    gc.collect()
    if (trim := _function("malloc_trim")) is not None:
        trim(0)


def _function(name: str) -> Any:
    import ctypes

    return getattr(ctypes.CDLL(None), name, None)
