"""Reading JSON of any origin as Go's ``encoding/json`` does: by the type of each field, ``null`` for its zero."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, TypeVar

from buildkit.core.errors import InvalidInput

T = TypeVar("T")
_NOT_UTF8 = re.compile("[\ud800-\udfff]")


class Fields:
    """The fields of one JSON object. Every method takes a name and raises `InvalidInput` naming what is no such thing.

    Case does not matter where the exact name is missing.
    """

    def __init__(self, document: object, place: str) -> None:
        """``place`` is how errors call the object."""
        if not isinstance(document, Mapping):
            raise InvalidInput(f"{place} is not an object")
        self._document = document
        self._place = place
        self._folded: dict[str, Any] | None = None

    def __call__(self, name: str) -> Any:
        """The value as it stands; None where there is none."""
        if name in self._document:
            return self._document[name]
        if self._folded is None:
            self._folded = {str(key).lower(): value for key, value in self._document.items()}
        return self._folded.get(name.lower())

    def text(self, name: str) -> str:
        """Text; empty where there is none. What is not UTF-8 is U+FFFD, here as everywhere."""
        return _valid(self._typed(name, str, "text") or "")

    def number(self, name: str) -> int:
        """A whole number; zero where there is none."""
        value = self._typed(name, int, "a whole number") or 0
        if isinstance(value, bool):
            raise InvalidInput(f"{self._place}: {name} is not a whole number")
        return value

    def flag(self, name: str) -> bool:
        """Whether it is true."""
        return bool(self._typed(name, bool, "true or false"))

    def texts(self, name: str) -> list[str]:
        """A list of text."""
        found = self._typed(name, list, "a list") or []
        return [self._element(name, one) for one in found]

    def names(self, name: str) -> set[str]:
        """The keys of an object whose values say nothing."""
        return set(map(_valid, self._typed(name, dict, "an object") or ()))

    def pairs(self, name: str) -> dict[str, str]:
        """An object of text."""
        found: Mapping[str, object] = self._typed(name, dict, "an object") or {}
        return {_valid(key): self._element(name, one) for key, one in found.items()}

    def within(self, name: str) -> Fields:
        """The fields of an object in it; an empty one where there is none."""
        value = self(name)
        return Fields({} if value is None else value, f"{self._place}: {name}")

    def each(self, name: str) -> list[Fields]:
        """The fields of every object of a list."""
        found = self._typed(name, list, "a list") or []
        return [Fields({} if one is None else one, f"{self._place}: {name}") for one in found]

    def _typed(self, name: str, kind: type[T], what: str) -> T | None:
        value = self(name)
        if value is not None and not isinstance(value, kind):
            raise InvalidInput(f"{self._place}: {name} is not {what}")
        return value

    def _element(self, name: str, value: object) -> str:
        if value is not None and not isinstance(value, str):
            raise InvalidInput(f"{self._place}: {name} holds {str(value)[:40]!r}, which is not text")
        return _valid(value or "")


def _valid(text: str) -> str:
    return text if text.isascii() else _NOT_UTF8.sub("\ufffd", text)


def parse_fields(content: bytes | str, place: str) -> Fields:
    """The fields of a JSON object; raises `InvalidInput` beginning with ``place``."""
    try:
        return Fields(json.loads(content), place)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{place}: {error}") from None
