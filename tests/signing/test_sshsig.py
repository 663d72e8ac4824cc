"""Signatures made by the real ssh-keygen."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.kit.signers import ssh_signer

from buildkit.signing.refused import SignatureRefused
from buildkit.signing.sshsig import verify_ssh


def refusal(signature: bytes, key: bytes, content: bytes = b"text") -> str:
    with pytest.raises(SignatureRefused) as caught:
        verify_ssh(content, signature, key, "git")
    return str(caught.value)


@pytest.fixture(scope="module")
def signer(tmp_path_factory):
    return ssh_signer(tmp_path_factory.mktemp("ssh"))


@pytest.mark.row("L58")
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("-t", "ed25519"), "ssh: signature did not verify"),
        (("-t", "rsa", "-b", "2048"), "crypto/rsa: verification error"),
        (("-t", "ecdsa", "-b", "256"), "ssh: signature did not verify"),
        (("-t", "ecdsa", "-b", "384"), "ssh: signature did not verify"),
        (("-t", "ecdsa", "-b", "521"), "ssh: signature did not verify"),
    ],
)
def test_a_signature_holds_for_what_was_signed_and_for_nothing_else(tmp_path, options, said):
    signer = ssh_signer(tmp_path, "id", *options)
    for hash in ("sha256", "sha512"):
        signature = signer.sign(b"text", "-O", f"hashalg={hash}")
        verify_ssh(b"text", signature, signer.public, "git")
        assert refusal(signature, signer.public, b"other") == f"failed to verify ssh signature: {said}"


def test_a_signature_by_another_key_is_refused(tmp_path, signer):
    other = ssh_signer(tmp_path, "other")
    said = refusal(other.sign(b"text"), signer.public)
    assert said == "failed to verify ssh signature: public key does not match"


def test_a_signature_for_another_purpose_is_refused(signer):
    said = refusal(signer.sign(b"text", namespace="file"), signer.public)
    assert said == 'unexpected SSH signature namespace: "file"'


def test_the_key_may_stand_among_other_lines_with_options(signer):
    lines = b'# comment\n\nfrom="a b",restrict ' + signer.public
    verify_ssh(b"text", signer.sign(b"text"), lines, "git")


def test_what_is_no_key_is_told(signer):
    signature = signer.sign(b"text")
    assert refusal(signature, b"") == "failed to parse ssh public key: ssh: no key found"
    for text, problem in (
        (b"ssh-ed25519 AAAA", "ssh: short read"),
        (b"PGP PUBLIC", "illegal base64 data at input byte 4"),
    ):
        said = refusal(signature, text)
        assert said.endswith(f"ssh: no key found; last parsing error for ignored line: {problem}")
    wrong = signer.public.replace(b"ssh-ed25519", b"ssh-rsa", 1)
    assert 'mismatch: human-readable type "ssh-rsa", encoded type "ssh-ed25519"' in refusal(signature, wrong)


def test_a_damaged_signature_is_refused_at_every_byte(signer):
    lines = signer.sign(b"text").splitlines()
    content = base64.b64decode(b"".join(lines[1:-1]))
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= 1
        body = base64.encodebytes(bytes(changed)).strip()
        refusal(b"\n".join((lines[0], body, lines[-1])), signer.public)


@given(st.binary(max_size=120))
def test_random_bytes_are_refused(content):
    body = base64.encodebytes(b"SSHSIG\0\0\0\1" + content)
    said = refusal(b"-----BEGIN SSH SIGNATURE-----\n" + body + b"-----END SSH SIGNATURE-----\n", b"")
    assert said.startswith("failed to parse ssh signature: ")
    refusal(content, content)
