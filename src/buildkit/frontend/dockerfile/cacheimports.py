"""``cache-imports`` and ``cache-from``: where results of earlier builds are looked for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import cast

from buildkit.core.errors import InvalidInput
from buildkit.core.goquote import quote
from buildkit.frontend.frontend import CacheImport

_ENTRY = "moby_buildkit_v1.CacheOptionsEntry"
_KINDS: dict[type, str] = {str: "string", int: "number", float: "number", bool: "bool", dict: "object", list: "array"}


def parse_cache_imports(options: Mapping[str, str]) -> tuple[CacheImport, ...]:
    """``cache-imports`` is a JSON list of ``{"Type", "Attrs"}``, ``cache-from`` has images; raises `InvalidInput`."""
    found: list[CacheImport] = []
    if text := options.get("cache-imports", ""):
        try:
            found = [
                _import(entry)
                for entry in cast(list[object], _expect(json.loads(text), list, f"value of type []*{_ENTRY}"))
            ]
        except (ValueError, RecursionError) as error:
            raise InvalidInput(f"failed to unmarshal cache-imports ({quote(text)}): {error}") from None
    refs = options.get("cache-from", "")
    found += (CacheImport("registry", {"ref": ref}) for ref in (refs.split(",") if refs else ()))
    return tuple(found)


def _import(entry: object) -> CacheImport:
    if entry is None:
        raise ValueError("an entry is null")
    fields = cast(dict[str, object], _expect(entry, dict, f"value of type {_ENTRY}"))
    kind, attrs = "", dict[str, str]()
    for key, value in fields.items():
        if key.lower() == "type":
            kind = cast(str, _expect(value, str, "struct field CacheOptionsEntry.Type of type string"))
        elif key.lower() == "attrs":
            where = "struct field CacheOptionsEntry.Attrs of type "
            given = cast(dict[str, object], _expect(value, dict, f"{where}map[string]string"))
            attrs |= {name: cast(str, _expect(text, str, f"{where}string")) for name, text in given.items()}
    return CacheImport(kind, attrs)


def _expect(value: object, wanted: type, what: str) -> object:
    """The value; an empty one for null."""
    if value is None:
        return wanted()
    if not isinstance(value, wanted):
        raise ValueError(f"json: cannot unmarshal {_KINDS[type(value)]} into Go {what}")
    return value
