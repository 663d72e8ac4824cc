"""Chains of cache records: what a cache export writes down, and what an import makes keys of.

A chain is a graph of records, each with the digest that other builds look for, for each input the alternative
records that lead here, and the names of results. It holds no result and no blob: a cache backend attaches them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from typing import Any, NamedTuple

from buildkit.core.digest import Digest
from buildkit.core.identity import new_id
from buildkit.core.values import dataclass, field
from buildkit.solver.digests import RANDOM_PREFIX, content_key
from buildkit.solver.graph import Results
from buildkit.solver.keys import KeyId, KeyStore
from buildkit.solver.lookup import Lookup


class Mode(Enum):
    """Which records carry results."""

    MIN = "min"
    """The uppermost ones that may, and below them those whose blobs exist already."""
    MAX = "max"
    """Every one that may."""
    TRANSFERABLE = "transferable"
    """Those whose blobs exist already."""


class ChainLink(NamedTuple):
    """One way to an input."""

    selector: Digest
    record: ChainRecord


class ChainResult(NamedTuple):
    """A result that was made under a record."""

    name: str
    created_at: int
    """Nanoseconds since the epoch."""
    results: Results[Any] | None = None
    """Who loads it by its name: the home store's, or those of an import that the build used."""


@dataclass(slots=True, eq=False)
class ChainRecord:
    """One record: compared by identity."""

    digest: Digest
    inputs: list[list[ChainLink]] = field(default_factory=list[list[ChainLink]])
    """For each input all ways that lead here; a root has no inputs."""
    results: list[ChainResult] = field(default_factory=list[ChainResult])
    """Newest first."""
    vertex: Digest = ""
    """The vertex of this build that stands here; empty for a record that only earlier builds know."""
    output: int = 0
    carries: bool = True
    """Whether the result may be exported: not that of a root, nor where the definition says no."""

    def link(self, input: int, selector: Digest, record: ChainRecord) -> None:
        """Add a way to an input, once."""
        while len(self.inputs) <= input:
            self.inputs.append([])
        way = ChainLink(selector, record)
        if way not in self.inputs[input]:
            self.inputs[input].append(way)


@dataclass(frozen=True, slots=True)
class Chain:
    """The records that lead to some edges, those of inputs first."""

    records: tuple[ChainRecord, ...]
    tops: tuple[ChainRecord, ...]

    def select(
        self, mode: Mode, transferable: Callable[[str], bool] = lambda name: True
    ) -> Mapping[ChainRecord, Sequence[ChainResult]]:
        """The results to attach. ``transferable`` tells of a result's name whether its blobs exist already."""
        chosen: dict[ChainRecord, Sequence[ChainResult]] = {}
        seen: set[ChainRecord] = set()
        todo = [(top, mode) for top in self.tops]
        for record, wanted in todo:
            if record in seen:
                continue
            seen.add(record)
            below = wanted
            if record.carries and record.results:
                found = record.results
                if wanted is Mode.TRANSFERABLE:
                    found = [one for one in found if transferable(one.name)]
                if found:
                    chosen[record] = found
                    if wanted is Mode.MIN:
                        below = Mode.TRANSFERABLE
            todo += [(way.record, below) for ways in record.inputs for way in ways]
        return chosen


def export_chain(edges: Iterable[Lookup[Any]], *, roots: bool = False, backlinks: bool = True) -> Chain:
    """The chain of edges that have their results.

    ``roots``: records of roots may carry results too. ``backlinks``: add what earlier builds in the home store
    know of other ways to the same keys.
    """
    return _Export(roots=roots, backlinks=backlinks).chain(list(edges))


class _Export:
    def __init__(self, *, roots: bool, backlinks: bool) -> None:
        self._roots = roots
        self._backlinks = backlinks
        self._by_key: dict[KeyId, ChainRecord] = {}
        self._done: dict[Lookup[Any], list[ChainRecord]] = {}

    def chain(self, tops: list[Lookup[Any]]) -> Chain:
        todo = [*tops]
        while todo:
            edge = todo[-1]
            if edge in self._done:
                todo.pop()
            elif missing := [one for one in edge.inputs if one not in self._done]:
                todo += missing
            else:
                self._done[edge] = self._inner(edge) if edge.inputs else self._root(edge)
        if self._backlinks and tops:
            self._walk_back(tops[0].home.keys)
        found = [record for top in tops for record in self._done[top]]
        records = _sound(found)
        return Chain(tuple(records), tuple(top for top in found if top in records))

    def _root(self, edge: Lookup[Any]) -> list[ChainRecord]:
        found = []
        keys = dict.fromkeys(edge.home_keys())
        results = self._results(edge)
        for result in results if self._backlinks else ():  # other keys of the same root, seen in other builds
            store = edge.home.keys
            keys.update(dict.fromkeys(key for key in store.keys_of(result.name) if ":" in key))
        for key in keys:
            if not key.startswith(RANDOM_PREFIX):
                record = self._by_key.setdefault(key, ChainRecord(key, carries=self._roots))
                record.results = record.results or results
                record.vertex, record.output = edge.state.vertex.digest, edge.output
                found.append(record)
        return found

    def _inner(self, edge: Lookup[Any]) -> list[ChainRecord]:
        key = next(iter((*edge.saved, *edge.home_keys(), *edge.keys)), new_id())
        record = self._by_key.setdefault(key, ChainRecord(edge.digest))
        for i, one in enumerate(edge.inputs):
            for way in self._done[one]:
                record.link(i, edge.links[i].selector, way)
            content = edge.state.contents.get(i)
            if content:
                digest = content_key(content)
                record.link(i, "", self._by_key.setdefault(digest, ChainRecord(digest, carries=False)))
        if len(record.inputs) < len(edge.inputs) or not all(record.inputs):
            return []
        record.vertex, record.output = edge.state.vertex.digest, edge.output
        record.carries = edge.state.vertex.options.export_cache is not False
        record.results = self._results(edge)
        return [record]

    def _results(self, edge: Lookup[Any]) -> list[ChainResult]:
        found: dict[str, ChainResult] = {}
        for origin in edge.origins():  # home first
            for key in (*edge.keys, *edge.saved):
                for record in origin.keys.records(key):
                    if record.name not in found and origin.results.exists(record.name):
                        found[record.name] = ChainResult(record.name, record.created_at, origin.results)
        return sorted(found.values(), key=lambda one: -one.created_at)

    def _walk_back(self, store: KeyStore) -> None:
        todo = [key for key in self._by_key if ":" not in key]
        for key in todo:
            record = self._by_key[key]
            for parent, link in store.backlinks(key):
                if parent.startswith(RANDOM_PREFIX) or link.digest != record.digest:
                    continue
                above = self._by_key.get(parent)
                if above is None:
                    digest = parent if ":" in parent else _digest_of(store, parent)
                    above = self._by_key[parent] = ChainRecord(digest, carries=False)
                    if ":" not in parent:
                        todo.append(parent)
                record.link(link.input, link.selector, above)


def _digest_of(store: KeyStore, key: KeyId) -> Digest:
    return next((link.digest for _, link in store.backlinks(key)), "")


def _sound(tops: list[ChainRecord]) -> dict[ChainRecord, None]:
    """The records under ``tops``, inputs first, without those that lack a way to some input."""
    order: dict[ChainRecord, None] = {}
    broken: set[ChainRecord] = set()
    entered: set[ChainRecord] = set()
    todo = list(reversed(tops))
    while todo:
        record = todo[-1]
        below = [way.record for ways in record.inputs for way in ways if way.record not in entered]
        if record not in entered and below:
            entered.add(record)
            todo += below
            continue
        entered.add(record)
        todo.pop()
        if record in order or record in broken:
            continue
        record.inputs = [[way for way in ways if way.record in order] for ways in record.inputs]
        is_root = not record.inputs
        if (is_root and ":" in record.digest) or (not is_root and all(record.inputs)):
            order[record] = None
        else:
            broken.add(record)
    return order
