"""Commits and tags as git stores them."""

from __future__ import annotations

import builtins

import pytest

from buildkit.core.errors import Unsupported
from buildkit.signing.gitobject import parse_object
from buildkit.signing.material import need_cryptography
from buildkit.signing.refused import SignatureRefused

COMMIT = b"tree 1\nparent 2\nauthor A <a@b> 1 +0000\ncommitter A <a@b> 1 +0000\n%s\nmessage\n"
TAG = b"object 1\ntype commit\ntag v1\ntagger A <a@b> 1 +0000\n\nmessage\n"


@pytest.mark.parametrize("header", [b"gpgsig", b"gpgsig-sha256"])
def test_the_signature_of_a_commit_is_taken_out_of_its_headers(header):
    found = parse_object(COMMIT % (header + b" first\n second\n \n last\nencoding utf-8\n"))
    assert found.signature == b"first\nsecond\n\nlast"
    assert found.signed == COMMIT % b"encoding utf-8\n"


def test_the_signature_of_a_tag_is_the_end_of_its_message():
    found = parse_object(TAG + b"-----BEGIN SSH SIGNATURE-----\nx\n")
    assert (found.signed, found.signature) == (TAG, b"-----BEGIN SSH SIGNATURE-----\nx\n")


def test_an_object_is_compared_with_its_id():
    with pytest.raises(SignatureRefused, match=r"checksum mismatch: expected a{40}, got [0-9a-f]{40}"):
        parse_object(TAG).check_id("a" * 40)
    with pytest.raises(SignatureRefused, match=r"got [0-9a-f]{64}"):
        parse_object(TAG).check_id("a" * 64)
    with pytest.raises(SignatureRefused, match="unsupported sha length 3"):
        parse_object(TAG).check_id("abc")


@pytest.mark.parametrize("missing", [b"tree", b"author", b"committer"])
def test_a_commit_without_its_headers_is_none(missing):
    raw = b"\n".join(line for line in (COMMIT % b"").split(b"\n") if not line.startswith(missing))
    with pytest.raises(SignatureRefused, match=f"invalid commit object: missing {missing.decode()} header"):
        parse_object(raw)


def test_an_object_without_a_signature_or_with_another_is_refused():
    with pytest.raises(SignatureRefused, match="git object is not signed"):
        parse_object(TAG).verify(b"", reject_expired=False)
    with pytest.raises(SignatureRefused, match="invalid signature format"):
        parse_object(COMMIT % b"gpgsig -----BEGIN SIGNED MESSAGE-----\n").verify(b"", reject_expired=False)


def test_without_the_library_its_name_is_told(monkeypatch):
    real = builtins.__import__

    def fail(name, *args, **kwargs):
        if name.partition(".")[0] == "cryptography":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", fail)
    with pytest.raises(Unsupported, match=r"needs the Python package cryptography: pip install 'pybuildkit\[sign"):
        need_cryptography()
