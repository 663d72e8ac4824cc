"""`dataclass` for values that cost little to define: the standard decorator's spelling over msgspec's structs.

A class made by the standard library's decorator takes a millisecond to define, because it writes and compiles
source code; one made here takes thirty microseconds, and its objects are made five times faster. With some two
hundred such classes this is most of the start-up time of a command (docs/adr/0003-values.md).
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # type checkers see the standard decorator, whose behaviour this is
    from dataclasses import asdict, astuple, dataclass, field, fields, replace  # noqa: TID251
else:
    import _datetime

    from buildkit.core.lean import lean_imports

    _UNUSED = tuple(f"msgspec.{name}" for name in ("inspect", "json", "msgpack", "toml", "yaml"))
    _GIVEN = {"platform": {"system": lambda: os.uname().sysname}}  # all that uuid, which msgspec knows, asks of it
    if "buildkit.start" in sys.modules:  # a command of ours: no part of it has values of these types
        _GIVEN |= {"uuid": {"UUID": type("UUID", (), {})}, "decimal": {"Decimal": type("Decimal", (), {})}}
        _GIVEN["datetime"] = vars(_datetime)  # the same classes: the module adds nothing to them
    with lean_imports(absent=("typing_extensions",), later=_UNUSED, given=_GIVEN):  # without the first: typing
        import msgspec
        from msgspec import NODEFAULT, defstruct
        from msgspec.structs import astuple, fields, replace

    _OWN = frozenset(("__dict__", "__weakref__", "__annotations__", "__slots__", "__classcell__"))

    class _Hidden:
        __slots__ = ("default",)

        def __init__(self, default):
            self.default = default

    def field(*, default=NODEFAULT, default_factory=NODEFAULT, repr=True):
        """A field's default; ``repr=False`` keeps a secret out of the object's printed form."""
        if default is NODEFAULT and default_factory is NODEFAULT:
            found = NODEFAULT
        else:
            found = msgspec.field(default=default, default_factory=default_factory)
        return found if repr else _Hidden(found)

    def asdict(value):
        """The value and all values in it as dicts and lists, ready for JSON; what is neither becomes text."""
        return msgspec.to_builtins(value, enc_hook=str)

    def _shown_without(hidden):
        def __repr__(self):
            shown = (f"{name}={getattr(self, name)!r}" for name in self.__struct_fields__ if name not in hidden)
            return f"{type(self).__name__}({', '.join(shown)})"

        return __repr__

    def _bases_of(found):
        bases = tuple([base for base in found.__bases__ if base is not object])
        return bases if any(issubclass(base, msgspec.Struct) for base in bases) else (msgspec.Struct, *bases)

    def _defaults_of(found):
        """Defaults of a class that is a struct already, because its base is one."""
        return {
            entry.name: NODEFAULT
            if entry.required
            else msgspec.field(default_factory=entry.default_factory)
            if entry.default is NODEFAULT
            else entry.default
            for entry in fields(found)
        }

    def dataclass(
        cls=None,
        /,
        *,
        frozen=False,
        slots=True,
        eq=True,
        order=False,
        kw_only=False,
        weakref_slot=False,
    ):
        """The decorator. ``slots`` is always on; ``super()`` without arguments does not work in methods."""

        def make(found):
            namespace = {
                name: value
                for name, value in vars(found).items()
                if name not in _OWN and not name.startswith("__struct_") and name != "__match_args__"
            }
            annotations = vars(found).get("__annotations__", {})
            known = _defaults_of(found) if issubclass(found, msgspec.Struct) else {}
            entries = []
            hidden = set()
            for name, annotation in annotations.items():
                if isinstance(annotation, str) and annotation.startswith("ClassVar"):
                    continue
                default = namespace.pop(name, NODEFAULT)
                if name in known:
                    default = known[name]
                if isinstance(default, _Hidden):
                    hidden.add(name)
                    default = default.default
                entries.append((name, annotation) if default is NODEFAULT else (name, annotation, default))
            if hidden:
                namespace["__repr__"] = _shown_without(frozenset(hidden))
            return defstruct(
                found.__name__,
                entries,
                bases=_bases_of(found),
                namespace=namespace,
                module=found.__module__,
                frozen=frozen,
                eq=eq,
                order=order,
                kw_only=kw_only,
                weakref=weakref_slot,
            )

        return make if cls is None else make(cls)


__all__ = ["asdict", "astuple", "dataclass", "field", "fields", "replace"]
