"""The record of a step: what went into its key, what happened when, and why it hit or missed.

Records of steps that did something are kept in the database, so that a later miss can be explained by its
difference to the nearest earlier record. Ops add facts with `Step.note`; they never note a secret's value.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, TypeVar, cast

from buildkit.core.db import Database
from buildkit.core.digest import Digest
from buildkit.core.pattern import Pattern
from buildkit.core.values import asdict, dataclass, field
from buildkit.solver.decide import Level
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
CREATE INDEX IF NOT EXISTS step_record_name ON step_record (name);
"""

_DONE = ("executed", "loaded", "shared", "failed")
_LABEL = Pattern(r"\[((?:\S+ )*?)(\d+)/\d+\] ")
_NO_NAMES: Mapping[str, str] = MappingProxyType({})
_MOST_LIKE = 20
"""Records of each kind that a step is compared with."""
_MOST_OTHERS = 200
"""Records of a scope among which a step is looked for that is neither called nor placed as it was."""
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
    """Names of the outputs that are there, in order; "" for one that is not."""
    edges = cast(Mapping[int, Lookup[R]], state.edges)
    made = {number: cast(R, edge.result) for number, edge in edges.items() if edge.level is Level.RESULT}
    if state.outputs is not None:
        made = dict(enumerate(state.outputs))
    home = next((edge.home for edge in edges.values()), None)
    if home is None or not made:
        return ()
    return tuple(home.results.name(made[n]) if n in made else "" for n in range(max(made) + 1))


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

    def knows(self, record: StepRecord, scope: str) -> bool:
        """Whether a record of the scope with this name and cache map is kept."""
        values = (scope, record.name, record.ops[0] if record.ops else "")
        return bool(
            self._db.execute("SELECT 1 FROM step_record WHERE scope = ? AND name = ? AND op = ? LIMIT 1", values)
        )

    def near(
        self, record: StepRecord, scope: str, before: int, names: Mapping[str, str] = _NO_NAMES
    ) -> list[StepRecord]:
        """Earlier records of what may be the same step, the likeliest first; ``before`` in nanoseconds since the epoch.

        Those of the scope with the same name; with the same name less its label (`title_of`), which tells where it
        stood; those of the same definition in any scope; and those of the scope that stood in its place. ``names``
        are those of the build's steps, with their titles: what is another of them is not this one.
        """
        title, place = title_of(record.name), place_of(record)
        found = self._select("scope = ? AND name = ?", (scope, record.name), before)
        titled = self._select("scope = ? AND substr(name, -?) = ?", (scope, len(title), title), before)
        found |= {id: one for id, one in titled.items() if title_of(one.name) == title}
        found |= self._select("vertex = ?", (record.vertex,), before)
        if place:
            titles = set(names.values())
            standing = self._standing(scope, place, before)
            found |= {id: one for id, one in standing.items() if title_of(one.name) not in titles}
        return [one for one in found.values() if one.outcome in _DONE and _may_be(one.name, record.name, names)]

    def _standing(self, scope: str, place: str, before: int) -> dict[int, StepRecord]:
        """Those that stood in a place; the labels of an only stage leave its name out."""
        *stage, number, kind = place.rsplit(" ", 2)
        step = f"{number} {kind}"
        if stage:
            return self._select("scope = ? AND place IN (?, ?)", (scope, place, step), before)
        values = (scope, step, len(step) + 1, f" {step}")
        return self._select("scope = ? AND (place = ? OR substr(place, -?) = ?)", values, before)

    def others(self, scope: str, before: int, names: Mapping[str, str]) -> list[StepRecord]:
        """Earlier records of the scope, the latest first, of what is none of the build's steps, as their names tell."""
        titles = set(names.values())
        found = self._select("scope = ?", (scope,), before, _MOST_OTHERS).values()
        return [one for one in found if one.outcome in _DONE and title_of(one.name) not in titles]

    def _select(
        self, where: str, values: tuple[str | int, ...], before: int, most: int = _MOST_LIKE
    ) -> dict[int, StepRecord]:
        rows = self._db.execute(
            f"SELECT id, body FROM step_record WHERE {where} AND created_at < ? ORDER BY id DESC LIMIT {most}",
            (*values, before),
        )
        return {id: _parse(body) for id, body in rows}


def _may_be(earlier: str, name: str, names: Mapping[str, str]) -> bool:
    return earlier == name or earlier not in names


def title_of(name: str) -> str:
    """A step's name without the label of its platform, stage and number."""
    match = _LABEL.match(name)
    return name[match.end() :] if match else name


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
