"""The ``--name=value`` flags of an instruction."""

from __future__ import annotations

from collections.abc import Iterable

from buildkit.frontend.dockerfile.gotext import lower
from buildkit.frontend.dockerfile.location import DockerfileError
from buildkit.frontend.dockerfile.suggest import suggestion


class Flags:
    """Parsed flags of one instruction; raises `DockerfileError` for an unknown, repeated or malformed one."""

    def __init__(
        self,
        words: Iterable[str],
        *,
        texts: Iterable[str] = (),
        switches: Iterable[str] = (),
        lists: Iterable[str] = (),
    ) -> None:
        self._switches, self._lists = frozenset(switches), frozenset(lists)
        self._known = (*texts, *switches, *lists)
        self._values: dict[str, list[str]] = {}
        for word in words:
            if word == "--":
                break
            self._read(word)

    def _read(self, word: str) -> None:
        if not word.startswith("--"):
            raise DockerfileError(f"arg should start with -- : {word}")
        written, equals, value = word.partition("=")
        name = written[2:]
        if name not in self._known:
            raise DockerfileError(f"unknown flag: {written}{suggestion(name, self._known)}")
        if name in self._values and name not in self._lists:
            raise DockerfileError(f"duplicate flag specified: {written}")
        if name not in self._switches:
            if not equals:
                raise DockerfileError(f"missing a value on flag: {written}")
        elif equals and not value:
            raise DockerfileError(f"missing a value on flag: {written}")
        elif (value := lower(value) or "true") not in ("true", "false"):
            raise DockerfileError(f"expecting boolean value for flag {written}, not: {word.partition('=')[2]}")
        self._values.setdefault(name, []).append(value)

    def text(self, name: str, default: str = "") -> str:
        """The value of a flag that takes one."""
        return self._values.get(name, [default])[-1]

    def texts(self, name: str) -> tuple[str, ...]:
        """The values of a flag that may be repeated."""
        return tuple(self._values.get(name, ()))

    def switch(self, name: str) -> bool | None:
        """True, False, or None when not given."""
        values = self._values.get(name)
        return None if values is None else values[-1] == "true"

    @property
    def used(self) -> tuple[str, ...]:
        """Names of the flags given, in order of first use."""
        return tuple(self._values)
