"""The record of a step: what went into its key, what happened when, and why it hit or missed.

Records of steps that did something are kept in the database, so that a later miss can be explained by its
difference to the nearest earlier record. Ops add facts with `Step.note`; they never note a secret's value.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar, cast

from buildkit.core.db import Database
from buildkit.core.digest import Digest
from buildkit.core.pattern import Pattern
from buildkit.core.values import asdict, dataclass, field
from buildkit.solver.keys import KeyId
from buildkit.solver.lookup import Lookup
from buildkit.solver.vertex import VertexState

R = TypeVar("R")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS step_record (
    id INTEGER PRIMARY KEY, created_at INTEGER NOT NULL, vertex TEXT NOT NULL, op TEXT NOT NULL, name TEXT NOT NULL,
    body TEXT NOT NULL, scope TEXT NOT NULL DEFAULT '', place TEXT NOT NULL DEFAULT ''
);
CREATE INDEX IF NOT EXISTS step_record_place ON step_record (scope, place);
CREATE INDEX IF NOT EXISTS step_record_vertex ON step_record (vertex);
CREATE INDEX IF NOT EXISTS step_record_op ON step_record (op);
CREATE INDEX IF NOT EXISTS step_record_name ON step_record (name);
"""

_DONE = ("executed", "loaded", "shared")
_LABEL = Pattern(r"\[((?:\S+ )*?)(\d+)/\d+\] ")
_KEPT = 20_000
"""Records kept, oldest dropped first: at about 2 kB each, 40 MB."""


@dataclass(frozen=True, slots=True)
class InputRecord:
    """What was known of one input."""

    vertex: Digest
    output: int
    name: str
    selector: Digest = ""
    content: Digest = ""
    """Digest of its content, where the step wanted one."""
    keys: tuple[KeyId, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What the input's op noted, where that is a root: there is nothing else behind its keys."""


@dataclass(frozen=True, slots=True)
class StepRecord:
    """What one vertex did in a build."""

    vertex: Digest
    name: str
    outcome: str
    """``executed``, ``loaded``, ``shared`` (an equal vertex executed), ``skipped`` (nobody needed its result),
    ``failed`` or ``canceled``."""
    reason: str = ""
    """Why it missed, or under which key it hit."""
    error: str = ""
    ops: tuple[Digest, ...] = ()
    """Cache map digests."""
    inputs: tuple[InputRecord, ...] = ()
    events: tuple[tuple[str, int], ...] = ()
    """What happened when, in nanoseconds since the epoch."""
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What the op noted: fields of its key, timings, resource use."""
    results: tuple[str, ...] = ()
    """Names of what it made, as `buildkit.solver.graph.Results` has them."""

    @property
    def created_at(self) -> int:
        """When it was over, in nanoseconds; 0 if nothing happened."""
        return self.events[-1][1] if self.events else 0


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing in which two records differ; None where one of them does not have it."""

    path: str
    old: object
    new: object


def step_record(state: VertexState[R]) -> StepRecord:
    """The record of an active vertex as it stands."""
    inputs = []
    mapped = state.maps[0].inputs if state.maps else ()
    for i, one in enumerate(state.input_edges):
        edge = cast(Lookup[R], one)
        selector = mapped[i].selector if i < len(mapped) else ""
        inputs.append(
            InputRecord(
                edge.state.digest,
                edge.output,
                edge.state.vertex.name,
                selector,
                state.contents.get(i, ""),
                tuple(edge.keys),
                {} if edge.inputs else dict(edge.state.facts),
            )
        )
    return StepRecord(
        state.digest,
        state.vertex.name,
        state.outcome or "skipped",
        state.reason,
        state.progress.vertex.error,
        tuple(one.digest for one in state.maps),
        tuple(inputs),
        state.events,
        dict(state.facts),
        _results(state),
    )


def _results(state: VertexState[R]) -> tuple[str, ...]:
    edge = cast(Lookup[R] | None, next(iter(state.edges.values()), None))
    if state.outputs is None or edge is None:
        return ()
    return tuple(edge.home.results.name(output) for output in state.outputs)


class StepRecords:
    """The records of earlier steps."""

    def __init__(self, db: Database) -> None:
        self._db = db
        db.ensure(_SCHEMA)

    def save(self, record: StepRecord, scope: str = "") -> None:
        """Keep a record; ``scope`` tells builds of one thing from those of another."""
        body = json.dumps(asdict(record), default=str, separators=(",", ":"))
        with self._db.transaction():
            ((newest,),) = self._db.execute(
                "INSERT INTO step_record (created_at, vertex, op, name, body, scope, place) "
                "VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING id",
                (
                    record.created_at,
                    record.vertex,
                    record.ops[0] if record.ops else "",
                    record.name,
                    body,
                    scope,
                    place_of(record),
                ),
            )
            if newest % 100 == 0:
                self._db.execute("DELETE FROM step_record WHERE id <= ?", (newest - _KEPT,))

    def knows(self, vertex: Digest) -> bool:
        """Whether a record of this definition is kept."""
        return bool(self._db.execute("SELECT 1 FROM step_record WHERE vertex = ? LIMIT 1", (vertex,)))

    def of_vertex(self, record: StepRecord, before: int) -> list[StepRecord]:
        """Earlier records of the same definition, newest first; ``before`` in nanoseconds since the epoch."""
        return self._select("vertex = ?", (record.vertex,), before)

    def alike(self, record: StepRecord, scope: str, before: int) -> list[StepRecord]:
        """Earlier records of the scope with the same name, else in the same place, newest first."""
        named = self._select("scope = ? AND name = ?", (scope, record.name), before)
        place = place_of(record)
        return named or (self._select("scope = ? AND place = ?", (scope, place), before) if place else [])

    def _select(self, where: str, values: tuple[str, ...], before: int) -> list[StepRecord]:
        rows = self._db.execute(
            f"SELECT body FROM step_record WHERE {where} AND created_at < ? ORDER BY id DESC LIMIT 20",
            (*values, before),
        )
        return [one for one in (_parse(body) for (body,) in rows) if one.outcome in _DONE]

    def find_nearest(self, record: StepRecord) -> StepRecord | None:
        """The last earlier record of the same definition, else of an op with the same digest, else of the same name.

        Steps that failed or were canceled are no measure.
        """
        op = record.ops[0] if record.ops else ""
        for column, value in (("vertex", record.vertex), ("op", op), ("name", record.name)):
            rows = self._db.execute(
                f"SELECT body FROM step_record WHERE {column} = ? AND created_at < ? ORDER BY id DESC LIMIT 20",
                (value, record.created_at),
            )
            for (body,) in rows:
                found = _parse(body)
                if value and found.outcome in _DONE:
                    return found
        return None


def place_of(record: StepRecord) -> str:
    """Where a step stands in what a frontend built: the label of a Dockerfile's step, without its number of steps.

    The only stage has no name in labels, and is called ``stage-0`` once there is another.
    """
    match = _LABEL.match(record.name)
    return f"{match[1].removeprefix('stage-0 ')}{match[2]} {record.facts.get('kind', '')}" if match else ""


def _parse(body: str) -> StepRecord:
    fields = json.loads(body)
    fields["ops"] = tuple(fields["ops"])
    fields["inputs"] = tuple(InputRecord(**{**one, "keys": tuple(one["keys"])}) for one in fields["inputs"])
    fields["results"] = tuple(fields.get("results", ()))
    fields["events"] = tuple((name, when) for name, when in fields["events"])
    return StepRecord(**fields)


def differences(old: StepRecord, new: StepRecord) -> list[Difference]:
    """In what the keys of two steps differ: facts first, by path, then the op's digest, then the inputs."""
    found = list(
        _compare(
            "",
            json.loads(json.dumps(dict(old.facts), default=str)),
            json.loads(json.dumps(dict(new.facts), default=str)),
        )
    )
    if not set(old.ops) & set(new.ops):
        found.append(Difference("op", old.ops[:1], new.ops[:1]))
    if len(old.inputs) != len(new.inputs):
        found.append(Difference("inputs", len(old.inputs), len(new.inputs)))
    for i, (before, after) in enumerate(zip(old.inputs, new.inputs, strict=False)):
        if before.selector != after.selector:
            found.append(Difference(f"inputs[{i}].selector", before.selector, after.selector))
        if before.content and after.content:
            if before.content != after.content:
                found.append(Difference(f"inputs[{i}].content", before.content, after.content))
        elif not set(before.keys) & set(after.keys):
            found.append(Difference(f"inputs[{i}].keys", before.keys, after.keys))
    return found


def _compare(path: str, old: Any, new: Any) -> Iterator[Difference]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in {**old, **new}:
            yield from _compare(f"{path}.{key}" if path else key, old.get(key), new.get(key))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for i, (before, after) in enumerate(zip(old, new, strict=True)):
            yield from _compare(f"{path}[{i}]", before, after)
    elif old != new:
        yield Difference(path, old, new)
