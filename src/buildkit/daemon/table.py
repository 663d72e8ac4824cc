"""A table of a TOML file, read key by key: wrong types are errors, keys that nobody read are told."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from buildkit.core.errors import InvalidInput, Unsupported

A = TypeVar("A")
T = TypeVar("T", str, bool, int)


class Table:
    """One table. ``path`` is how messages name it: ``worker.oci``."""

    def __init__(self, content: dict[str, Any], path: str = "") -> None:
        self._content = content
        self._path = path
        self._read: set[str] = set()
        self._inner: dict[str, Table] = {}

    def _name(self, key: str) -> str:
        return f"{self._path}.{key}" if self._path else key

    def _get(self, key: str, kind: type[T], what: str) -> T | None:
        self._read.add(key)
        value = self._content.get(key)
        if value is None or (isinstance(value, kind) and not (kind is int and isinstance(value, bool))):
            return value
        raise InvalidInput(f"{self._name(key)}: {_shown(value)} is not {what}")

    def text(self, key: str) -> str | None:
        """A string."""
        return self._get(key, str, "a string")

    def flag(self, key: str) -> bool | None:
        """True or false."""
        return self._get(key, bool, "true or false")

    def number(self, key: str) -> int | None:
        """A whole number."""
        return self._get(key, int, "a whole number")

    def amount(self, key: str, parse: Callable[[object], A]) -> A | None:
        """What ``parse`` makes of whatever is there; its `InvalidInput` gets the name of the key."""
        self._read.add(key)
        value = self._content.get(key)
        try:
            return None if value is None else parse(value)
        except InvalidInput as error:
            raise error.prefixed(f"{self._name(key)}: ") from None

    def texts(self, key: str) -> tuple[str, ...] | None:
        """A list of strings."""
        self._read.add(key)
        value = self._content.get(key)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise InvalidInput(f"{self._name(key)}: {_shown(value)} is not a list of strings")
        return tuple(value)

    def table(self, key: str) -> Table:
        """A table within; an empty one if it is not there."""
        self._read.add(key)
        return self._enter(self._content.get(key, {}), self._name(key))

    def tables(self, key: str) -> list[Table]:
        """A list of tables."""
        self._read.add(key)
        value = self._content.get(key, [])
        if not isinstance(value, list):
            raise InvalidInput(f"{self._name(key)}: {_shown(value)} is not a list of tables")
        return [self._enter(one, f"{self._name(key)}[{number}]") for number, one in enumerate(value)]

    def entries(self) -> Iterator[tuple[str, Table]]:
        """Every key of this table as a table."""
        for key in self._content:
            yield key, self.table(key)

    def strings(self, key: str) -> dict[str, str]:
        """A table whose values are all strings."""
        inner = self.table(key)
        return {name: inner.text(name) or "" for name in inner._content}

    def skip(self, *keys: str) -> None:
        """These keys are known and mean nothing here."""
        self._read.update(keys)

    def refuse(self, key: str, what: str, *harmless: object) -> None:
        """This key is known, but what it asks for is not built: any value that is not harmless is an error."""
        self._read.add(key)
        value = self._content.get(key)
        if value not in (None, "", 0, False, [], {}, *harmless):
            raise Unsupported(f"{self._name(key)}: {what} is not supported yet")

    def unread(self) -> list[str]:
        """Names of keys that mean nothing to us, here and in the tables within."""
        mine = [self._name(key) for key in self._content if key not in self._read]
        return mine + [name for inner in self._inner.values() for name in inner.unread()]

    def _enter(self, content: object, name: str) -> Table:
        if not isinstance(content, dict):
            raise InvalidInput(f"{name}: {_shown(content)} is not a table")
        return self._inner.setdefault(name, Table(content, name))


def _shown(value: object) -> str:
    """A value as the file has it."""
    if isinstance(value, dict):
        return "a table"
    return json.dumps(value, ensure_ascii=False, default=str)
