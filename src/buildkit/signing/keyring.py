"""Public keys of OpenPGP with their identities and subkeys, as far as they vouch for themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from buildkit.core.values import dataclass
from buildkit.signing.armor import read_blocks
from buildkit.signing.material import ED25519, check_dsa, check_ecdsa, check_ed25519, check_rsa, curve_name
from buildkit.signing.packets import RSA, Algorithm, Packet, PublicKey, Tag, read_key, read_packets
from buildkit.signing.refused import Broken, DoesNotFit, Foreign, SignatureRefused
from buildkit.signing.signature import HASHES, KEY_COMPROMISED, MAY_SIGN, Kind, Signature, read_signature

if TYPE_CHECKING:
    from hashlib import _Hash

_CERTIFICATIONS = (Kind.GENERIC, Kind.PERSONA, Kind.CASUAL, Kind.POSITIVE, Kind.IDENTITY_REVOCATION)
_BLOCKS = ("PGP PUBLIC KEY BLOCK", "PGP PRIVATE KEY BLOCK")


@dataclass(frozen=True, slots=True)
class Identity:
    """A user id. ``signature`` is the owner's latest word on it."""

    signature: Signature | None
    revocations: tuple[Signature, ...]


@dataclass(frozen=True, slots=True)
class Subkey:
    """A key that the primary key has bound to itself."""

    key: PublicKey
    signature: Signature
    revocations: tuple[Signature, ...]


@dataclass(frozen=True, slots=True)
class Entity:
    """A primary key and what belongs to it."""

    primary: PublicKey
    identities: tuple[Identity, ...]
    subkeys: tuple[Subkey, ...]
    revocations: tuple[Signature, ...]

    @property
    def identity(self) -> Identity:
        """The one that says how long the primary key lives and what it may do."""
        best = self.identities[0]
        for one in self.identities[1:]:
            best = one if _rank(one) > _rank(best) else best
        return best


def _rank(identity: Identity) -> tuple[int, bool, bool, int]:
    signature = identity.signature
    primary, created = (signature.says.primary, signature.created) if signature is not None else (False, 0)
    return (-len(identity.revocations), signature is not None, primary, created)


@dataclass(frozen=True, slots=True)
class Signer:
    """A key of an entity that may sign. ``subkey`` is None for the primary key."""

    entity: Entity
    key: PublicKey
    subkey: Subkey | None = None


def signers(entities: list[Entity], id: int | None) -> list[Signer]:
    """The keys of this id that may sign."""
    found = []
    for entity in entities:
        own = entity.identity.signature
        if own is None:
            continue
        if entity.primary.id == id and (own.says.flags or 0) & MAY_SIGN:
            found.append(Signer(entity, entity.primary))
        found += [
            Signer(entity, sub.key, sub)
            for sub in entity.subkeys
            if sub.key.id == id and (sub.signature.says.flags or 0) & MAY_SIGN
        ]
    return found


def is_revoked(revocations: tuple[Signature, ...], now: int) -> bool:
    """Whether one of them counts by then; those of stolen keys always do."""
    return any((one.says.reason or (0, ""))[0] == KEY_COMPROMISED or not one.expired(now) for one in revocations)


def check(key: PublicKey, hash: _Hash, signature: Signature) -> None:
    """Raise `DoesNotFit` unless ``signature`` was made by ``key`` over what is in ``hash``, which is finished here."""
    hash.update(signature.suffix)
    digest, name = hash.digest(), HASHES[signature.hash][0]
    if not key.signs:
        raise DoesNotFit("openpgp: invalid argument: public key cannot generate signatures")
    if key.algorithm != signature.algorithm:
        raise DoesNotFit("openpgp: invalid argument: public key and signature use different algorithms")
    failed = "openpgp: invalid signature: {} verification failure"
    if key.algorithm in RSA:
        modulus, exponent = key.numbers
        check_rsa(modulus, exponent, name, digest, signature.numbers[0], failed.format("RSA"))
    elif key.algorithm == Algorithm.DSA:
        check_dsa(key.numbers, name, digest, signature.numbers)
    elif key.algorithm == Algorithm.ECDSA:
        point = key.numbers[0]
        check_ecdsa(curve_name(key.curve), point, name, digest, signature.numbers, failed.format("ECDSA"))
    else:
        halves = b"".join(one.rjust(32, b"\0") for one in signature.numbers)
        check_ed25519(key.numbers[0][1:], digest, halves, failed.format("EdDSA"))


def read_keyring(text: bytes) -> list[Entity]:
    """Armoured keys, at least one; those that make no sense are passed over as long as another does."""
    entities: list[Entity] = []
    try:
        blocks = list(read_blocks(text))
    except SignatureRefused as error:
        raise error.prefixed("failed to read armored public key: ") from None
    for block in blocks:
        if block.kind not in _BLOCKS:
            raise SignatureRefused(f"expected public or private key block, got: {block.kind}")
        try:
            entities += _Reader(block.content).entities()
        except SignatureRefused as error:
            raise error.prefixed("failed to read armored public key: ") from None
    if not entities:
        raise SignatureRefused("failed to read armored public key: no armored data found")
    return entities


@dataclass(frozen=True, slots=True)
class _Key:
    key: PublicKey
    sub: bool


@dataclass(frozen=True, slots=True)
class _UserId:
    text: bytes


_Item = _Key | _UserId | Signature | Packet


class _Reader:
    """The packets of a key ring, one after the other."""

    def __init__(self, content: bytes) -> None:
        self._packets = read_packets(content)
        self._back: list[_Item] = []

    def entities(self) -> list[Entity]:
        found, problem = [], None
        while True:
            try:
                entity = self._entity()
            except (Broken, Foreign) as error:
                problem = error
                if not self._skip_to_primary():
                    break
                continue
            if entity is None:
                break
            found.append(entity)
        if not found and problem is not None:
            raise problem
        return found

    def _next(self) -> _Item | None:
        if self._back:
            return self._back.pop()
        for packet in self._packets:
            try:
                return _read(packet)
            except Foreign:
                continue
        return None

    def _skip_to_primary(self) -> bool:
        while (item := self._next()) is not None:
            if isinstance(item, _Key) and not item.sub:
                self._back.append(item)
                return True
        return False

    def _entity(self) -> Entity | None:
        first = self._next()
        if first is None:
            return None
        if not isinstance(first, _Key):
            self._back.append(first)
            raise Broken("first packet was not a public/private key")
        primary = first.key
        if not primary.signs:
            raise Broken("primary key cannot be used for signatures")
        identities: dict[bytes, Identity] = {}
        subkeys: list[Subkey] = []
        revocations: list[Signature] = []
        while (item := self._next()) is not None:
            if isinstance(item, _UserId):
                identity = self._identity(primary, item.text)
                if identity is not None:
                    identities[item.text] = identity
            elif isinstance(item, Signature):
                if item.kind == Kind.KEY_REVOCATION:
                    revocations.append(item)
            elif isinstance(item, _Key):
                if not item.sub:
                    self._back.append(item)
                    break
                subkeys.append(self._subkey(primary, item.key))
        if not identities:
            raise Broken("v4 entity without any identities")
        for one in revocations:
            try:
                check(primary, _hash_of(one, primary.hashed), one)
            except DoesNotFit:
                raise Broken("revocation signature signed by alternate key") from None
        return Entity(primary, tuple(identities.values()), tuple(subkeys), tuple(revocations))

    def _signatures(self) -> Iterator[Signature]:
        while (item := self._next()) is not None:
            if not isinstance(item, Signature):
                self._back.append(item)
                return
            yield item

    def _identity(self, primary: PublicKey, text: bytes) -> Identity | None:
        own: list[Signature] = []
        revocations: list[Signature] = []
        hashed = primary.hashed + b"\xb4" + len(text).to_bytes(4, "big") + text
        for one in self._signatures():
            if one.kind not in _CERTIFICATIONS:
                raise Broken("user ID signature with wrong type")
            if one.says.fingerprint != primary.fingerprint if one.says.fingerprint else one.says.issuer != primary.id:
                continue
            try:
                check(primary, _hash_of(one, hashed), one)
            except SignatureRefused as error:
                raise Broken(f"user ID self-signature invalid: {error}") from None
            (revocations if one.kind == Kind.IDENTITY_REVOCATION else own).append(one)
        if not own and not revocations:
            return None
        return Identity(max(own, key=lambda one: one.created, default=None), tuple(revocations))

    def _subkey(self, primary: PublicKey, key: PublicKey) -> Subkey:
        bindings: list[Signature] = []
        revocations: list[Signature] = []
        for one in self._signatures():
            if one.kind not in (Kind.SUBKEY, Kind.SUBKEY_REVOCATION):
                raise Broken("subkey signature with wrong type")
            try:
                _check_binding(primary, key, one)
            except SignatureRefused as error:
                raise Broken(f"subkey signature invalid: {error}") from None
            (bindings if one.kind == Kind.SUBKEY else revocations).append(one)
        if not bindings:
            raise Broken("subkey packet not followed by signature")
        return Subkey(key, max(bindings, key=lambda one: one.created), tuple(revocations))


def _check_binding(primary: PublicKey, key: PublicKey, signature: Signature) -> None:
    """A subkey that signs has to agree: else anybody could claim anybody's."""
    check(primary, _hash_of(signature, primary.hashed, key.hashed), signature)
    if not (signature.says.flags or 0) & MAY_SIGN:
        return
    embedded = signature.says.embedded
    if embedded is None:
        raise Broken("signing subkey is missing cross-signature")
    try:
        check(key, _hash_of(embedded, primary.hashed, key.hashed), embedded)
    except SignatureRefused as error:
        raise Broken(f"error while verifying cross-signature: {error}") from None


def _hash_of(signature: Signature, *parts: bytes) -> _Hash:
    hash = signature.new_hash()
    for part in parts:
        hash.update(part)
    return hash


def _read(packet: Packet) -> _Item:
    if packet.tag in (Tag.PUBLIC_KEY, Tag.SECRET_KEY, Tag.PUBLIC_SUBKEY, Tag.SECRET_SUBKEY):
        key = read_key(packet.body)
        if key.algorithm == Algorithm.EDDSA:
            _check_eddsa(key)
        elif key.algorithm == Algorithm.ECDSA:
            curve_name(key.curve)
        return _Key(key, packet.tag in (Tag.PUBLIC_SUBKEY, Tag.SECRET_SUBKEY))
    if packet.tag == Tag.SIGNATURE:
        return read_signature(packet.body)
    return _UserId(packet.body) if packet.tag == Tag.USER_ID else packet


def _check_eddsa(key: PublicKey) -> None:
    if key.curve != ED25519:
        raise Foreign(f"unknown oid: {key.curve.hex()}")
    point = key.numbers[0]
    if not point:
        raise Broken("empty EdDSA public key")
    if point[0] != 0x40:
        raise Foreign(f"unsupported EdDSA compression: {point[0]}")
