"""What ``du`` and ``prune`` print: tables as Go's tabwriter aligns them, long forms, JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from buildkit.cli.units import format_bytes
from buildkit.client.options import UsageRecord

HEADER = "ID\tRECLAIMABLE\tSIZE\tLAST ACCESSED"
_TAB = 8


def align(lines: Sequence[str]) -> str:
    """Pad tab-separated cells with tabs to columns of equal width (eight characters to a tab).

    As in Go's ``text/tabwriter``, only a cell that ends in a tab takes part, and a column ends with the first
    line that does not have it.
    """
    rows = [line.split("\t") for line in lines]
    widths: list[list[int]] = [[0] * (len(row) - 1) for row in rows]
    for column in range(max((len(row) for row in rows), default=1) - 1):
        start = 0
        while start < len(rows):
            end = start
            while end < len(rows) and len(rows[end]) - 1 > column:
                end += 1
            width = max((len(rows[i][column]) for i in range(start, end)), default=0) + 1
            for index in range(start, end):
                widths[index][column] = (width + _TAB - 1) // _TAB * _TAB
            start = max(end, start + 1)
    return "".join(_padded(row, widths[index]) + "\n" for index, row in enumerate(rows))


def _padded(row: list[str], widths: list[int]) -> str:
    cells = (cell + "\t" * -((len(cell) - width) // _TAB) for cell, width in zip(row, widths, strict=False))
    return "".join(cells) + row[-1]


def table_row(record: UsageRecord) -> str:
    """One line of the table, cells separated by tabs."""
    id = record.id + ("*" if record.mutable else "")
    size = format_bytes(record.size) + ("*" if record.shared else "")
    return f"{id:<71}\t{'false' if record.in_use else 'true':<11}\t{size}\t"


def summary(records: Iterable[UsageRecord]) -> list[str]:
    """Totals, cells separated by tabs."""
    records = list(records)
    total = sum(max(record.size, 0) for record in records)
    reclaimable = sum(max(record.size, 0) for record in records if not record.in_use)
    shared = sum(record.size for record in records if record.shared)
    lines = []
    if shared > 0:
        lines += [f"Shared:\t{format_bytes(shared)}", f"Private:\t{format_bytes(total - shared)}"]
    return [*lines, f"Reclaimable:\t{format_bytes(reclaimable)}", f"Total:\t{format_bytes(total)}"]


def long_lines(record: UsageRecord) -> list[str]:
    """Everything known of a record, cells separated by tabs, and an empty line."""
    facts: list[tuple[str, str]] = [("ID", record.id)]
    if record.parents:
        facts.append(("Parents", ";".join(record.parents)))
    facts += [
        ("Created at", go_time(record.created)),
        ("Mutable", _word(record.mutable)),
        ("Reclaimable", _word(not record.in_use)),
        ("Shared", _word(record.shared)),
        ("Size", format_bytes(record.size)),
    ]
    if record.description:
        facts.append(("Description", record.description))
    facts.append(("Usage count", str(record.usage_count)))
    if record.last_used is not None:
        facts.append(("Last used", go_time(record.last_used)))
    if record.record_type:
        facts.append(("Type", record.record_type))
    return [*(f"{key}:\t{value}" for key, value in facts), ""]


def _word(value: bool) -> str:
    return "true" if value else "false"


def go_time(nanoseconds: int) -> str:
    """A time as Go prints it by default."""
    from buildkit.cli.display.rawjson import format_time

    date, _, clock = format_time(nanoseconds).removesuffix("Z").partition("T")
    return f"{date} {clock} +0000 UTC"


def as_json(record: UsageRecord) -> dict[str, Any]:
    """A record as the JSON object that Go's client makes of it."""
    from buildkit.cli.display.rawjson import format_time

    return {
        "id": record.id,
        "mutable": record.mutable,
        "inUse": record.in_use,
        "size": record.size,
        "createdAt": format_time(record.created),
        "lastUsedAt": None if record.last_used is None else format_time(record.last_used),
        "usageCount": record.usage_count,
        "parents": list(record.parents) or None,
        "description": record.description,
        "recordType": record.record_type,
        "shared": record.shared,
    }
