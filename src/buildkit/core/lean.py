"""Imports without what they bring along for uses that we have none of.

Some modules import others that take longer than themselves and are needed in rare cases only: asyncio brings ssl
and inspect, urllib.parse brings ipaddress. docs/adr/0011-start-up.md has the times.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any


class _Later(ModuleType):
    """Stands in for a module until somebody wants something of it."""

    def __getattr__(self, name: str) -> Any:
        from importlib import import_module

        if name.startswith("__"):
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(import_module(self.__name__), name)


@contextmanager
def lean_imports(*, absent: Sequence[str] = (), later: Sequence[str] = ()) -> Iterator[None]:
    """Modules imported in this scope do not find the ``absent`` ones, and import the ``later`` ones when they use them.

    What is imported already stays as it is. Afterwards everybody finds everything.
    """
    standing = [name for name in (*absent, *later) if name not in sys.modules]
    for name in standing:
        sys.modules[name] = None if name in absent else _Later(name)  # type: ignore[assignment]
    try:
        yield
    finally:
        for name in standing:
            found = sys.modules.get(name)
            if found is None or isinstance(found, _Later):
                sys.modules.pop(name, None)
