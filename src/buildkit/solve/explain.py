"""Why steps ran: each is compared with the nearest earlier step like it, and told by what is not as it was."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

from buildkit.core.digest import sha256_text
from buildkit.core.errors import BuildkitError
from buildkit.core.explanation import Change, Explanation
from buildkit.core.values import dataclass
from buildkit.session.session import Session
from buildkit.solve.comparing import Comparing
from buildkit.solve.fields import is_local
from buildkit.solve.request import SolveRequest
from buildkit.solver.record import StepRecord, StepRecords
from buildkit.store.lease import Lease
from buildkit.store.store import Store

IGNORED = "the cache is ignored"
_RAN = ("executed", "failed")


def scope_of(request: SolveRequest, session: Session | None) -> str:
    """What is built, whatever state it is in: builds with the same scope are versions of one another."""
    parts = [request.frontend]
    parts += [f"{name}={request.frontend_attrs.get(name, '')}" for name in ("context", "filename", "source")]
    if session is not None:
        parts.append(session.shared_key)
        for name in ("context", "dockerfile"):
            try:
                tree = session.locals.tree(name) if session.locals is not None else None
            except BuildkitError:
                tree = None
            parts.append(str(tree.path or "") if tree is not None else "")
    return sha256_text("\0".join(parts))


@dataclass(frozen=True, slots=True)
class StepHistory:
    """The records of steps, scope by scope."""

    steps: StepRecords
    store: Store

    def save(self, records: Sequence[StepRecord], scope: str) -> None:
        """Keep what ran, and what was loaded from elsewhere."""
        for record in records:
            if not is_local(record) and (record.outcome == "executed" or not self.steps.knows(record.vertex)):
                self.steps.save(record, scope)

    async def explain(
        self, records: Sequence[StepRecord], scope: str, since: int, secrets: Sequence[str], lease: Lease
    ) -> list[Explanation]:
        """One explanation for each step that ran; ``since`` is when the build began, in nanoseconds since the epoch.

        ``records`` are all of the build's, ``lease`` holds their results; ``secrets`` are not shown.
        """
        trees = {(one.vertex, number): name for one in records for number, name in enumerate(one.results)}
        comparing = Comparing(self.store, lease, trees, tuple(secret for secret in secrets if secret))
        ran = [record for record in records if record.outcome in _RAN and not is_local(record)]
        return [await self._explain(record, scope, since, comparing) for record in ran]

    async def _explain(self, record: StepRecord, scope: str, since: int, comparing: Comparing) -> Explanation:
        if record.reason == IGNORED:
            return _because(record, "ignore-cache", [Change("no-cache")])
        # of those with the fewest changes the newest, which comes first
        best: tuple[StepRecord, list[Change]] | None = None
        for earlier in (self.steps.of_vertex(record, since), self.steps.alike(record, scope, since)):
            for old in earlier if best is None else ():
                changes = await comparing.changes(old, record)
                if best is None or len(changes) < len(best[1]):
                    best = old, changes
        if best is None:
            return _because(record, "new", [])
        old, changes = best
        if not changes:
            return _because(record, "evicted", [self._eviction(old)])
        return _because(record, "input" if all(one.field == "input" for one in changes) else "changed", changes)

    def _eviction(self, record: StepRecord) -> Change:
        for result in record.results:
            rule = self.store.eviction(result)
            if rule is not None:
                return Change("result", result, None, rule)
        return Change("result", record.results[0] if record.results else "", None, "its record is gone")


def _because(record: StepRecord, reason: str, changes: Sequence[Change]) -> Explanation:
    return Explanation(record.vertex, record.name, reason, tuple(changes))


async def secrets_of(records: Sequence[StepRecord], session: Session | None) -> list[str]:
    """The values of the secrets that steps could see, so that none is shown."""
    if session is None or session.secrets is None:
        return []
    ids = {id for record in records for id in _secret_ids(record)}

    async def get(id: str) -> str:
        assert session is not None and session.secrets is not None  # noqa: S101
        try:
            return (await session.secrets.get(id)).decode(errors="replace").strip()
        except BuildkitError:
            return ""

    return list(await asyncio.gather(*map(get, ids)))


def _secret_ids(record: StepRecord) -> Iterator[str]:
    if record.facts.get("kind") == "exec":
        op = record.facts["key"]["Exec"]
        yield from (one.get("ID", "") for one in op.get("secretenv", ()))
        yield from (one["secretOpt"].get("ID", "") for one in op.get("mounts", ()) if "secretOpt" in one)
