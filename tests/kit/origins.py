"""A chain of cache records as an origin that a build may import."""

from __future__ import annotations

from buildkit.core.identity import new_id
from buildkit.solver.chains import ChainRecord
from buildkit.solver.keys import KeyId, Link, MemoryKeys, Record, Written


def import_keys(chain) -> MemoryKeys:
    """A store with the keys of a chain's records; its record names are those of the results."""
    ids: dict[ChainRecord, KeyId] = {}

    def key_of(record: ChainRecord) -> KeyId:
        if record not in ids:
            ids[record] = record.digest if not record.inputs else new_id()
        return ids[record]

    links: list[Written] = []
    records: list[Record] = []
    for one in chain:
        key = key_of(one)
        for i, ways in enumerate(one.inputs):
            links += [(key_of(way.record), Link(i, one.digest, way.selector), key) for way in ways]
        records += [Record(key, result.name, result.created_at) for result in one.results]
    keys = MemoryKeys()
    keys.write(links, records)
    return keys
