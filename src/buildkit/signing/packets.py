"""Packets of OpenPGP (RFC 9580, 4): public keys and user ids; signatures have a module of their own."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from enum import IntEnum

from buildkit.core.values import dataclass
from buildkit.signing.octets import Octets
from buildkit.signing.refused import Broken, Foreign, SignatureRefused


class Tag(IntEnum):
    """Kinds of packets that are read."""

    SIGNATURE = 2
    SECRET_KEY = 5
    PUBLIC_KEY = 6
    SECRET_SUBKEY = 7
    MARKER = 10
    TRUST = 12
    USER_ID = 13
    PUBLIC_SUBKEY = 14


class Algorithm(IntEnum):
    """Public key algorithms."""

    RSA = 1
    RSA_ENCRYPT = 2
    RSA_SIGN = 3
    ELGAMAL = 16
    DSA = 17
    ECDH = 18
    ECDSA = 19
    EDDSA = 22


RSA = (Algorithm.RSA, Algorithm.RSA_SIGN)
_CANNOT_SIGN = (Algorithm.RSA_ENCRYPT, Algorithm.ELGAMAL, Algorithm.ECDH)
_NUMBERS = {
    Algorithm.RSA: 2,
    Algorithm.RSA_ENCRYPT: 2,
    Algorithm.RSA_SIGN: 2,
    Algorithm.DSA: 4,
    Algorithm.ELGAMAL: 3,
}
_LAST_CRITICAL = 39


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet, its body not read yet."""

    tag: int
    body: bytes


def read_packets(content: bytes) -> Iterator[Packet]:
    """Every packet but those that readers have to pass over; raises `SignatureRefused`."""
    octets = Octets(content)
    while octets:
        packet = _next_packet(octets)
        if packet.tag in (Tag.MARKER, Tag.TRUST) or packet.tag > _LAST_CRITICAL:
            continue
        if packet.tag in (0, 15, 16, 19) or packet.tag > 21:
            raise SignatureRefused(f"openpgp: unknown critical packet type: {packet.tag}")
        yield packet


def _next_packet(octets: Octets) -> Packet:
    first = octets.number(1)
    if not first & 0x80:
        raise Broken("tag byte does not have MSB set")
    if not first & 0x40:
        kind = first & 3
        return Packet((first & 0x3F) >> 2, octets.rest() if kind == 3 else octets.take(octets.number(1 << kind)))
    body = b""
    while True:
        size, partial = _length(octets)
        body += octets.take(size)
        if not partial:
            return Packet(first & 0x3F, body)


def _length(octets: Octets) -> tuple[int, bool]:
    first = octets.number(1)
    if first < 192:
        return first, False
    if first < 224:
        return ((first - 192) << 8) + octets.number(1) + 192, False
    if first < 255:
        return 1 << (first & 0x1F), True
    return octets.number(4), False


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A primary key or subkey. ``created`` is in seconds since 1970; ``curve`` is an object identifier."""

    created: int
    algorithm: int
    numbers: tuple[bytes, ...]
    curve: bytes
    body: bytes
    """What fingerprints and signatures are made of."""

    @property
    def hashed(self) -> bytes:
        """The key as it goes into hashes."""
        return b"\x99" + len(self.body).to_bytes(2, "big") + self.body

    @property
    def fingerprint(self) -> bytes:
        """20 bytes; the last 8 are the key's id."""
        return hashlib.sha1(self.hashed, usedforsecurity=False).digest()

    @property
    def id(self) -> int:
        """What signatures call it."""
        return int.from_bytes(self.fingerprint[-8:], "big")

    @property
    def signs(self) -> bool:
        """Whether its algorithm makes signatures."""
        return self.algorithm not in _CANNOT_SIGN


def read_key(body: bytes) -> PublicKey:
    """A key's public part, whatever follows; raises `Foreign` for what is not understood."""
    octets = Octets(body)
    version = octets.number(1)
    if version != 4:
        raise Foreign(f"public key version {version}")
    created, algorithm, curve = octets.number(4), octets.number(1), b""
    if algorithm in _NUMBERS:
        numbers = tuple(octets.mpi() for _ in range(_NUMBERS[Algorithm(algorithm)]))
        if algorithm in RSA and len(numbers[1]) > 3:
            raise Foreign("large public exponent")
    elif algorithm in (Algorithm.ECDSA, Algorithm.EDDSA, Algorithm.ECDH):
        curve = octets.take(octets.number(1))
        numbers = (octets.mpi(),)
        if algorithm == Algorithm.ECDH:
            octets.take(octets.number(1))
    else:
        raise Foreign(f"public key type: {algorithm}")
    return PublicKey(created, algorithm, numbers, curve, octets.passed)
