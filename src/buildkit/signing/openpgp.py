"""Detached signatures of OpenPGP: whether one was made by a key of a key ring, when that key was good."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from buildkit.signing.armor import read_blocks
from buildkit.signing.keyring import Signer, check, is_revoked, read_keyring, signers
from buildkit.signing.material import need_cryptography
from buildkit.signing.packets import RSA, Algorithm, PublicKey, Tag, read_packets
from buildkit.signing.refused import Broken, DoesNotFit, Foreign, SignatureRefused
from buildkit.signing.signature import HASHES, Kind, Signature, read_signature

if TYPE_CHECKING:
    from hashlib import _Hash

Feed = Callable[["_Hash", bool], None]
"""Puts what was signed into a hash, with lines ending in CR LF if the flag is set."""

_STRONG = ("sha256", "sha384", "sha512")
_CLOCKS_DIFFER_SECONDS = 300
_SHORTEST_RSA_BITS = 2048
_PIECE = 1 << 20


def verify_detached(feed: Feed, signature: bytes, keys: bytes, *, reject_expired: bool = False) -> None:
    """Check an armoured signature with armoured keys, as BuildKit does; raises `SignatureRefused`.

    A key that has expired since will do unless ``reject_expired``; one that had when it signed never does.
    """
    need_cryptography()
    found = _signatures(signature)
    entities = read_keyring(keys)
    first = found[0]
    if HASHES[first.hash][0] not in _STRONG:
        raise SignatureRefused(f"rejecting weak/unknown hash: {HASHES[first.hash][1]}")
    if first.algorithm not in (Algorithm.EDDSA, Algorithm.ECDSA, *RSA):
        raise SignatureRefused(f"rejecting unsupported pubkey algorithm: {first.algorithm}")
    now = int(time.time())
    try:
        signer = _signer(found, feed, lambda id: signers(entities, id), now if reject_expired else first.created)
    except SignatureRefused as error:
        raise (
            error if first.says.issuer is None else error.prefixed(f"signature by {first.says.issuer:X}: ")
        ) from None
    _check_usable(signer)
    if first.created > now + _CLOCKS_DIFFER_SECONDS:
        when = time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC", time.gmtime(first.created))
        raise SignatureRefused(f"signature creation time is in the future: {when}")


def feed_bytes(content: bytes) -> Feed:
    """What was signed, at hand."""

    def feed(hash: _Hash, text: bool) -> None:
        hash.update(CanonicalText().convert(content) if text else content)

    return feed


def feed_file(path: Path) -> Feed:
    """What was signed, in a file, which is read piece by piece."""

    def feed(hash: _Hash, text: bool) -> None:
        canonical = CanonicalText()
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                hash.update(canonical.convert(piece) if text else piece)

    return feed


class CanonicalText:
    """Lines that end in CR LF, whatever they ended in; content comes in pieces."""

    def __init__(self) -> None:
        self._return = False

    def convert(self, piece: bytes) -> bytes:
        """The next piece, converted."""
        lines = piece.split(b"\n")
        for number in range(len(lines) - 1):
            complete = lines[number].endswith(b"\r") if lines[number] or number else self._return
            if not complete:
                lines[number] += b"\r"
        self._return = piece.endswith(b"\r") if piece else self._return
        return b"\n".join(lines)


def _signatures(text: bytes) -> list[Signature]:
    try:
        block = next(read_blocks(text), None)
    except SignatureRefused as error:
        raise error.prefixed("failed to read armored signature body: ") from None
    if block is None:
        raise SignatureRefused("failed to decode armored signature: EOF")
    found = []
    try:
        for packet in read_packets(block.content):
            if packet.tag == Tag.SIGNATURE:
                try:
                    found.append(read_signature(packet.body))
                except Foreign:
                    continue
    except SignatureRefused as error:
        if not found:
            raise error.prefixed("failed to read next packet: ") from None
    if not found:
        raise SignatureRefused("no signature packet found")
    return found


def _signer(
    found: list[Signature], feed: Feed, keys_of: Callable[[int | None], list[Signer]], now: int
) -> tuple[Signer, Signature]:
    """Who made the first signature whose maker is known."""
    for signature in found:
        if signature.says.issuer is None:
            raise Broken("signature doesn't have an issuer")
        keys = keys_of(signature.says.issuer)
        if not keys:
            continue
        if signature.kind not in (Kind.BINARY, Kind.TEXT):
            raise Foreign(f"unsupported signature type: {signature.kind}")
        hash = signature.new_hash()
        feed(hash, signature.kind == Kind.TEXT)
        problem: DoesNotFit | None = None
        for signer in keys:
            try:
                check(signer.key, hash.copy(), signature)
            except DoesNotFit as error:
                problem = error
                continue
            _check_times(signer, signature, now)
            return signer, signature
        if problem is not None:
            raise problem
    raise SignatureRefused("openpgp: signature made by unknown entity")


def _check_times(signer: Signer, signature: Signature, now: int) -> None:
    entity, subkey = signer.entity, signer.subkey
    identity = entity.identity
    involved = [signature, identity.signature]
    if subkey is not None:
        involved += [subkey.signature, subkey.signature.says.embedded]
    relevant = [one for one in involved if one is not None]
    for one in relevant:
        for name in one.says.critical_notations:
            raise SignatureRefused(f"openpgp: invalid signature: unknown critical notation: {name}")
    revoked = [entity.revocations, identity.revocations, subkey.revocations if subkey is not None else ()]
    if any(is_revoked(one, now) for one in revoked):
        raise SignatureRefused("openpgp: signature made by revoked key")
    if _expired(entity.primary, identity.signature, now) or (
        subkey is not None and _expired(subkey.key, subkey.signature, now)
    ):
        raise SignatureRefused("openpgp: key expired")
    if any(one.expired(now) for one in relevant):
        raise SignatureRefused("openpgp: signature expired")


def _expired(key: PublicKey, signature: Signature | None, now: int) -> bool:
    life = signature.says.key_lifetime if signature is not None else 0
    return key.created > now or bool(life and now > key.created + life)


def _check_usable(found: tuple[Signer, Signature]) -> None:
    entity = found[0].entity
    for one in entity.revocations:
        reason = (one.says.reason or (0, ""))[1]
        raise SignatureRefused(f"key revoked: {reason}" if reason else "key revoked")
    primary = entity.primary
    if primary.algorithm in RSA:
        bits = int.from_bytes(primary.numbers[0], "big").bit_length()
        if bits < _SHORTEST_RSA_BITS:
            raise SignatureRefused(f"RSA key too short: {bits} bits")
