"""Results: ratios of ours to a peer, beside the bars that they must stay below."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

from bench.cost import Cost


@dataclass(frozen=True)
class Row:
    """One number compared. ``unit``: ``wall s``, ``cpu s`` (of commands and daemons), ``daemon s`` or ``MB``."""

    workload: str
    peer: str
    unit: str
    ours: float
    theirs: float
    bar: float | None = None
    """The largest ratio that is good enough."""

    @property
    def ratio(self) -> float:
        """How much of the peer's cost is ours."""
        return self.ours / self.theirs if self.theirs else 0.0

    def cells(self) -> list[str]:
        """As the table has it."""
        judged = "" if self.bar is None else "met" if self.ratio <= self.bar else "MISSED"
        bar = "" if self.bar is None else f"{self.bar:g}"
        numbers = [f"{self.ours:.3f}", f"{self.theirs:.3f}", f"{self.ratio:.2f}", bar, judged]
        return [self.workload, self.peer, self.unit, *numbers]

    def fields(self) -> dict[str, object]:
        """As JSON has it."""
        return {**asdict(self), "ratio": round(self.ratio, 4)}


COLUMNS = ["workload", "peer", "unit", "ours", "theirs", "ratio", "bar", ""]
_PARTS: dict[str, Callable[[Cost], float]] = {
    "wall s": lambda cost: cost.wall,
    "cpu s": lambda cost: cost.cpu + cost.daemon,
    "daemon s": lambda cost: cost.daemon,
}


def compare(
    workload: str, costs: dict[str, Cost], bars: dict[str, float], *, unit: str, beside: tuple[str, ...] = ()
) -> list[Row]:
    """Ours against every peer; ``bars`` by peer are for ``unit``, and ``beside`` are units that are only shown."""
    return [
        Row(workload, name, one, _PARTS[one](costs["ours"]), _PARTS[one](cost), bars.get(name) if one == unit else None)
        for name, cost in costs.items()
        if name != "ours"
        for one in (unit, *beside)
    ]


def table(rows: list[Row]) -> str:
    """Lines of columns."""
    lines = [COLUMNS, *(row.cells() for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(COLUMNS))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
