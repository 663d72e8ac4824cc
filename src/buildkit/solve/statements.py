"""What clients and frontends attest: files of refs, read and checked before anything is exported (row E59)."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from buildkit.core.aio import gather_all
from buildkit.core.digest import parse_digest
from buildkit.core.errors import BuildkitError, InvalidInput, Unsupported
from buildkit.core.gojson import go_json
from buildkit.core.result import Attestation, Subject
from buildkit.solve.reading import Reader
from buildkit.solve.refs import LazyRef
from buildkit.store.refs import Ref

if TYPE_CHECKING:
    from buildkit.frontend.frontend import Ref as FrontendRef

LARGEST = 40 << 20
"""Bytes of one attestation."""
_PROVENANCE = "https://slsa.dev/provenance/"
_CORE = "sbom-core"


async def read_statements(
    attested: Mapping[str, Sequence[Attestation[LazyRef]]], reader: Reader
) -> dict[str, tuple[Attestation[Ref], ...]]:
    """Attestations by platform with their content at hand; bundles are taken apart.

    Raises `InvalidInput`, `Unsupported` and whatever making their refs raises.
    """
    found = await gather_all(_all_of(listed, reader) for listed in attested.values())
    return dict(zip(attested, found, strict=True))


async def _all_of(listed: Sequence[Attestation[LazyRef]], reader: Reader) -> tuple[Attestation[Ref], ...]:
    return tuple([read for one in listed for read in await _read(one, reader)])


async def _read(one: Attestation[LazyRef], reader: Reader) -> list[Attestation[Ref]]:
    if _CORE in one.metadata:
        raise Unsupported("SBOM attestations (sbom-core) are not supported yet")
    bundle = one.kind == "bundle"
    if not bundle and not one.path:
        raise InvalidInput("attestation does not have set path")
    if one.ref is None:
        raise InvalidInput("attestation does not have available content")
    if bundle:
        return await _unbundle(one, one.ref, reader)
    _check_type(one.predicate_type, "set")
    content = await _file(one.ref, one.path, reader)
    return [_held(one, one.path, one.predicate_type, content, one.subjects)]


async def _unbundle(bundle: Attestation[LazyRef], ref: LazyRef, reader: Reader) -> list[Attestation[Ref]]:
    entries = await reader.read_dir(ref, bundle.path)
    found = []
    for entry in entries:
        path = posixpath.join(bundle.path, entry.path)
        statement = _parse(await _file(ref, path, reader), path)
        kind = str(statement.get("predicateType") or "")
        if bundle.predicate_type and kind != bundle.predicate_type:
            wanted = bundle.predicate_type
            raise InvalidInput(f"bundle entry {kind} does not match required predicate type {wanted}")
        _check_type(kind, "bundle")
        subjects = tuple(_subject(raw, path) for raw in statement.get("subject") or ())
        content = go_json(json.loads(json.dumps(statement.get("predicate"), sort_keys=True))).encode()
        found.append(_held(bundle, path, kind, content, subjects))
    return found


def _held(
    one: Attestation[LazyRef], path: str, kind: str, content: bytes, subjects: tuple[Subject, ...]
) -> Attestation[Ref]:
    return Attestation("in-toto", kind, content, path=path, subjects=subjects, metadata=one.metadata)


def _check_type(kind: str, done: str) -> None:
    if kind.startswith(_PROVENANCE):
        raise InvalidInput(f"frontend may not {done} provenance attestations")


async def _file(ref: FrontendRef, path: str, reader: Reader) -> bytes:
    try:
        content = await reader.read_file(ref, path, length=LARGEST + 1)
    except BuildkitError as error:
        raise error.prefixed("cannot read in-toto attestation: ") from None
    if len(content) > LARGEST:
        raise InvalidInput(f"cannot read in-toto attestation: {path} exceeds {LARGEST} bytes")
    return content


def _parse(content: bytes, path: str) -> dict[str, Any]:
    try:
        statement = json.loads(content)
    except ValueError as error:
        raise InvalidInput(f"cannot decode in-toto statement {path}: {error}") from None
    if not isinstance(statement, dict):
        raise InvalidInput(f"cannot decode in-toto statement {path}: it is not a JSON object")
    return statement


def _subject(raw: object, path: str) -> Subject:
    try:
        if not isinstance(raw, dict):
            raise InvalidInput("not a JSON object")
        digests = tuple(parse_digest(f"{algorithm}:{value}") for algorithm, value in (raw.get("digest") or {}).items())
        return Subject("raw", str(raw.get("name") or ""), digests)
    except (AttributeError, InvalidInput) as error:
        raise InvalidInput(f"cannot decode in-toto statement {path}: malformed subject {raw!r}: {error}") from None
