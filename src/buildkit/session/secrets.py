"""Lending secrets from files and environment variables; the grammar of ``--secret``."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from buildkit.core.csv import split_fields
from buildkit.core.errors import FailedPrecondition, InvalidInput, NotFound
from buildkit.core.values import dataclass, field

LIMIT = 500 * 1024
"""Bytes of the largest secret."""


@dataclass(frozen=True, slots=True)
class SecretSource:
    """Where a secret comes from: a file, or an environment variable; with neither, whatever has its id's name.

    One that has a ``value`` is that.
    """

    id: str
    path: str = ""
    variable: str = ""
    value: bytes | None = field(default=None, repr=False)


def parse_secret(text: str) -> SecretSource:
    """Parse ``id=…[,src=FILE|env=NAME][,type=file|env]``; raises `InvalidInput`."""
    id = path = variable = kind = ""
    for entry in split_fields(text, "failed to parse csv secret"):
        key, equals, value = entry.partition("=")
        if not equals:
            raise InvalidInput(f"invalid field '{entry}' must be a key=value pair")
        key = key.lower()
        if key == "type":
            if value not in ("file", "env"):
                raise InvalidInput(f'unsupported secret type "{value}"')
            kind = value
        elif key == "id":
            id = value
        elif key in ("source", "src"):
            path = value
        elif key == "env":
            variable = value
        else:
            raise InvalidInput(f"unexpected key '{key}' in '{entry}'")
    if kind == "env" and not variable:
        path, variable = "", path
    return SecretSource(id, path, variable)


def settle(source: SecretSource, environ: Mapping[str, str]) -> SecretSource:
    """The source with a place: without one, the variable with its id's name, else the file of that name.

    Raises `InvalidInput` for a source without id, a missing file, or one that is too big.
    """
    if not source.id:
        raise InvalidInput("secret missing ID")
    if source.value is not None:
        if len(source.value) > LIMIT:
            raise InvalidInput(f"secret {source.id} too big. max size {LIMIT >> 10}KiB")
        return source
    if not source.variable and not source.path:
        source = SecretSource(source.id, *(("", source.id) if source.id in environ else (source.id, "")))
    if source.path:
        try:
            size = Path(source.path).stat().st_size
        except OSError as error:
            reason = (error.strerror or "").lower()
            raise InvalidInput(f"failed to stat {source.path}: stat {source.path}: {reason}") from error
        if size > LIMIT:
            raise InvalidInput(f"secret {source.id} too big. max size {LIMIT >> 10}KiB")
    return source


class SecretFiles:
    """Secrets of this process and its machine, read each time they are asked for."""

    def __init__(self, sources: Iterable[SecretSource], environ: Mapping[str, str] = os.environ) -> None:
        """Raises `InvalidInput`, see `settle`."""
        self._environ = environ
        self._sources: dict[str, SecretSource] = {}
        for source in sources:
            self._sources[source.id] = settle(source, environ)

    async def get(self, id: str) -> bytes:
        """The secret's bytes; raises `NotFound`, or `FailedPrecondition` when it has grown too big."""
        source = self._sources.get(id)
        if source is None:
            raise NotFound("not found")
        if source.value is not None:
            return source.value
        if source.variable:
            content = os.fsencode(self._environ.get(source.variable, ""))
        else:
            content = await asyncio.to_thread(_read, source)
        if len(content) > LIMIT:
            raise FailedPrecondition(f"invalid secret size {len(content)}")
        return content


def _read(source: SecretSource) -> bytes:
    try:
        with Path(source.path).open("rb") as file:
            return file.read(LIMIT + 1)
    except OSError as error:
        raise FailedPrecondition(f"secret {source.id}: cannot read {source.path}: {error.strerror}") from error
