"""Under which lease a step works: one of its own, that ends in the leases of everyone who waits for the step."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from buildkit.solver.graph import Step
from buildkit.store.lease import Lease
from buildkit.store.store import Store


class Leases:
    """The leases of the jobs of each session."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._of: dict[str, list[Lease]] = {}

    @contextmanager
    def lent(self, session: str, lease: Lease) -> Iterator[None]:
        """For the length of the scope, steps that ``session`` waits for keep what they make under ``lease`` too."""
        self._of.setdefault(session, []).append(lease)
        try:
            yield
        finally:
            self._of[session].remove(lease)
            if not self._of[session]:
                del self._of[session]

    @asynccontextmanager
    async def of(self, step: Step) -> AsyncIterator[Lease]:
        """A lease that may fetch whatever any of the step's jobs may fetch.

        What it holds when the scope ends goes over to the jobs that wait for the step then.
        """
        async with self._store.lease() as lease:
            for other in self._jobs(step):
                for digest, offer in other.offers.items():
                    lease.offers.setdefault(digest, offer)
            yield lease
            for other in self._jobs(step):
                lease.hand_over(other)

    def _jobs(self, step: Step) -> list[Lease]:
        return [lease for session in step.sessions() for lease in self._of.get(session, ())]
