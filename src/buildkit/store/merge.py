"""What a ref consists of: the steps of change, lowest first, from which layers are written and merges are made."""

from __future__ import annotations

from buildkit.core.errors import NotFound
from buildkit.core.values import dataclass
from buildkit.store.records import Record, RecordKind, Records


@dataclass(frozen=True, slots=True)
class Unit:
    """The change from one ref's tree to another's (ids; ``""`` is the empty tree); ``owner`` keeps its blobs."""

    owner: Record
    lower: str
    upper: str


def units(records: Records, id: str) -> list[Unit]:
    """The changes that make up a ref: one for each layer of an image of it.

    A merge is the changes of its parents in order. A diff is the changes that its upper has beyond those of its
    lower; only if the upper does not continue the lower, it is one change of its own.
    """
    known: dict[str, list[Unit]] = {"": []}
    waiting = [id]
    while waiting:
        record = records.find(waiting[-1])
        if record is None:
            raise NotFound(f"ref {waiting[-1]}: not found")
        missing = [parent for parent in record.parents if parent not in known]
        if missing:
            waiting += missing
            continue
        waiting.pop()
        known[record.id] = _units_on(record, [known[parent] for parent in record.parents])
    return known[id]


def _units_on(record: Record, parents: list[list[Unit]]) -> list[Unit]:
    if record.kind is RecordKind.MERGE:
        return [unit for parent in parents for unit in parent]
    if record.kind is RecordKind.DIFF:
        lower, upper = parents
        if len(upper) > len(lower) and upper[: len(lower)] == lower:
            return upper[len(lower) :]
        return [Unit(record, *record.parents)]
    below = parents[0] if parents else []
    return [*below, Unit(record, record.parent, record.id)]
