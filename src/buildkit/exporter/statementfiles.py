"""Attestations of exported files: in-toto statements in the root of each tree, about every file in it (row E83)."""

from __future__ import annotations

import hashlib
import os
import posixpath
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from buildkit.core.aio import finish_in_thread
from buildkit.core.errors import InvalidInput
from buildkit.core.gojson import go_json_indented
from buildkit.core.result import Attestation
from buildkit.core.values import replace
from buildkit.exporter.attest import statement_of
from buildkit.exporter.exporter import Exporting
from buildkit.fs.tree import walk
from buildkit.oci.spec import Json
from buildkit.store.refs import Ref

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@asynccontextmanager
async def attested(
    ref: Ref | None, attestations: Sequence[Attestation[Ref]], exporting: Exporting, *, prefix: str, platform: str
) -> AsyncIterator[Path]:
    """A path where the ref's tree lies with its statements, for the scope.

    Their names begin with ``prefix`` and have ``platform``, if there is one, before the extension.
    """
    names = _names(attestations, prefix, platform)
    attestations = [one if one.late is None else replace(one, content=one.late(), late=None) for one in attestations]
    async with exporting.store.draft(ref, exporting.lease) as draft, draft.mounted() as root:
        await finish_in_thread(_write, root, attestations, names)
        yield root


def _names(attestations: Sequence[Attestation[Ref]], prefix: str, platform: str) -> list[str]:
    names: list[str] = []
    for one in attestations:
        name = prefix + posixpath.basename(one.path)
        if platform:
            stem, dot, extension = name.rpartition(".")
            name = f"{stem}.{platform}.{extension}" if dot else f"{name}.{platform}"
        if name in ("", ".", "..") or "/" in name:
            raise InvalidInput(f"invalid attestation path name {name!r}: it is no name of a file")
        if name in names:
            raise InvalidInput(f"duplicate attestation path name {name}")
        names.append(name)
    return names


def _write(root: Path, attestations: Sequence[Attestation[Ref]], names: Sequence[str]) -> None:
    about = _subjects(str(root))
    for one, name in zip(attestations, names, strict=True):
        path = root / name
        if path.is_dir() and not path.is_symlink():
            raise InvalidInput(f"attestation {name}: a directory of that name is in the way")
        with suppress(FileNotFoundError):
            path.unlink()
        with os.fdopen(os.open(path, _NEW, 0o600), "w") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(go_json_indented(statement_of(one, about)))


def _subjects(root: str) -> list[dict[str, Json]]:
    """Every regular file by its path and digest."""
    subjects: list[dict[str, Json]] = []
    for entry in walk(root):
        if entry.is_regular:
            with os.fdopen(entry.open(), "rb") as file:
                digest: Json = {"sha256": hashlib.file_digest(file, "sha256").hexdigest()}
            subjects.append({"name": entry.path, "digest": digest})
    return subjects
