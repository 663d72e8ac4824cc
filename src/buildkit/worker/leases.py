"""Under which lease a step works: one of its own, with the rights of everyone who waits for the step."""

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
        """For the length of the scope, steps that ``session`` waits for may fetch what ``lease`` may."""
        self._of.setdefault(session, []).append(lease)
        try:
            yield
        finally:
            self._of[session].remove(lease)
            if not self._of[session]:
                del self._of[session]

    @asynccontextmanager
    async def of(self, step: Step) -> AsyncIterator[Lease]:
        """A lease that may fetch whatever any of the step's jobs may fetch; what was offered to it, they may too.

        What is to outlive the scope and is not a result of the step needs `Step.hold`.
        """
        async with self._store.lease(uses=False) as lease:
            for other in self._jobs(step):
                for digest, offer in other.offers.items():
                    lease.offers.setdefault(digest, offer)
                lease.reporters |= other.reporters
            yield lease
            for other in self._jobs(step):
                for digest, offer in lease.offers.items():
                    other.offers.setdefault(digest, offer)
                other.reporters |= lease.reporters

    def _jobs(self, step: Step) -> list[Lease]:
        """Builds without a session, which may fetch what everyone may, share their leases."""
        return [lease for session in step.sessions() or ("",) for lease in self._of.get(session, ())]
