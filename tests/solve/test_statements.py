"""What clients attest, read from the refs that they name."""

import json

import pytest

from buildkit.core.errors import InvalidInput, NotFound, Unsupported
from buildkit.core.result import Attestation, Subject
from buildkit.frontend.frontend import FileStat
from buildkit.solve.statements import read_statements

REF = object()
KIND = "https://example.com/kind"
STATEMENT = {
    "predicateType": KIND,
    "subject": [{"name": "n", "digest": {"sha256": "ab" * 32}}],
    "predicate": {"z": 1, "a": {"y": 2, "b": 3}},
}


class Files:
    """Reads files of any ref."""

    def __init__(self, **files):
        self._files = files

    async def read_file(self, ref, path, *, offset=0, length=None):
        assert ref is REF
        if path not in self._files:
            raise NotFound(f"open {path}: no such file or directory")
        return self._files[path]

    async def read_dir(self, ref, path, *, pattern=""):
        return [FileStat(name.removeprefix("b/"), 0o600) for name in self._files if name.startswith("b/")]


async def read(*said, **files):
    return (await read_statements({"linux/amd64": said}, Files(**files)))["linux/amd64"]


async def test_a_file_of_a_ref_is_what_is_said():
    subjects = (Subject("raw", "x"),)
    said = Attestation("in-toto", KIND, ref=REF, path="f", subjects=subjects, metadata={"inline-only": b"true"})
    (found,) = await read(said, f=b"{}")
    assert found == Attestation("in-toto", KIND, b"{}", None, "f", subjects, {"inline-only": b"true"})


async def test_a_bundle_is_a_directory_of_statements():
    (found,) = await read(Attestation("bundle", "", ref=REF, path="b"), **{"b/1": json.dumps(STATEMENT).encode()})
    assert (found.kind, found.predicate_type) == ("in-toto", KIND)
    assert found.content == b'{"a":{"b":3,"y":2},"z":1}'
    assert found.subjects == (Subject("raw", "n", ("sha256:" + "ab" * 32,)),)


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (Attestation("in-toto", KIND, ref=REF), "does not have set path"),
        (Attestation("in-toto", KIND, path="f"), "does not have available content"),
        (Attestation("bundle", KIND, path="b"), "does not have available content"),
        (Attestation("in-toto", KIND, ref=REF, path="g"), r"cannot read in-toto attestation: open g: no such file"),
        (Attestation("in-toto", "https://slsa.dev/provenance/v1", ref=REF, path="f"), "may not set provenance"),
        (Attestation("bundle", "https://other", ref=REF, path="b"), "does not match required predicate type"),
    ],
)
async def test_what_cannot_be_said_is_refused(said, text):
    with pytest.raises((InvalidInput, NotFound), match=text):
        await read(said, f=b"{}", **{"b/1": json.dumps(STATEMENT).encode()})


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{", b'{"subject": [1]}', b'{"subject": [{"digest": 1}]}', b'{"subject": [{"digest": {"x": "y"}}]}'],
)
async def test_a_bundle_of_something_else_is_refused(content):
    with pytest.raises(InvalidInput, match="cannot decode in-toto statement b/1"):
        await read(Attestation("bundle", "", ref=REF, path="b"), **{"b/1": content})


async def test_what_is_not_built_is_refused_by_name():
    with pytest.raises(Unsupported, match="SBOM"):
        await read(Attestation("bundle", "", ref=REF, path="b", metadata={"sbom-core": b"sbom"}))


@pytest.mark.row("E115")
async def test_nobody_but_the_builder_tells_where_things_come_from():
    kind = "https://slsa.dev/provenance/v0.2"
    with pytest.raises(InvalidInput, match=r"^frontend may not set provenance attestations$"):
        await read(Attestation("in-toto", kind, ref=REF, path="f"), f=b"{}")
    statement = json.dumps({**STATEMENT, "predicateType": kind}).encode()
    with pytest.raises(InvalidInput, match=r"^frontend may not bundle provenance attestations$"):
        await read(Attestation("bundle", "", ref=REF, path="b"), **{"b/1": statement})


@pytest.mark.row("E134")
async def test_a_statement_of_more_than_40_megabytes_is_refused(monkeypatch):
    from buildkit.solve import statements

    assert statements.LARGEST == 40 << 20
    monkeypatch.setattr(statements, "LARGEST", 10)
    said = Attestation("in-toto", KIND, ref=REF, path="f")
    assert await read(said, f=b"0123456789")
    with pytest.raises(InvalidInput, match=r"^cannot read in-toto attestation: f exceeds 10 bytes$"):
        await read(said, f=b"0123456789a")
