"""Signatures made by keys of SSH (PROTOCOL.sshsig of OpenSSH)."""

from __future__ import annotations

import hashlib

from buildkit.core.values import dataclass
from buildkit.signing.armor import decode_base64, read_pem
from buildkit.signing.material import check_ecdsa, check_ed25519, check_rsa, need_cryptography
from buildkit.signing.octets import Octets
from buildkit.signing.refused import DoesNotFit, SignatureRefused

_SHORT = "ssh: short read"
_MAGIC = b"SSHSIG"
_HASHES = ("sha256", "sha512")
_DOES_NOT = "ssh: signature did not verify"
_RSA_HASHES = {"rsa-sha2-256": "sha256", "rsa-sha2-512": "sha512"}
_ECDSA = {
    "ecdsa-sha2-nistp256": ("SECP256R1", "sha256"),
    "ecdsa-sha2-nistp384": ("SECP384R1", "sha384"),
    "ecdsa-sha2-nistp521": ("SECP521R1", "sha512"),
}
_SK_ECDSA, _SK_ED25519 = "sk-ecdsa-sha2-nistp256@openssh.com", "sk-ssh-ed25519@openssh.com"
_KINDS = ("ssh-rsa", "ssh-ed25519", _SK_ECDSA, _SK_ED25519, *_ECDSA)
_USER_PRESENT = 1


@dataclass(frozen=True, slots=True)
class SshKey:
    """A public key. ``blob`` is the whole of it, ``parts`` what follows its kind."""

    kind: str
    blob: bytes
    parts: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class SshSignature:
    """A signature with the key that claims to have made it. ``rest`` follows ``content`` for security keys."""

    key: SshKey
    namespace: bytes
    hash: str
    format: str
    content: bytes
    rest: bytes


def verify_ssh(content: bytes, armored: bytes, public_key: bytes, namespace: str) -> None:
    """Check a signature with a line as of ``authorized_keys``; raises `SignatureRefused`."""
    need_cryptography()
    signature = read_ssh_signature(armored)
    if signature.namespace != namespace.encode():
        raise SignatureRefused(f'unexpected SSH signature namespace: "{signature.namespace.decode(errors="replace")}"')
    try:
        key = _read_authorized(public_key)
    except SignatureRefused as error:
        raise error.prefixed("failed to parse ssh public key: ") from None
    try:
        if key.blob != signature.key.blob:
            raise SignatureRefused("public key does not match")
        _check(key, _signed(content, signature), signature)
    except SignatureRefused as error:
        raise error.prefixed("failed to verify ssh signature: ") from None


def read_ssh_signature(armored: bytes) -> SshSignature:
    """Read the text form; raises `SignatureRefused`."""
    blob = read_pem(armored, "SSH SIGNATURE")
    if blob is None:
        raise SignatureRefused("failed to decode ssh signature PEM block")
    try:
        return _read_signature(Octets(blob, _SHORT))
    except SignatureRefused as error:
        raise error.prefixed("failed to parse ssh signature: ") from None


def _read_signature(octets: Octets) -> SshSignature:
    magic, version = octets.take(len(_MAGIC)), octets.number(4)
    key, namespace, _reserved, hash, content = (octets.string() for _ in range(5))
    if octets:
        raise SignatureRefused("ssh: trailing bytes")
    if version != 1:
        raise SignatureRefused(f"unsupported signature version {version}: expected 1")
    if magic != _MAGIC:
        raise SignatureRefused('invalid magic preamble: expected "SSHSIG"')
    name = hash.decode(errors="replace")
    if name not in _HASHES:
        raise SignatureRefused(f'unsupported hash algorithm "{name}": must be "sha256" or "sha512"')
    inner = Octets(content, _SHORT)
    format, signed = inner.string().decode(errors="replace"), inner.string()
    public = read_ssh_key(key)
    if public.kind == "ssh-rsa" and format not in _RSA_HASHES:
        raise SignatureRefused(f'invalid signature format "{format}": expected "rsa-sha2-256" or "rsa-sha2-512"')
    return SshSignature(public, namespace, name, format, signed, inner.rest())


def read_ssh_key(blob: bytes) -> SshKey:
    """The binary form of a public key; raises `SignatureRefused`."""
    octets = Octets(blob, _SHORT)
    kind = octets.string().decode(errors="replace")
    if kind not in _KINDS:
        raise SignatureRefused(f"ssh: unknown key algorithm: {kind}")
    parts = []
    while octets:
        parts.append(octets.string())
    if len(parts) != {"ssh-rsa": 2, "ssh-ed25519": 1, _SK_ECDSA: 3}.get(kind, 2):
        raise SignatureRefused(f"ssh: malformed key of type {kind}")
    if kind in _ECDSA and parts[0].decode(errors="replace") != kind.rpartition("-")[2]:
        raise SignatureRefused("ssh: unsupported curve")
    return SshKey(kind, blob, tuple(parts))


def _read_authorized(text: bytes) -> SshKey:
    """The first key of a file such as ``authorized_keys``, with or without options."""
    problem = ""
    for line in text.splitlines():
        line = line.strip()
        if not line or line.startswith(b"#"):
            continue
        for words in (line, _without_options(line)):
            kind, _, rest = words.replace(b"\t", b" ").partition(b" ")
            try:
                key = read_ssh_key(decode_base64(rest.split(b" ")[0]))
            except SignatureRefused as error:
                problem = problem or str(error)
                continue
            if key.kind.encode() == kind:
                return key
            problem = "ssh: authorized keys key type mismatch: human-readable type "
            problem += f'"{kind.decode(errors="replace")}", encoded type "{key.kind}"'
    suffix = f"; last parsing error for ignored line: {problem}" if problem else ""
    raise SignatureRefused(f"ssh: no key found{suffix}")


def _without_options(line: bytes) -> bytes:
    quoted = False
    for place, char in enumerate(line):
        if char == 0x22 and line[place - 1 : place] != b"\\":
            quoted = not quoted
        elif char in b" \t" and not quoted:
            return line[place:].strip()
    return b""


def _signed(content: bytes, signature: SshSignature) -> bytes:
    digest = hashlib.new(signature.hash, content).digest()
    parts = (signature.namespace, b"", signature.hash.encode(), digest)
    return _MAGIC + b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def _check(key: SshKey, signed: bytes, signature: SshSignature) -> None:
    accepted = tuple(_RSA_HASHES) if key.kind == "ssh-rsa" else (key.kind,)
    if signature.format not in accepted:
        raise SignatureRefused(f"ssh: signature type {signature.format} for key type {key.kind}")
    if key.kind in (_SK_ECDSA, _SK_ED25519):
        signed = _touched(key.parts[-1], signed, signature.rest)
    elif signature.rest:
        raise DoesNotFit(_DOES_NOT)
    if key.kind == "ssh-rsa":
        hash = _RSA_HASHES[signature.format]
        exponent, modulus = key.parts
        digest = hashlib.new(hash, signed).digest()
        check_rsa(modulus, exponent, hash, digest, signature.content, "crypto/rsa: verification error")
    elif key.kind in ("ssh-ed25519", _SK_ED25519):
        check_ed25519(key.parts[0], signed, signature.content, _DOES_NOT)
    else:
        curve, hash = _ECDSA.get(key.kind, ("SECP256R1", "sha256"))
        numbers = Octets(signature.content, _SHORT)
        pair = (numbers.string(), numbers.string())
        check_ecdsa(curve, key.parts[1], hash, hashlib.new(hash, signed).digest(), pair, _DOES_NOT)


def _touched(application: bytes, signed: bytes, rest: bytes) -> bytes:
    """What a security key signs: with its application, whether somebody touched it, and a counter."""
    octets = Octets(rest, _SHORT)
    flags, counter = octets.take(1), octets.take(4)
    if not flags[0] & _USER_PRESENT:
        raise SignatureRefused("ssh: sk key requires user presence (touch) but flag not set in signature")
    return hashlib.sha256(application).digest() + flags + counter + hashlib.sha256(signed).digest()
