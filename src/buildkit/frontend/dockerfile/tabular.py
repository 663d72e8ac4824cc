"""Columns of text aligned by tabs, the way Go's ``text/tabwriter`` does it.

A column is a run of lines that all have a cell there, ended by a tab; it is as wide as its widest cell and padding.
"""

from __future__ import annotations

from collections.abc import Sequence


def align(text: str, padding: int) -> str:
    """Replace the tabs of ``text`` by spaces; what follows a line's last tab is left as it is."""
    rows = [line.split("\t") for line in text.split("\n")]
    pieces: list[str] = []
    _format(rows, 0, len(rows), [], padding, pieces)
    return "".join(pieces)[:-1]


def _format(
    rows: Sequence[Sequence[str]], start: int, end: int, widths: list[int], padding: int, out: list[str]
) -> None:
    column = len(widths)
    index = written = start
    while index < end:
        if column >= len(rows[index]) - 1:
            index += 1
            continue
        _write(rows[written:index], widths, out)
        written = index
        width = 0
        while index < end and column < len(rows[index]) - 1:
            width = max(width, len(rows[index][column]) + padding)
            index += 1
        _format(rows, written, index, [*widths, width], padding, out)
        written = index
    _write(rows[written:end], widths, out)


def _write(rows: Sequence[Sequence[str]], widths: Sequence[int], out: list[str]) -> None:
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        out.append("".join((*cells, *row[len(cells) :])) + "\n")
