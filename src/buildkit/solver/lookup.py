"""What is known of the keys of an edge: found by probing the stores, offered upwards, and written down.

All of it is synchronous. `edge.EdgeState` adds the asking.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from typing import Generic, NamedTuple, TypeVar

from buildkit.core.digest import Digest
from buildkit.core.errors import Internal
from buildkit.core.identity import new_id
from buildkit.solver.decide import Level, Probe
from buildkit.solver.digests import content_key, record_digest
from buildkit.solver.keys import KeyId, Link, Record, Written
from buildkit.solver.origins import Home, Origin
from buildkit.solver.vertex import VertexState

R = TypeVar("R")


class Candidate(NamedTuple, Generic[R]):
    """A record and the origin that can load it."""

    record: Record
    origin: Origin[R]


class Lookup(Generic[R]):
    """The keys of one output of an active vertex."""

    __slots__ = (
        "_matches",
        "_origins_seen",
        "_probed_contents",
        "_seen",
        "_taken",
        "digest",
        "home",
        "inputs",
        "keys",
        "level",
        "links",
        "output",
        "passed_over",
        "result",
        "saved",
        "state",
    )

    def __init__(self, state: VertexState[R], output: int, inputs: tuple[Lookup[R], ...], home: Home[R]) -> None:
        self.state = state
        self.output = output
        self.inputs = inputs
        self.home = home
        self.level = Level.UNASKED
        self.result: R | None = None
        """Set at level RESULT."""
        self.keys: dict[KeyId, None] = {}
        """Keys offered to whoever asks, oldest first; they only grow. Empty for a vertex that ignores the cache."""
        self.saved: tuple[KeyId, ...] = ()
        """The keys in the home store under which its result stands."""
        self.digest: Digest = ""
        """Record digest, of an edge with inputs."""
        self.links: tuple[Link, ...] = ()
        self.passed_over: frozenset[str] = frozenset()
        """Names of results that could not be loaded."""
        self._taken = 0
        self._origins_seen = 1
        self._seen = [0] * len(inputs)
        self._matches: list[frozenset[KeyId]] = [_NOTHING] * len(inputs)
        self._probed_contents: frozenset[int] = frozenset()

    # -- learning --

    def take_maps(self) -> None:
        """Make keys of the cache maps that came."""
        maps = self.state.maps
        if not self.inputs:
            for mapped in maps[self._taken :]:
                self._taken += 1
                if not self.state.ignoring:
                    self.offer((record_digest(mapped.digest, self.output),))
        elif not self.digest:
            inputs = maps[0].inputs
            if len(inputs) != len(self.inputs):
                raise Internal(f"cache map has {len(inputs)} inputs, the vertex {len(self.inputs)}")
            self.digest = digest = record_digest(maps[0].digest, self.output)
            self.links = tuple([Link(i, digest, one.selector) for i, one in enumerate(inputs)])

    def known(self) -> bool:
        """Whether any store knows one of its keys."""
        return any(origin.keys.knows(key) for origin in self.origins() for key in self.keys)

    def origins(self) -> tuple[Origin[R], ...]:
        """Home, and the imports that are open."""
        imports = self.state.imports
        if not imports:
            return (self.home,)
        return (self.home, *(one.origin for one in imports if one.origin is not None))

    def probe(self) -> None:
        """Look for keys that the inputs' new keys and contents lead to."""
        if self.state.ignoring:
            return
        origins = self.origins()
        if len(origins) != self._origins_seen:
            self._origins_seen = len(origins)
            self._seen = [0] * len(self.inputs)
            self._probed_contents = frozenset()
        contents = self.state.contents
        changed = False
        for i, one in enumerate(self.inputs):
            count = len(one.keys)
            if self._seen[i] < count:
                new = tuple(one.keys)[self._seen[i] :] if self._seen[i] else one.keys
                self._seen[i] = count
                changed = self._match(i, new, self.links[i], origins) or changed
                if count > 1 and self._matches[i]:
                    self._teach(i)
            if i in contents and i not in self._probed_contents:
                self._probed_contents |= {i}
                if contents[i]:
                    changed = self._match(i, (content_key(contents[i]),), Link(i, self.digest), origins) or changed
                    self._teach(i)
        if changed:
            self.offer(self._matches[0].intersection(*self._matches[1:]))

    def _match(self, i: int, parents: Iterable[KeyId], link: Link, origins: tuple[Origin[R], ...]) -> bool:
        before = matches = self._matches[i]
        for origin in origins:
            matches |= origin.keys.match(parents, link)
        self._matches[i] = matches
        return len(matches) > len(before)

    def _teach(self, i: int) -> None:
        """Next time any key of this input shall lead to what one of them leads to today."""
        known = [key for key in self._matches[i] if self.home.keys.knows(key)]
        if known:
            self.home.keys.write(self._links_from(i, known))

    def _links_from(self, i: int, keys: Collection[KeyId]) -> list[Written]:
        return [(parent, link, key) for parent, link in self.ways(i) for key in keys]

    def ways(self, i: int) -> list[tuple[KeyId, Link]]:
        """All ways, in terms of the home store, in which input ``i`` is known."""
        found = [(parent, self.links[i]) for parent in self.inputs[i].home_keys()]
        if content := self.state.contents.get(i):
            found.append((content_key(content), Link(i, self.digest)))
        return found

    def offer(self, keys: Collection[KeyId]) -> None:
        """Add keys to those that consumers may probe with."""
        new = [key for key in keys if key not in self.keys]
        if new:
            self.keys.update(dict.fromkeys(new if len(new) == 1 else sorted(new)))
            if self.level is not Level.UNASKED:
                self.tell()

    def tell(self) -> None:
        """Whoever asked should look again."""

    def probes(self) -> list[Probe]:
        """What each input has told, for `decide.next_step`."""
        probes = []
        for i, one in enumerate(self.inputs):
            ceiling = Level.SETTLED if self.state.maps[0].inputs[i].content is None else Level.RESULT
            level = Level.RESULT if i in self._probed_contents else min(one.level, Level.SETTLED)
            probes.append(Probe(ceiling, level, self._matches[i]))
        return probes

    def candidates(self) -> list[Candidate[R]]:
        """Records that may be loaded, newest first, at equal age home first."""
        found = []
        for origin in self.origins():
            for key in self.keys:
                for record in tuple(origin.keys.records(key)):
                    if record.name in self.passed_over:
                        continue
                    if origin.results.exists(record.name):
                        found.append(Candidate(record, origin))
                    elif origin is self.home:
                        self.home.keys.forget(record.name)
        found.sort(key=_age)
        return found

    def why_missed(self) -> str:
        """Why there is no record, for the step's own record."""
        state = self.state
        if state.ignoring:
            return "the cache is ignored"
        if not self.inputs:
            return "none of its keys was seen before"
        for i, one in enumerate(self.inputs):
            if not self._matches[i]:
                how = "content" if state.contents.get(i) else "keys"
                return f"input {i} ({one.state.vertex.name}): its {how} did not lead here before"
        return "its record is gone" if self.keys else "its inputs were not combined before"

    # -- writing down --

    def home_keys(self) -> tuple[KeyId, ...]:
        """Its keys that mean something in the home store: those of roots do everywhere."""
        if not self.inputs:
            return tuple(record_digest(mapped.digest, self.output) for mapped in self.state.maps)
        if self.state.ignoring:
            return self.saved
        keys = self.home.keys
        return tuple({*self.saved, *(key for key in self.keys if keys.knows(key))})

    def identify(self) -> tuple[KeyId, ...]:
        """The keys in the home store to save under; found through the inputs' keys, or new ones made."""
        todo: list[Lookup[R]] = [self]
        while todo:
            edge = todo[-1]
            if edge.saved:
                todo.pop()
            elif not edge.inputs:
                edge.saved = edge.home_keys()
            elif missing := [one for one in edge.inputs if not one.home_keys()]:
                todo.extend(missing)
            else:
                edge.saved = (edge._identify(),)
        return self.saved

    def _identify(self) -> KeyId:
        keys = self.home.keys
        found: set[KeyId] | None = None
        for i in range(len(self.inputs)):
            reached: set[KeyId] = set()
            for parent, link in self.ways(i):
                reached |= keys.match((parent,), link)
            found = reached if found is None else found & reached
        key = min(found) if found else new_id()
        keys.write([written for i in range(len(self.inputs)) for written in self._links_from(i, (key,))])
        return key

    def finish(self, result: R, name: str, created_at: int = 0) -> None:
        """Take the result and write it down under all keys, in one transaction."""
        with self.home.keys.transaction():
            keys = self.identify()
            created_at = created_at or time.time_ns()
            self.home.keys.write(records=[Record(key, name, created_at) for key in keys])
        self.result = result
        if not self.state.ignoring:
            self.offer(keys)
        self.level = Level.RESULT
        self.tell()


_NOTHING: frozenset[str] = frozenset()


def _age(candidate: Candidate[R]) -> int:
    return -candidate.record.created_at
