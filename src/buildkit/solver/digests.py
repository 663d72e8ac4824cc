"""How keys are spelled: pure functions from strings to digests, equal to BuildKit's byte for byte.

The vectors in `tests/solver/test_digests.py` come from a running buildkitd.
"""

from __future__ import annotations

from collections.abc import Iterable

from buildkit.core.digest import Digest, sha256_text

SOURCE_PREFIX = "buildkit.source.v0:"
"""Put before what identifies a source (a digest, a commit, a chain id) to make its cache map digest."""

RANDOM_PREFIX = "random:"
"""Scheme of digests that never match again in another build; they stay in memory."""

CONTENT_OUTPUT = -1
"""The output number under which content digests become keys."""


def record_digest(digest: Digest, output: int) -> Digest:
    """Name of the record of one output of an op with this cache map digest; the key itself for a root."""
    if digest.startswith(RANDOM_PREFIX):
        return digest
    return sha256_text(f"{digest}@{output}")


def content_key(digest: Digest) -> Digest:
    """The key of an input known by its content."""
    return record_digest(digest, CONTENT_OUTPUT)


def source_digest(identity: str) -> Digest:
    """Cache map digest of a source op; a ``random:`` identity stays as it is."""
    return identity if identity.startswith(RANDOM_PREFIX) else sha256_text(SOURCE_PREFIX + identity)


def selector_digest(paths: Iterable[str]) -> Digest:
    """Digest of the paths of an input that an op looks at, in the order given."""
    return sha256_text("\0".join(paths))
