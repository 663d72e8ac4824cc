"""Content digests: ``algorithm:hex`` strings, as OCI image-spec `descriptor.md` defines them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from buildkit.core.errors import InvalidInput
from buildkit.core.pattern import Pattern

if TYPE_CHECKING:
    from hashlib import _Hash

Digest: TypeAlias = str
"""A string such as ``sha256:2c26b4…``; validated by `parse_digest` where it comes from outside."""

_HEX_LENGTH = {"sha256": 64, "sha384": 96, "sha512": 128}
_SHAPE = Pattern(r"([a-z0-9]+):([a-f0-9]+)")
_ANY = Pattern(r"[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[a-zA-Z0-9=_-]+")

EMPTY: Digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
"""The digest of zero bytes."""


def _find_small_sha256() -> Callable[[bytes | bytearray | memoryview], Any]:
    """The interpreter's own SHA-256: loading OpenSSL, which is faster for much content, takes two milliseconds."""
    from importlib import import_module

    for name in ("_sha2", "_sha256", "hashlib"):
        try:
            found: Callable[[bytes | bytearray | memoryview], Any] = import_module(name).sha256
        except ImportError:
            continue
        return found
    raise ImportError("this Python has no SHA-256")


_small_sha256 = _find_small_sha256()
_SMALL = 1 << 14


def sha256(content: bytes | bytearray | memoryview) -> Digest:
    """Digest bytes."""
    hashed = _small_sha256(content) if len(content) <= _SMALL else hasher(content=content)
    return f"sha256:{hashed.hexdigest()}"


def hasher(algorithm: str = "sha256", content: bytes | bytearray | memoryview = b"") -> _Hash:
    """A hash that begins with ``content`` and takes more; ``algorithm`` is that of a valid digest."""
    import hashlib

    return hashlib.new(algorithm, content)


def sha256_text(text: str) -> Digest:
    """Digest a string's UTF-8 form."""
    return sha256(text.encode())


def parse_digest(text: str) -> Digest:
    """Check that ``text`` is a digest of a known algorithm and return it; raises `InvalidInput`."""
    match = _SHAPE.fullmatch(text)
    if match is None or _HEX_LENGTH.get(match[1]) != len(match[2]):
        raise InvalidInput(f"invalid digest {text!r}: expected sha256:<64 lower-case hex digits>")
    return text


def digest_fault(text: str) -> str:
    """What is wrong with a digest that a user wrote, in the words of the go-digest library; ``""`` if nothing is."""
    name, _, encoded = text.partition(":")
    if not name or not encoded:
        return "invalid checksum digest format"
    length = _HEX_LENGTH.get(name)
    if length is None:
        return "unsupported digest algorithm" if _ANY.fullmatch(text) else "invalid checksum digest format"
    if len(encoded.encode(errors="surrogateescape")) != length:
        return "invalid checksum digest length"
    return "" if _SHAPE.fullmatch(text) else "invalid checksum digest format"


def algorithm(digest: Digest) -> str:
    """The part before the colon."""
    return digest.partition(":")[0]


def hex_of(digest: Digest) -> str:
    """The part after the colon."""
    return digest.partition(":")[2]
