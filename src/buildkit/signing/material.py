"""The arithmetic of signatures, by the package ``cryptography``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from buildkit.core.errors import Unsupported
from buildkit.signing.refused import DoesNotFit, Foreign

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurve
    from cryptography.hazmat.primitives.hashes import HashAlgorithm

_HASHES = {
    "sha1": "SHA1",
    "sha224": "SHA224",
    "sha256": "SHA256",
    "sha384": "SHA384",
    "sha512": "SHA512",
    "sha3_256": "SHA3_256",
    "sha3_512": "SHA3_512",
}


def need_cryptography() -> None:
    """Raise `Unsupported` naming the package if it is not there."""
    try:
        import cryptography  # noqa: F401
    except ImportError:
        raise Unsupported(
            "verifying signatures needs the Python package cryptography: pip install 'pybuildkit[signatures]'"
        ) from None


def check_rsa(modulus: bytes, exponent: bytes, hash: str, digest: bytes, signature: bytes, complaint: str) -> None:
    """PKCS #1 v1.5 over a digest; raises `DoesNotFit`."""
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
    from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

    def check() -> None:
        key = RSAPublicNumbers(int.from_bytes(exponent, "big"), int.from_bytes(modulus, "big")).public_key()
        padded = signature.rjust((key.key_size + 7) // 8, b"\0")
        key.verify(padded, digest, PKCS1v15(), Prehashed(_hash(hash)))

    _checked(check, complaint)


def check_dsa(numbers: tuple[bytes, ...], hash: str, digest: bytes, signature: tuple[bytes, ...]) -> None:
    """DSA over a digest: ``numbers`` are p, q, g, y; raises `DoesNotFit`."""
    from cryptography.hazmat.primitives.asymmetric.dsa import DSAParameterNumbers, DSAPublicNumbers
    from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature

    def check() -> None:
        p, q, g, y = (int.from_bytes(one, "big") for one in numbers)
        key = DSAPublicNumbers(y, DSAParameterNumbers(p, q, g)).public_key()
        r, s = (int.from_bytes(one, "big") for one in signature)
        key.verify(encode_dss_signature(r, s), digest, Prehashed(_hash(hash)))

    _checked(check, "openpgp: invalid signature: DSA verification failure")


def check_ecdsa(
    curve: str, point: bytes, hash: str, digest: bytes, signature: tuple[bytes, ...], complaint: str
) -> None:
    """ECDSA over a digest; ``curve`` is one of `CURVES`; raises `DoesNotFit`."""
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature

    def check() -> None:
        kind: EllipticCurve = getattr(ec, curve)()
        key = ec.EllipticCurvePublicKey.from_encoded_point(kind, point)
        r, s = (int.from_bytes(one, "big") for one in signature)
        key.verify(encode_dss_signature(r, s), digest, ec.ECDSA(Prehashed(_hash(hash))))

    _checked(check, complaint)


def check_ed25519(public: bytes, message: bytes, signature: bytes, complaint: str) -> None:
    """Ed25519 over a message; raises `DoesNotFit`."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    _checked(lambda: Ed25519PublicKey.from_public_bytes(public).verify(signature, message), complaint)


CURVES = {
    "2a8648ce3d030107": "SECP256R1",
    "2b81040022": "SECP384R1",
    "2b81040023": "SECP521R1",
    "2b8104000a": "SECP256K1",
    "2b2403030208010107": "BrainpoolP256R1",
    "2b240303020801010b": "BrainpoolP384R1",
    "2b240303020801010d": "BrainpoolP512R1",
}
"""The curves of ECDSA by their object identifiers."""
ED25519 = bytes.fromhex("2b06010401da470f01")
"""The object identifier of Ed25519."""


def curve_name(identifier: bytes) -> str:
    """A curve of `CURVES`; raises `Foreign`."""
    try:
        return CURVES[identifier.hex()]
    except KeyError:
        raise Foreign(f"unknown oid: {identifier.hex()}") from None


def _hash(name: str) -> HashAlgorithm:
    from cryptography.hazmat.primitives import hashes

    found: HashAlgorithm = getattr(hashes, _HASHES[name])()
    return found


def _checked(check: Callable[[], None], complaint: str) -> None:
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

    try:
        check()
    except (InvalidSignature, UnsupportedAlgorithm, ValueError):
        raise DoesNotFit(complaint) from None
