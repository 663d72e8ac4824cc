"""Detached signatures made by the real gpg."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.kit.signers import armored, gpg_home

from buildkit.signing.armor import read_blocks
from buildkit.signing.openpgp import CanonicalText, feed_bytes, feed_file, verify_detached
from buildkit.signing.packets import read_packets
from buildkit.signing.refused import SignatureRefused

TEXT = b"one\ntwo\r\nthree"


@pytest.fixture(scope="module")
def home():
    with gpg_home() as made:
        yield made


@pytest.fixture(scope="module")
def signer(home):
    return home.signer("signer")


def refusal(signature: bytes, keys: bytes, content: bytes = TEXT, **how: bool) -> str:
    with pytest.raises(SignatureRefused) as caught:
        verify_detached(feed_bytes(content), signature, keys, **how)
    return str(caught.value)


@pytest.mark.row("L58", "L68")
@pytest.mark.parametrize(
    ("algorithm", "subkey", "name"),
    [
        ("ed25519", "", "EdDSA"),
        ("rsa2048", "", "RSA"),
        ("nistp256", "", "ECDSA"),
        ("brainpoolP256r1", "", "ECDSA"),
        ("ed25519", "rsa2048", "RSA"),
        ("rsa2048", "ed25519", "EdDSA"),
        ("dsa2048", "nistp384/ecdsa", "ECDSA"),
    ],
)
def test_a_signature_holds_for_what_was_signed_and_for_nothing_else(home, tmp_path, algorithm, subkey, name):
    signer = home.signer(f"{algorithm} by {subkey or 'itself'}", algorithm, subkey=subkey)
    (tmp_path / "file").write_bytes(TEXT)
    for mode in ((), ("--textmode",)):
        signature = signer.sign(TEXT, *mode)
        verify_detached(feed_bytes(TEXT), signature, signer.public)
        verify_detached(feed_file(tmp_path / "file"), signature, signer.public)
        said = refusal(signature, signer.public, TEXT + b"!")
        assert said.endswith(f": openpgp: invalid signature: {name} verification failure")


def test_any_of_several_keys_will_do(home, signer):
    others = [home.signer(name).public for name in ("first of three", "last of three")]
    verify_detached(feed_bytes(TEXT), signer.sign(TEXT), b"\n".join((others[0], signer.public, others[1])))


def test_a_signature_by_somebody_else_is_refused_by_the_id_of_the_key(home, signer):
    stranger = home.signer("stranger")
    said = refusal(stranger.sign(TEXT), signer.public)
    assert said == f"signature by {stranger.id.lstrip('0')}: openpgp: signature made by unknown entity"


def test_a_key_that_may_only_certify_does_not_sign(home):
    whole = home.signer("certifier", subkey="ed25519")
    certifying = home.run("--armor", "--export-options", "export-minimal", "--export", f"{whole.id}!")
    assert "unknown entity" in refusal(whole.sign(TEXT), certifying)


def test_a_key_that_expired_since_will_do_unless_that_is_refused(home):
    old = home.signer("old", expires="1y", when="20200101T000000")
    signature = old.sign(TEXT)
    verify_detached(feed_bytes(TEXT), signature, old.public)
    assert refusal(signature, old.public, reject_expired=True).endswith("openpgp: key expired")


def test_a_key_that_was_revoked_is_refused_for_what_it_signed_before_too(home):
    early = home.signer("early", when="20200101T000000")
    signature = early.sign(TEXT)
    assert refusal(signature, home.revoke(early)) == "key revoked: all is lost"
    stolen = home.signer("stolen", when="20200101T000000")
    signature = stolen.sign(TEXT)
    assert refusal(signature, home.revoke(stolen, "1")).endswith("openpgp: signature made by revoked key")


def test_a_signature_of_the_future_is_refused(home):
    later = home.signer("later", when="20500101T000000")
    said = refusal(later.sign(TEXT), later.public)
    assert said.startswith("signature creation time is in the future: 2050-01-01 00:00:0")


def test_weak_hashes_and_algorithms_and_short_keys_are_refused(home, signer):
    assert refusal(signer.sign(TEXT, "--digest-algo", "SHA1"), signer.public) == "rejecting weak/unknown hash: SHA-1"
    short, dsa = home.signer("short", "rsa1024"), home.signer("dsa", "dsa2048")
    assert refusal(short.sign(TEXT), short.public) == "RSA key too short: 1024 bits"
    assert refusal(dsa.sign(TEXT), dsa.public) == "rejecting unsupported pubkey algorithm: 17"


def test_what_is_no_signature_or_no_key_is_told_apart(signer):
    signature, keys = signer.sign(TEXT), signer.public
    assert refusal(b"", keys) == "failed to decode armored signature: EOF"
    assert refusal(armored(b"\xb4\x01x", "PGP SIGNATURE"), keys) == "no signature packet found"
    assert refusal(signature, b"") == "failed to read armored public key: no armored data found"
    assert refusal(signature, signature) == "expected public or private key block, got: PGP SIGNATURE"


def test_a_signing_subkey_that_does_not_agree_is_claimed_in_vain(home, signer):
    victim = home.signer("victim", subkey="ed25519")
    (ring,) = read_blocks(victim.public)
    *_, subkey, binding = read_packets(ring.content)
    (own,) = read_blocks(signer.public)
    claimed = own.content + b"".join(
        bytes((0xC0 | one.tag, 255)) + len(one.body).to_bytes(4, "big") + one.body for one in (subkey, binding)
    )
    assert "unknown entity" in refusal(victim.sign(TEXT), signer.public)
    said = refusal(victim.sign(TEXT), armored(claimed, "PGP PUBLIC KEY BLOCK"))
    assert said.startswith("failed to read armored public key: openpgp: invalid data: subkey signature invalid")


@pytest.mark.row("L58")
def test_whatever_is_damaged_is_refused_and_nothing_else_happens(signer):
    signature, keys = signer.sign(TEXT), signer.public
    (block,) = read_blocks(signature)
    (key,) = read_blocks(keys)
    hashed_until = 8 + int.from_bytes(block.content[6:8], "big")
    for place in (*range(2, hashed_until), *range(len(block.content) - 30, len(block.content))):
        for change in (0x01, 0x80):
            changed = bytearray(block.content)
            changed[place] ^= change
            refusal(armored(bytes(changed), "PGP SIGNATURE"), keys)
    for cut in range(0, len(key.content), 7):
        refusal(signature, armored(key.content[:cut], "PGP PUBLIC KEY BLOCK"))


@given(st.binary(max_size=200))
def test_random_bytes_are_refused(content):
    with pytest.raises(SignatureRefused):
        verify_detached(feed_bytes(b""), content, content)


@given(st.lists(st.sampled_from([b"a", b"\n", b"\r\n", b""])))
def test_lines_end_alike_however_the_text_comes_in_pieces(pieces):
    text = b"".join(pieces)
    canonical = CanonicalText()
    wanted = text.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    assert b"".join(canonical.convert(bytes([byte])) for byte in text) == wanted
    assert CanonicalText().convert(text) == wanted
