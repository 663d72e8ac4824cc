from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildkit.store.gc import PrunePolicy, by_worth, keep_bytes
from buildkit.store.records import Record, RecordKind

GIB = 1 << 30


@pytest.mark.row("S81")
@pytest.mark.parametrize(
    ("most", "reserved", "min_free", "total", "free", "keep"),
    [
        (0, 0, 0, 100, 10, 0),  # no limit: everything that matches goes
        (50, 0, 0, 100, 10, 50),
        (50, 70, 0, 100, 10, 70),  # never below what is reserved
        (0, 70, 0, 100, 10, 70),
        (0, 0, 30, 100, 10, 80),  # 20 more must become free
        (50, 0, 30, 100, 10, 50),
        (90, 0, 30, 100, 10, 80),
        (0, 0, 30, 100, 40, 100),  # enough is free: nothing goes
        (50, 0, 30, 100, 40, 50),
        (0, 0, 300, 100, 10, 0),  # cannot be had
        (0, 20, 300, 100, 10, 20),
    ],
)
def test_bytes_to_keep(most, reserved, min_free, total, free, keep):
    policy = PrunePolicy(max_used_space=most, reserved_space=reserved, min_free_space=min_free)
    assert keep_bytes(policy, total, free) == keep


def record(name: str, last_used: int | None, count: int) -> Record:
    return Record(name, RecordKind.LAYER, last_used=last_used, usage_count=count)


@pytest.mark.row("S82")
def test_what_is_old_and_seldom_used_goes_first():
    records = [record("often", 3, 9), record("old", 1, 1), record("never", None, 0), record("new", 4, 1)]
    assert [one.id for one in by_worth(records)] == ["never", "old", "new", "often"]


@pytest.mark.row("S82")
@given(st.lists(st.tuples(st.one_of(st.none(), st.integers(1, 5)), st.integers(0, 5)), max_size=12))
def test_a_record_that_is_older_and_more_seldom_used_never_goes_later(values):
    order = by_worth([record(str(index), *value) for index, value in enumerate(values)])
    for before, one in enumerate(order):
        for other in order[before + 1 :]:
            older = (other.last_used or 0) < (one.last_used or 0)
            assert not (older and other.usage_count < one.usage_count)
