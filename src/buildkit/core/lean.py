"""Imports without what they bring along for uses that we have none of.

Some modules import others that take longer than themselves and are needed in rare cases only: asyncio brings ssl,
logging and inspect, urllib.parse brings ipaddress. docs/adr/0011-start-up.md has the times.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FunctionType, ModuleType
from typing import Any

_CO_COROUTINE = 0x80


class _Later(ModuleType):
    """Stands in for a module until somebody wants something of it that was not given."""

    def __getattr__(self, name: str) -> Any:
        from importlib import import_module

        if name.startswith("__"):
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(import_module(self.__name__), name)


class LaterLogger:
    """Stands in for a logger until it is used."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def debug(self, message: str, *args: object) -> None:
        """Nobody wants this unless logging was set up, which takes the module."""
        if not isinstance(sys.modules.get("logging", self), _Later | LaterLogger):
            self.__getattr__("debug")(message, *args)

    def __getattr__(self, attribute: str) -> Any:
        from logging import getLogger

        return getattr(getLogger(self._name), attribute)


@contextmanager
def lean_imports(
    *,
    absent: Sequence[str] = (),
    later: Sequence[str] = (),
    given: Mapping[str, Mapping[str, object]] | None = None,
) -> Iterator[None]:
    """Modules imported in this scope do not find the ``absent`` ones, and import the ``later`` ones when they use them.

    ``given`` are ``later`` ones of which some attributes, by name, are needed at once. What is imported already stays
    as it is. Afterwards everybody finds everything.
    """
    given = given or {}
    standing = [name for name in (*absent, *later, *given) if name not in sys.modules]
    for name in standing:
        if name in absent:
            sys.modules[name] = None  # type: ignore[assignment]
        else:
            sys.modules[name] = stand_in = _Later(name)
            vars(stand_in).update(given.get(name, {}))
            parent, _, child = name.rpartition(".")
            if parent in sys.modules:
                setattr(sys.modules[parent], child, stand_in)
    try:
        yield
    finally:
        for name in standing:
            found = sys.modules.get(name)
            if found is None or isinstance(found, _Later):
                sys.modules.pop(name, None)


def import_loop(*, tls: bool) -> None:
    """Import asyncio without what it has for debuggers, and without TLS or with what imports that when it is used.

    To be called before anything else imports it; what is imported already stays as it is.
    """
    import concurrent  # noqa: F401

    waits = ("FIRST_COMPLETED", "FIRST_EXCEPTION", "ALL_COMPLETED")
    given: dict[str, dict[str, object]] = {
        "concurrent.futures": {name: name for name in waits},
        "inspect": {
            "iscoroutinefunction": _is_coroutine_function,
            "isfunction": lambda found: isinstance(found, FunctionType),
            "unwrap": _unwrap,
        },
        "logging": {"DEBUG": 10, "getLogger": LaterLogger},
        "subprocess": {"PIPE": -1, "STDOUT": -2, "DEVNULL": -3},
    }
    later = ["asyncio.sslproto", "asyncio.staggered", "ipaddress", "linecache", "locale", "textwrap"]
    if tls:
        later.append("ssl")
    with lean_imports(absent=() if tls else ("ssl",), later=later, given=given):
        import asyncio  # noqa: F401
        import pathlib  # noqa: F401


def _is_coroutine_function(function: object) -> bool:
    return bool(getattr(getattr(function, "__code__", None), "co_flags", 0) & _CO_COROUTINE)


def _unwrap(function: Any) -> Any:
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    return function
