from __future__ import annotations

from buildkit.core.db import Database
from buildkit.store.records import _MOST, Record, RecordKind, Records


def record(number: int) -> Record:
    return Record(f"r{number}", RecordKind.LAYER, (), f"s{number}", created=number + 1)


def test_uses_of_more_rows_than_stay_in_memory_are_all_written_down(tmp_path):
    records = Records(Database(tmp_path / "db"))
    for number in range(3 * _MOST):
        records.add(record(number))
    for number in range(3 * _MOST):
        records.touch(f"r{number}")
    assert {one.usage_count for one in records.all()} == {1}
    records.flush()
    again = Records(Database(tmp_path / "db"))
    assert [one.usage_count for one in again.all()] == [1] * 3 * _MOST
    assert again.find("r0") == records.find("r0") and len(records._known) == _MOST


def test_rows_that_are_lent_stay_however_many_come_after(tmp_path):
    records = Records(Database(tmp_path / "db"))
    records.lend(record(10_000))
    for number in range(2 * _MOST):
        records.add(record(number))
    records.touch("r10000")
    assert records.find("r10000").usage_count == 1
    assert "r10000" not in {one.id for one in records.all()}
