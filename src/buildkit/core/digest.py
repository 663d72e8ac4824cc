"""Content digests: ``algorithm:hex`` strings, as OCI image-spec `descriptor.md` defines them."""

from __future__ import annotations

import hashlib
from typing import TypeAlias

from buildkit.core.errors import InvalidInput
from buildkit.core.pattern import Pattern

Digest: TypeAlias = str
"""A string such as ``sha256:2c26b4…``; validated by `parse_digest` where it comes from outside."""

_HEX_LENGTH = {"sha256": 64, "sha384": 96, "sha512": 128}
_SHAPE = Pattern(r"([a-z0-9]+):([a-f0-9]+)")

EMPTY: Digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
"""The digest of zero bytes."""


def sha256(content: bytes | bytearray | memoryview) -> Digest:
    """Digest bytes."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def sha256_text(text: str) -> Digest:
    """Digest a string's UTF-8 form."""
    return sha256(text.encode())


def parse_digest(text: str) -> Digest:
    """Check that ``text`` is a digest of a known algorithm and return it; raises `InvalidInput`."""
    match = _SHAPE.fullmatch(text)
    if match is None or _HEX_LENGTH.get(match[1]) != len(match[2]):
        raise InvalidInput(f"invalid digest {text!r}: expected sha256:<64 lower-case hex digits>")
    return text


def algorithm(digest: Digest) -> str:
    """The part before the colon."""
    return digest.partition(":")[0]


def hex_of(digest: Digest) -> str:
    """The part after the colon."""
    return digest.partition(":")[2]
