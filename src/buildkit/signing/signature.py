"""Signature packets of OpenPGP, version 4 (RFC 9580, 5.2)."""

from __future__ import annotations

import hashlib
from enum import IntEnum
from typing import TYPE_CHECKING

from buildkit.core.values import dataclass
from buildkit.signing.octets import Octets
from buildkit.signing.packets import RSA, Algorithm
from buildkit.signing.refused import Broken, Foreign

if TYPE_CHECKING:
    from hashlib import _Hash

HASHES = {
    2: ("sha1", "SHA-1"),
    8: ("sha256", "SHA-256"),
    9: ("sha384", "SHA-384"),
    10: ("sha512", "SHA-512"),
    11: ("sha224", "SHA-224"),
    12: ("sha3_256", "SHA3-256"),
    14: ("sha3_512", "SHA3-512"),
}
"""By number: hashlib's name, and the one for people."""
MAY_SIGN = 2
"""The flag of keys that may sign."""
KEY_COMPROMISED = 2
"""The reason of a revocation that counts for the past, too."""
_DEEPEST = 4


class Kind(IntEnum):
    """What a signature is about."""

    BINARY = 0x00
    TEXT = 0x01
    GENERIC = 0x10
    PERSONA = 0x11
    CASUAL = 0x12
    POSITIVE = 0x13
    SUBKEY = 0x18
    PRIMARY_BY_SUBKEY = 0x19
    KEY_REVOCATION = 0x20
    SUBKEY_REVOCATION = 0x28
    IDENTITY_REVOCATION = 0x30


@dataclass(frozen=True, slots=True)
class Statements:
    """What the subpackets say. Times are in seconds; a lifetime of 0 has no end."""

    created: int | None = None
    lifetime: int = 0
    key_lifetime: int = 0
    issuer: int | None = None
    fingerprint: bytes = b""
    flags: int | None = None
    primary: bool = False
    reason: tuple[int, str] | None = None
    critical_notations: tuple[str, ...] = ()
    embedded: Signature | None = None


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature. ``suffix`` is hashed after what is signed."""

    kind: int
    algorithm: int
    hash: int
    created: int
    says: Statements
    suffix: bytes
    numbers: tuple[bytes, ...]

    def new_hash(self) -> _Hash:
        """A hash of the kind that was signed."""
        return hashlib.new(HASHES[self.hash][0], usedforsecurity=False)

    def expired(self, now: int) -> bool:
        """Whether it has expired by then, or was not made yet."""
        return self.created > now or bool(self.says.lifetime and now > self.created + self.says.lifetime)


def read_signature(body: bytes, depth: int = 0) -> Signature:
    """A signature packet; raises `Foreign` for what is not understood and `Broken`."""
    octets = Octets(body)
    version = octets.number(1)
    if version != 4:
        raise Foreign(f"signature packet version {version}")
    kind, algorithm, hash = octets.number(1), octets.number(1), octets.number(1)
    if algorithm not in (*RSA, Algorithm.DSA, Algorithm.ECDSA, Algorithm.EDDSA):
        raise Foreign(f"public key algorithm {algorithm}")
    if hash not in HASHES:
        raise Foreign(f"hash function {hash}")
    said: dict[str, object] = {}
    _read_statements(said, octets.take(octets.number(2)), hashed=True, depth=depth)
    hashed = octets.passed
    if said.get("created") is None:
        raise Broken("no creation time in signature")
    _read_statements(said, octets.take(octets.number(2)), hashed=False, depth=depth)
    octets.take(2)
    numbers = tuple(octets.mpi() for _ in range(1 if algorithm in RSA else 2))
    says = Statements(**said)  # type: ignore[arg-type]
    suffix = hashed + b"\x04\xff" + len(hashed).to_bytes(4, "big")
    return Signature(kind, algorithm, hash, says.created or 0, says, suffix, numbers)


def _read_statements(said: dict[str, object], content: bytes, *, hashed: bool, depth: int) -> None:
    octets = Octets(content)
    while octets:
        first = octets.number(1)
        if first < 192:
            size = first
        elif first < 255:
            size = ((first - 192) << 8) + octets.number(1) + 192
        else:
            size = octets.number(4)
        if size > len(octets):
            raise Broken("signature subpacket truncated")
        if not size:
            raise Broken("zero length signature subpacket")
        head = octets.number(1)
        _read_statement(said, head & 0x7F, octets.take(size - 1), head >= 0x80, hashed, depth)


_CREATED, _LIFETIME, _EXPORTABLE, _TRUST, _REGEXP, _KEY_LIFETIME, _ISSUER = 2, 3, 4, 5, 6, 9, 16
_NOTATION, _PRIMARY, _FLAGS, _REASON, _EMBEDDED, _FINGERPRINT = 20, 25, 27, 29, 32, 33
_HARMLESS = (11, 21, 22, 23, 24, 26, 28, 30, 35, 39)
_SIZES = {
    _CREATED: (4, "signature creation time not four bytes"),
    _LIFETIME: (4, "expiration subpacket with bad length"),
    _TRUST: (2, "trust subpacket with bad length"),
    _KEY_LIFETIME: (4, "key expiration subpacket with bad length"),
    _ISSUER: (8, "issuer subpacket with bad length"),
    _PRIMARY: (1, "primary user id subpacket with bad length"),
}


def _read_statement(
    said: dict[str, object], kind: int, content: bytes, critical: bool, hashed: bool, depth: int
) -> None:
    if not hashed and kind not in (_ISSUER, _FINGERPRINT, _EMBEDDED):
        return
    size, complaint = _SIZES.get(kind, (len(content), ""))
    if len(content) != size:
        raise Broken(complaint)
    number = int.from_bytes(content[:8], "big")
    if kind in (_CREATED, _LIFETIME, _KEY_LIFETIME, _ISSUER):
        said[{_CREATED: "created", _LIFETIME: "lifetime", _KEY_LIFETIME: "key_lifetime"}.get(kind, "issuer")] = number
    elif kind == _EXPORTABLE:
        if not content[:1].strip(b"\0"):
            raise Foreign("signature with non-exportable certification")
    elif kind == _REGEXP:
        if not content.endswith(b"\0"):
            raise Broken("expected regular expression to be null-terminated")
    elif kind == _PRIMARY:
        said["primary"] = number > 0
    elif kind == _FLAGS:
        said["flags"] = content[0] if content else 0
    elif kind == _NOTATION:
        _read_notation(said, content, critical)
    elif kind == _REASON:
        if not content:
            raise Broken("empty revocation reason subpacket")
        said["reason"] = (content[0], content[1:].decode(errors="replace"))
    elif kind == _FINGERPRINT:
        _read_fingerprint(said, content)
    elif kind == _EMBEDDED:
        _read_embedded(said, content, depth)
    elif critical and kind not in (_TRUST, *_HARMLESS):
        raise Foreign(f"unknown critical signature subpacket type {kind}")


def _read_notation(said: dict[str, object], content: bytes, critical: bool) -> None:
    octets = Octets(content)
    if len(octets) < 8:
        raise Broken("notation data subpacket with bad length")
    octets.take(4)
    name_size, value_size = octets.number(2), octets.number(2)
    if len(octets) != name_size + value_size:
        raise Broken("notation data subpacket with bad length")
    if critical:
        names = said.get("critical_notations", ())
        said["critical_notations"] = (*names, octets.take(name_size).decode(errors="replace"))  # type: ignore[misc]


def _read_fingerprint(said: dict[str, object], content: bytes) -> None:
    if not content:
        raise Broken("empty issuer fingerprint subpacket")
    version, fingerprint = content[0], content[1:]
    if len(fingerprint) != (20 if version < 5 else 32):
        raise Broken("bad fingerprint length")
    said["fingerprint"] = fingerprint
    said["issuer"] = int.from_bytes(fingerprint[-8:] if version < 5 else fingerprint[:8], "big")


def _read_embedded(said: dict[str, object], content: bytes, depth: int) -> None:
    if "embedded" in said:
        raise Broken("Cannot have multiple embedded signatures")
    if depth == _DEEPEST:
        raise Broken("signatures within signatures")
    embedded = read_signature(content, depth + 1)
    if embedded.kind != Kind.PRIMARY_BY_SUBKEY:
        raise Broken(f"cross-signature has unexpected type {embedded.kind}")
    said["embedded"] = embedded
