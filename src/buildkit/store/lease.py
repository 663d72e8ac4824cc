"""Leases: what they hold is not collected. They live in memory, so a killed process leaves none.

That suffices because one process at a time owns a state directory.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from buildkit.core.digest import Digest
from buildkit.core.identity import new_id
from buildkit.core.progress import Reporter
from buildkit.core.values import dataclass, field
from buildkit.oci.spec import Descriptor
from buildkit.store.refs import Ref

Fetch: TypeAlias = Callable[[Descriptor], Awaitable[None]]
"""Brings a blob, verified, into the content store, with the rights of whoever gave it; raises when it cannot."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A promise to fetch a blob, and where to report its unpacking."""

    fetch: Fetch
    progress: Reporter | None = None


@dataclass(eq=False, slots=True)
class Lease:
    """Holds refs and blobs for one job, and knows where this job can fetch missing blobs from."""

    _leases: Leases
    id: str = field(default_factory=new_id)
    refs: set[str] = field(default_factory=set[str])
    blobs: set[Digest] = field(default_factory=set[Digest])
    offers: dict[Digest, Offer] = field(default_factory=dict[Digest, Offer])
    reporters: dict[str, Reporter] = field(default_factory=dict[str, Reporter])
    """Who hears when the tree of a merge or of a difference is made, by the id of its ref."""

    def hold(self, ref: Ref | None) -> None:
        """Keep a ref, and with it everything that it is made from."""
        if ref is not None and ref.id not in self.refs:
            self.refs.add(ref.id)
            self._leases.refs[ref.id] += 1

    def hold_blob(self, digest: Digest) -> None:
        """Keep a blob, present or about to be."""
        with self._leases.lock:
            if digest not in self.blobs:
                self.blobs.add(digest)
                self._leases.blobs[digest] += 1


class Leases:
    """Every lease of this process, summed up."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        """Taken while a blob is looked up and deleted, so that `Lease.hold_blob` falls before or after."""
        self.refs: Counter[str] = Counter()
        self.blobs: Counter[Digest] = Counter()

    @contextmanager
    def new(self) -> Iterator[Lease]:
        """A lease for as long as the scope lasts."""
        lease = Lease(self)
        try:
            yield lease
        finally:
            self.refs.subtract(lease.refs)
            self.refs += Counter()
            with self.lock:
                self.blobs.subtract(lease.blobs)
                self.blobs += Counter()

    def holds(self, ref_id: str) -> bool:
        """Whether a lease holds this ref itself."""
        return self.refs[ref_id] > 0

    def holds_blob(self, digest: Digest) -> bool:
        """Whether a lease holds this blob."""
        return self.blobs[digest] > 0
