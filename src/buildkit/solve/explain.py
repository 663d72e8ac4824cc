"""Why steps ran: each is compared with the nearest earlier step like it, and told by what is not as it was."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence, Set

from buildkit.core.digest import Digest, sha256_text
from buildkit.core.errors import BuildkitError
from buildkit.core.explanation import Change, Explanation
from buildkit.core.values import dataclass, replace
from buildkit.session.registry import Sessions
from buildkit.session.session import Session
from buildkit.solve.comparing import Comparing
from buildkit.solve.fields import Part, is_local, part_of
from buildkit.solve.hiding import Hiding
from buildkit.solve.request import SolveRequest
from buildkit.solver.record import StepRecord, StepRecords, title_of
from buildkit.store.lease import Lease
from buildkit.store.store import Store

IGNORED = "the cache is ignored"
_RAN = ("executed", "failed")
_MOST_COMPARED = 10
"""Earlier records whose files are compared."""
_BEFORE = ("input", "local")
"""Fields that are told of steps before."""
_ORDINAL = "ordinal"
_TIME = "%Y-%m-%dT%H:%M:%SZ"


def scope_of(request: SolveRequest, sessions: Sessions) -> str:
    """What is built, whatever state it is in: builds with the same scope are versions of one another."""
    session = sessions.find(request.session)
    parts = [request.frontend]
    parts += [f"{name}={request.frontend_attrs.get(name, '')}" for name in ("context", "filename", "source")]
    parts.append(sessions.shared_key(request.session))
    for name in ("context", "dockerfile"):
        try:
            tree = session.locals.tree(name) if session is not None and session.locals is not None else None
        except BuildkitError:
            tree = None
        parts.append(str(tree.path or "") if tree is not None else "")
    return sha256_text("\0".join(parts))


@dataclass(frozen=True, slots=True)
class Explainer:
    """Explains one build. ``since`` is when it began, in nanoseconds since the epoch; ``lease`` holds its results."""

    steps: StepRecords
    store: Store
    scope: str
    since: int
    lease: Lease
    hiding: Hiding
    ignored: str | None
    """What the build was told to run anew (``--no-cache``), in words."""
    ordinals: Mapping[Digest, int]
    """Tells steps of the same name apart: how many of it come before, by vertex."""

    def save(self, records: Sequence[StepRecord]) -> None:
        """Keep what ran, and what was loaded that the scope does not know."""
        for record in records:
            if not is_local(record.facts) and (record.outcome in _RAN or not self.steps.knows(record, self.scope)):
                facts = {**record.facts, _ORDINAL: self.ordinals.get(record.vertex, 0)}
                self.steps.save(replace(record, facts=facts), self.scope)

    async def explain(self, records: Sequence[StepRecord]) -> list[Explanation]:
        """One explanation for each step that ran; ``records`` are all of the build's."""
        trees = {(one.vertex, number): name for one in records for number, name in enumerate(one.results)}
        comparing = Comparing(self.store, self.lease, trees)
        names = {record.name: title_of(record.name) for record in records}
        parts = {part_of(record.facts) for record in records}
        return [await self._explain(one, records, names, parts, comparing) for one in records if self._ran(one)]

    def _ran(self, record: StepRecord) -> bool:
        """Whether it ran for this build, and not for another before that began."""
        return record.outcome in _RAN and record.created_at >= self.since and not is_local(record.facts)

    async def _explain(
        self,
        record: StepRecord,
        records: Sequence[StepRecord],
        names: Mapping[str, str],
        parts: Set[Part],
        comparing: Comparing,
    ) -> Explanation:
        if record.reason == IGNORED:
            return self._because(record, "ignore-cache", [Change("no-cache", "", None, self.ignored)])
        namesakes = {op for one in records if one.name == record.name for op in one.ops} - {*record.ops}
        near = [
            old
            for old in self._near(record, names, parts - {part_of(record.facts)})
            if not namesakes.intersection(old.ops)
        ]
        ordinal = self.ordinals.get(record.vertex, 0)

        def distance(old: StepRecord) -> tuple[bool, int, int, bool, bool]:
            least, others = comparing.least(old, record)
            return (
                comparing.guesses(old, record),
                least,
                others,
                old.name != record.name,
                old.facts.get(_ORDINAL, 0) != ordinal,
            )

        near.sort(key=distance)
        best: tuple[StepRecord, list[Change]] | None = None
        for old in near[:_MOST_COMPARED]:
            if best is not None and comparing.guesses(old, record):
                break
            changes = await comparing.changes(old, record)
            if best is None or len(changes) < len(best[1]):
                best = old, changes
            if len(best[1]) < 2:
                break
        if best is None:
            return self._because(record, "new", [])
        old, changes = best
        if changes:
            only_inputs = all(one.field in _BEFORE for one in changes)
            return self._because(record, "input" if only_inputs else "changed", changes)
        if old.outcome == "failed":
            return self._because(record, "failed", [Change("error", "", old.error, None)])
        return self._because(record, "evicted", [self._eviction(old)])

    def _near(self, record: StepRecord, names: Mapping[str, str], others: Set[Part]) -> list[StepRecord]:
        """Earlier records of what may be the same step; ``others`` are parts that other steps of the build have."""
        title, part = title_of(record.name), part_of(record.facts)
        near = self.steps.near(record, self.scope, self.since, names)
        near = [one for one in near if title_of(one.name) == title or part_of(one.facts) not in others]
        if part and not any(title_of(one.name) == title for one in near):
            elsewhere = self.steps.others(self.scope, self.since, names)
            near += [one for one in elsewhere if part_of(one.facts) == part and one not in near]
        return near

    def _eviction(self, record: StepRecord) -> Change:
        for result in record.results:
            found = self.store.eviction(result)
            if found is not None:
                rule, at = found
                return Change("result", result, None, f"{rule}, at {time.strftime(_TIME, time.gmtime(at / 1e9))}")
        first = next(filter(None, record.results), "")
        lazy = bool(first) and self.store.find_ref(first, self.lease) is not None
        return Change("result", first, None, "its layers were not here" if lazy else "its result is gone")

    def _because(self, record: StepRecord, reason: str, changes: Sequence[Change]) -> Explanation:
        hiding = self.hiding
        return Explanation(record.vertex, hiding.text(record.name), reason, tuple(map(hiding.change, changes)))


def ignored_by(request: SolveRequest) -> str | None:
    """What a frontend was told to run anew, in words; None when it was told nothing."""
    stages = request.frontend_attrs.get("no-cache")
    if stages is None:
        return None
    return f"stages {stages}" if stages else "every step"


async def hiding_of(records: Sequence[StepRecord], session: Session | None) -> Hiding:
    """Hides the values of the secrets that steps could see."""
    if session is None or session.secrets is None:
        return Hiding()
    ids = {id for record in records for id in _secret_ids(record)}

    async def get(id: str) -> str:
        assert session is not None and session.secrets is not None  # noqa: S101
        try:
            return (await session.secrets.get(id)).decode(errors="replace").strip()
        except BuildkitError:
            return ""

    return Hiding.of(await asyncio.gather(*map(get, ids)))


def _secret_ids(record: StepRecord) -> Iterator[str]:
    if record.facts.get("kind") == "exec":
        op = record.facts["key"]["Exec"]
        yield from (one.get("ID", "") for one in op.get("secretenv", ()))
        yield from (one["secretOpt"].get("ID", "") for one in op.get("mounts", ()) if "secretOpt" in one)
