"""What a frontend gives and an exporter takes: refs by platform, metadata, attestations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from buildkit.core.values import dataclass, field

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Subject:
    """What an attestation is about: the image itself (``self``) or raw digests of a named thing."""

    kind: str
    name: str = ""
    digests: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Attestation(Generic[R]):
    """A statement (``in-toto``) or a bundle of them, as bytes at hand or as a file in a ref."""

    kind: str
    predicate_type: str
    content: bytes = b""
    ref: R | None = None
    path: str = ""
    subjects: tuple[Subject, ...] = ()
    metadata: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    late: Callable[[], bytes] | None = None
    """Makes the content, where that is known only when the layers of the image are."""


@dataclass(frozen=True, slots=True)
class Result(Generic[R]):
    """One build's outcome.

    Either ``single`` is True and ``refs`` holds one entry under the key ``""``, or ``refs`` maps platform ids
    such as ``linux/amd64``. A ref of None is an empty (scratch) tree. Metadata keys are BuildKit's
    (``containerimage.config``, ``refs.platforms``, …).
    """

    refs: Mapping[str, R | None]
    single: bool = True
    metadata: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    attestations: Mapping[str, tuple[Attestation[R], ...]] = field(
        default_factory=dict[str, tuple[Attestation[R], ...]]
    )
