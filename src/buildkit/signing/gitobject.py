"""Git's commits and tags as git stores them, and the signatures in them."""

from __future__ import annotations

import hashlib

from buildkit.core.values import dataclass
from buildkit.signing.refused import SignatureRefused

_PGP, _SSH = b"-----BEGIN PGP SIGNATURE-----", b"-----BEGIN SSH SIGNATURE-----"
_REQUIRED = {"commit": (b"tree", b"author", b"committer"), "tag": (b"object", b"type", b"tag", b"tagger")}


@dataclass(frozen=True, slots=True)
class GitObject:
    """A commit or a tag. ``signed`` is what its signature was made over."""

    kind: str
    raw: bytes
    signed: bytes
    signature: bytes

    def check_id(self, id: str) -> None:
        """Raise `SignatureRefused` unless this is the object of that id (SHA-1 or SHA-256)."""
        kinds = {40: "sha1", 64: "sha256"}
        if len(id) not in kinds:
            raise SignatureRefused(f"unsupported sha length {len(id)}")
        head = f"{self.kind} {len(self.raw)}\0".encode()
        found = hashlib.new(kinds[len(id)], head + self.raw, usedforsecurity=False).hexdigest()
        if found != id:
            raise SignatureRefused(f"checksum mismatch: expected {id}, got {found}")

    def verify(self, public_key: bytes, *, reject_expired: bool) -> None:
        """Check its signature, whichever kind it is; raises `SignatureRefused`, and `Unsupported` without a library."""
        if not self.signature:
            raise SignatureRefused("git object is not signed")
        if self.signature.startswith(_PGP):
            from buildkit.signing.openpgp import feed_bytes, verify_detached

            verify_detached(feed_bytes(self.signed), self.signature, public_key, reject_expired=reject_expired)
        elif self.signature.startswith(_SSH):
            from buildkit.signing.sshsig import verify_ssh

            verify_ssh(self.signed, self.signature, public_key, "git")
        else:
            raise SignatureRefused("invalid signature format")


def parse_object(raw: bytes) -> GitObject:
    """Read a commit or a tag; raises `SignatureRefused`."""
    kind = "tag" if raw.startswith(b"object ") else "commit"
    names, signed, signature = _split_tag(raw) if kind == "tag" else _split_commit(raw)
    for name in _REQUIRED[kind]:
        if name not in names:
            raise SignatureRefused(f"invalid {kind} object: missing {name.decode()} header")
    return GitObject(kind, raw, signed, signature)


def _split_commit(raw: bytes) -> tuple[set[bytes], bytes, bytes]:
    """The signature stands among the headers, its further lines begin with a blank."""
    head, blank, message = raw.partition(b"\n\n")
    names: set[bytes] = set()
    signed: list[bytes] = []
    signature: list[bytes] = []
    inside = False
    for line in head.split(b"\n"):
        name, found, value = line.partition(b" ")
        if name in (b"gpgsig", b"gpgsig-sha256") and found:
            inside = True
            signature.append(value)
        elif inside and line.startswith(b" "):
            signature.append(line[1:])
        else:
            inside = False
            signed.append(line)
            if found:
                names.add(name)
    return names, b"\n".join(signed) + blank + message, b"\n".join(signature)


def _split_tag(raw: bytes) -> tuple[set[bytes], bytes, bytes]:
    """The signature is the end of the message."""
    head, _, message = raw.partition(b"\n\n")
    names = {line.partition(b" ")[0] for line in head.split(b"\n") if b" " in line}
    start = 0
    for line in message.split(b"\n"):
        if line in (_PGP, _SSH):
            return names, raw[: len(head) + 2 + start], message[start:]
        start += len(line) + 1
    return names, raw + b"\n", b""
