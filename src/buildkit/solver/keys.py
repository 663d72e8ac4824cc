"""The graph of cache keys: links from the keys of inputs to the keys of outputs, and the records they lead to.

A key id is the record digest for a root (an op without inputs, or an input's content), the same in every
store, and a random id for everything else. Ids of several stores may so be mixed in one set: a store knows
its own and ignores the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from typing import NamedTuple, Protocol, TypeAlias

from buildkit.core.digest import Digest

KeyId: TypeAlias = str


class Link(NamedTuple):
    """How a key depends on the key of one of its inputs."""

    input: int
    digest: Digest
    """Record digest (`digests.record_digest`) of the output that the link leads to."""
    selector: Digest = ""


class Record(NamedTuple):
    """A result that was made under a key."""

    key: KeyId
    name: str
    """The name of the result in its `Results`."""
    created_at: int
    """Nanoseconds since the epoch."""


Backlink: TypeAlias = tuple[KeyId, Link]
Written: TypeAlias = tuple[KeyId, Link, KeyId]


class KeyStore(Protocol):
    """A graph of keys that can be asked. Every answer is synchronous."""

    def knows(self, key: KeyId) -> bool:
        """Whether the key leads to a record or to other keys."""

    def match(self, parents: Iterable[KeyId], link: Link) -> AbstractSet[KeyId]:
        """The keys that ``link`` leads to from any of ``parents``. Not to be changed by the caller."""

    def records(self, key: KeyId) -> Collection[Record]:
        """What was made under this key, in no order."""

    def backlinks(self, key: KeyId) -> Collection[Backlink]:
        """The links that lead to this key."""

    def keys_of(self, name: str) -> Collection[KeyId]:
        """The keys under which the result ``name`` is recorded."""


class KeyWriter(KeyStore, Protocol):
    """A graph of keys that learns."""

    def write(self, links: Iterable[Written] = (), records: Iterable[Record] = ()) -> None:
        """Add links and records, all or nothing; what is there already stays."""

    def forget(self, name: str) -> None:
        """Drop the result ``name`` from every key, then keys that lead nowhere, and the links to them."""

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """What is written inside becomes durable together, or not at all. Never await inside."""
        yield

    def names(self) -> Collection[str]:
        """The names of all results that are recorded."""

    def collect(self, exists: Callable[[str], bool], names: Collection[str] | None = None) -> int:
        """Forget every result (of ``names``) for which ``exists`` is False; returns how many."""

    def rest(self) -> None:
        """Nobody builds now: take less memory."""


class MemoryKeys:
    """A graph of keys in dicts."""

    def __init__(self) -> None:
        self._links: dict[KeyId, dict[Link, set[KeyId]]] = {}
        self._back: dict[KeyId, set[Backlink]] = {}
        self._records: dict[KeyId, dict[str, Record]] = {}
        self._keys: dict[str, set[KeyId]] = {}

    def knows(self, key: KeyId) -> bool:
        """See `KeyStore`."""
        return key in self._records or key in self._links

    def match(self, parents: Iterable[KeyId], link: Link) -> AbstractSet[KeyId]:
        """See `KeyStore`."""
        found: set[KeyId] | None = None
        for parent in parents:
            links = self._links.get(parent)
            if links is not None and (keys := links.get(link)):
                found = keys if found is None else found | keys
        return _NOTHING if found is None else found

    def records(self, key: KeyId) -> Collection[Record]:
        """See `KeyStore`."""
        return self._records.get(key, {}).values()

    def backlinks(self, key: KeyId) -> Collection[Backlink]:
        """See `KeyStore`."""
        return self._back.get(key, ())

    def keys_of(self, name: str) -> Collection[KeyId]:
        """See `KeyStore`."""
        return self._keys.get(name, ())

    def write(self, links: Iterable[Written] = (), records: Iterable[Record] = ()) -> None:
        """See `KeyWriter`."""
        for parent, link, key in links:
            self._links.setdefault(parent, {}).setdefault(link, set()).add(key)
            self._back.setdefault(key, set()).add((parent, link))
        for record in records:
            self._records.setdefault(record.key, {})[record.name] = record
            self._keys.setdefault(record.name, set()).add(record.key)

    def forget(self, name: str) -> None:
        """See `KeyWriter`."""
        dead = list(self._keys.pop(name, ()))
        for key in dead:
            records = self._records[key]
            del records[name]
            if not records:
                del self._records[key]
        while dead:
            key = dead.pop()
            if self.knows(key):
                continue
            for parent, link in self._back.pop(key, ()):
                links = self._links[parent]
                links[link].discard(key)
                if not links[link]:
                    del links[link]
                if not links:
                    del self._links[parent]
                    dead.append(parent)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Nothing here can fail half-way."""
        yield

    def names(self) -> Collection[str]:
        """See `KeyWriter`."""
        return tuple(self._keys)

    def collect(self, exists: Callable[[str], bool], names: Collection[str] | None = None) -> int:
        """See `KeyWriter`."""
        gone = [name for name in (self._keys if names is None else names) if not exists(name)]
        for name in gone:
            self.forget(name)
        return len(gone)

    def rest(self) -> None:
        """This is all there is of them."""

    def __len__(self) -> int:
        return len(self._links) + len(self._records)


_NOTHING: frozenset[KeyId] = frozenset()
