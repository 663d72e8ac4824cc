from __future__ import annotations

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from buildkit.signing.ed25519 import public_key, sign, verify

SECRET = st.binary(min_size=32, max_size=32)

RFC8032 = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
        "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
        "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
]


@pytest.mark.parametrize("vector", RFC8032)
def test_the_vectors_of_the_standard_hold(vector):
    secret, public, message, signature = map(bytes.fromhex, vector)
    assert public_key(secret) == public
    assert sign(secret, message) == signature and verify(public, message, signature)


@settings(max_examples=25, deadline=None)
@given(SECRET, st.binary(max_size=100))
def test_keys_and_signatures_are_those_of_another_implementation(secret, message):
    other = Ed25519PrivateKey.from_private_bytes(secret)
    assert public_key(secret) == other.public_key().public_bytes_raw()
    assert sign(secret, message) == other.sign(message)


@settings(max_examples=50, deadline=None)
@given(SECRET, st.integers(0, 32 + 64 + 5 - 1), st.integers(0, 7))
def test_one_changed_bit_is_judged_as_by_another_implementation(secret, place, bit):
    whole = bytearray(public_key(secret) + sign(secret, b"hello") + b"hello")
    whole[place] ^= 1 << bit
    public, signature, message = bytes(whole[:32]), bytes(whole[32:96]), bytes(whole[96:])
    assert not verify(public, message, signature)
    with pytest.raises(InvalidSignature):
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)


@given(st.binary(max_size=70), st.binary(max_size=70))
def test_what_is_no_key_or_no_signature_verifies_nothing(public, signature):
    assert not verify(public, b"hello", signature)


def test_a_signature_whose_number_is_too_large_is_refused():
    order = 2**252 + 27742317777372353535851937790883648493
    secret, signature = bytes(32), sign(bytes(32), b"m")
    number = int.from_bytes(signature[32:], "little") + order
    assert not verify(public_key(secret), b"m", signature[:32] + number.to_bytes(32, "little"))
