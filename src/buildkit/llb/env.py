"""Environment lists: ordered, persistent, and cheap to extend."""

from __future__ import annotations

from collections.abc import Iterator, Mapping


class Env(Mapping[str, str]):
    """An immutable list of variables. Setting one again moves it to the end; each step shares its parent."""

    __slots__ = ("_key", "_parent", "_value", "_values")

    def __init__(self, values: Mapping[str, str] | None = None) -> None:
        self._parent: Env | None = None
        self._key = ""
        self._value: str | None = None
        self._values: dict[str, str] | None = dict(values or {})

    def set(self, key: str, value: str) -> Env:
        """Add or replace one variable."""
        return self._step(key, value)

    def unset(self, key: str) -> Env:
        """Drop one variable."""
        return self._step(key, None)

    def set_default(self, key: str, value: str) -> Env:
        """Add a variable unless it is there."""
        return self if key in self else self.set(key, value)

    def pairs(self) -> list[str]:
        """``KEY=value`` in order."""
        return [f"{key}={value}" for key, value in self._flat().items()]

    def __getitem__(self, key: str) -> str:
        return self._flat()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._flat())

    def __len__(self) -> int:
        return len(self._flat())

    def __repr__(self) -> str:
        return f"Env({self._flat()!r})"

    def _step(self, key: str, value: str | None) -> Env:
        child = Env.__new__(Env)
        child._parent, child._key, child._value, child._values = self, key, value, None
        return child

    def _flat(self) -> dict[str, str]:
        if self._values is not None:
            return self._values
        steps: list[Env] = []
        at: Env | None = self
        while at is not None and at._values is None:
            steps.append(at)
            at = at._parent
        values = dict(at._values or {}) if at is not None else {}
        for step in reversed(steps):
            values.pop(step._key, None)
            if step._value is not None:
                values[step._key] = step._value
        self._values, self._parent = values, None
        return values


EMPTY = Env()
