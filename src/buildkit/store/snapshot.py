"""Snapshots: trees that are committed once and then never change, each perhaps on top of another.

Terms. An *active* snapshot has a key and can be written; `Snapshotter.commit` turns it into a *committed* one
with a name, which alone can be a parent. Keys and names share one namespace. Semantics are those of
containerd's ``core/snapshots``, less labels and plus `Snapshotter.compose`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from buildkit.core.values import dataclass
from buildkit.fs.mount import Mount


class Kind(StrEnum):
    """What may be done with a snapshot."""

    ACTIVE = "active"
    VIEW = "view"
    COMMITTED = "committed"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot's row. ``parent`` is ``""`` for none; ``created`` is in nanoseconds since the epoch."""

    name: str
    kind: Kind
    parent: str
    created: int


@dataclass(frozen=True, slots=True)
class Space:
    """What a snapshot takes on disk beyond its parents: bytes allocated, and inodes."""

    size: int
    inodes: int


@dataclass(frozen=True, slots=True)
class Part:
    """The changes from one committed snapshot to another; ``""`` is the empty tree."""

    lower: str
    upper: str


class Snapshotter(Protocol):
    """Keeps snapshots. Calls are blocking and may come from any thread.

    Errors: `NotFound` for names unknown, `AlreadyExists` for names taken, `FailedPrecondition` for a snapshot of
    the wrong kind or one that others need.
    """

    @property
    def name(self) -> str:
        """``overlayfs`` or ``native``."""

    def prepare(self, key: str, parent: str = "") -> None:
        """Make an active snapshot that starts as ``parent``."""

    def view(self, key: str, parent: str = "") -> None:
        """Make a read-only snapshot of ``parent``."""

    def commit(self, name: str, key: str) -> None:
        """Freeze the active snapshot ``key`` under ``name``; the key is free again."""

    def compose(self, name: str, parts: Sequence[Part]) -> None:
        """Make a committed snapshot: the empty tree with the changes of each part applied in turn."""

    def mounts(self, key: str) -> list[Mount]:
        """How to mount it: read-write for an active snapshot, read-only for the others."""

    def upper(self, name: str) -> Path | None:
        """The directory with this snapshot's own changes in overlay's form, None where there is no such thing."""

    def remove(self, name: str) -> None:
        """Delete it; `FailedPrecondition` while others are made from it. The disk is freed in the background."""

    def settle(self, *, wait: bool) -> bool:
        """Whether all that was deleted is gone from the disk; with ``wait`` it then is."""

    def find(self, name: str) -> Snapshot | None:
        """The row, or None."""

    def stat(self, name: str) -> Snapshot:
        """The row."""

    def usage(self, name: str) -> Space:
        """Disk space; measured once for a committed snapshot, each time for an active one."""

    def walk(self) -> Iterator[Snapshot]:
        """All of them, oldest first."""

    def recover(self) -> None:
        """Remove what a killed process left half made: directories with no row, rows with no directory."""
