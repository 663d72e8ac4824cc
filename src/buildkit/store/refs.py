"""Ref: the name of a tree that never changes; everything else is asked of the store."""

from __future__ import annotations

from buildkit.core.digest import Digest
from buildkit.core.values import dataclass
from buildkit.oci.spec import Descriptor


@dataclass(frozen=True, slots=True)
class Ref:
    """A committed tree. A lease keeps it alive."""

    id: str


@dataclass(frozen=True, slots=True)
class LayerSource:
    """A layer of an image to import: its blob, the digest of its tar, and when it was made.

    ``created`` is in nanoseconds since the epoch, None when the image does not say.
    """

    descriptor: Descriptor
    diff_id: Digest
    created: int | None = None


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer of a ref, ready to be written into a manifest; ``created`` in nanoseconds since the epoch."""

    descriptor: Descriptor
    diff_id: Digest
    created: int
    description: str = ""
