from __future__ import annotations

import pytest

from buildkit.core.db import Database
from buildkit.core.errors import NotFound
from buildkit.store.merge import units
from buildkit.store.records import Record, RecordKind, Records


@pytest.fixture
def records():
    return Records(Database(":memory:"))


def add(records: Records, id: str, *parents: str, kind: RecordKind = RecordKind.LAYER) -> str:
    return records.add(Record(id, kind, parents, snapshot=id)).id


def changes(records: Records, id: str) -> list[str]:
    return [f"{unit.lower}>{unit.upper}" for unit in units(records, id)]


def test_a_chain_is_one_change_for_each_layer(records):
    add(records, "c", add(records, "b", add(records, "a")))
    assert changes(records, "c") == [">a", "a>b", "b>c"]


def test_a_merge_is_its_parents_in_order(records):
    add(records, "b", add(records, "a"))
    add(records, "x")
    add(records, "m", "b", "x", kind=RecordKind.MERGE)
    add(records, "top", "m")
    assert changes(records, "top") == [">a", "a>b", ">x", "m>top"]


@pytest.mark.row("L151")
def test_a_diff_is_what_comes_after_its_lower_or_a_change_of_its_own(records):
    add(records, "c", add(records, "b", add(records, "a")))
    add(records, "x")
    for id, lower, upper in (("ac", "a", "c"), ("bc", "b", "c"), ("xc", "x", "c"), ("cb", "c", "b"), ("a-", "a", "")):
        add(records, id, lower, upper, kind=RecordKind.DIFF)
    assert changes(records, "ac") == ["a>b", "b>c"]
    assert changes(records, "bc") == ["b>c"]
    assert changes(records, "xc") == ["x>c"]
    assert changes(records, "cb") == ["c>b"]
    assert changes(records, "a-") == ["a>"]


def test_the_blob_of_a_reused_change_is_kept_by_its_layer(records):
    add(records, "b", add(records, "a"))
    add(records, "ab", "a", "b", kind=RecordKind.DIFF)
    assert [unit.owner.id for unit in units(records, "ab")] == ["b"]


def test_chains_may_be_longer_than_the_interpreters_stack(records):
    parent = ""
    for number in range(3000):
        parent = add(records, str(number), *filter(None, [parent]))
    assert len(units(records, parent)) == 3000


def test_a_missing_parent_is_named(records):
    add(records, "b", "gone")
    with pytest.raises(NotFound, match="gone"):
        units(records, "b")
