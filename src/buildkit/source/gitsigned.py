"""Whose commits and tags are accepted: the attributes ``git.sig.…``."""

from __future__ import annotations

from collections.abc import Mapping

from buildkit.core.values import dataclass

_PREFIX = "git.sig."


@dataclass(frozen=True, slots=True)
class Signing:
    """What has to be signed, and by whom: one of ``public_key``, in OpenPGP's armour or as a line of OpenSSH."""

    public_key: bytes = b""
    reject_expired: bool = False
    tag_required: bool = False
    tag_ignored: bool = False


@dataclass(frozen=True, slots=True)
class Objects:
    """A commit as git stores it, and the tag that led to it; ids are hexadecimal."""

    commit_id: str
    commit: bytes
    tag_id: str = ""
    tag: bytes = b""


def read_signing(attrs: Mapping[str, str]) -> Signing | None:
    """Read the attributes; None when there are none."""
    if not any(key.startswith(_PREFIX) for key in attrs):
        return None
    flags = (attrs.get(_PREFIX + name) == "true" for name in ("rejectexpired", "requiresignedtag", "ignoresignedtag"))
    return Signing(attrs.get(_PREFIX + "pubkey", "").encode(), *flags)


def verify_objects(objects: Objects, signing: Signing) -> None:
    """A good signature of the tag will do, else the commit has to have one; raises `SignatureRefused`.

    Objects are compared with their ids first: a repository that lies about them is found out.
    """
    from buildkit.signing.gitobject import parse_object
    from buildkit.signing.refused import SignatureRefused

    problem: SignatureRefused | None = None
    if objects.tag and not signing.tag_ignored:
        try:
            tag = parse_object(objects.tag)
        except SignatureRefused as error:
            raise error.prefixed("failed to parse git tag object: ") from None
        try:
            tag.check_id(objects.tag_id)
        except SignatureRefused as error:
            raise error.prefixed("tag object checksum verification failed: ") from None
        try:
            return tag.verify(signing.public_key, reject_expired=signing.reject_expired)
        except SignatureRefused as error:
            problem = error
    if signing.tag_required:
        raise problem or SignatureRefused("signed tag required but no signed tag found")
    try:
        commit = parse_object(objects.commit)
    except SignatureRefused as error:
        raise error.prefixed("failed to parse git commit object: ") from None
    try:
        commit.check_id(objects.commit_id)
    except SignatureRefused as error:
        raise error.prefixed("commit object checksum verification failed: ") from None
    commit.verify(signing.public_key, reject_expired=signing.reject_expired)
