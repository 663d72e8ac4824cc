"""What daemons take of the machine's memory."""

from __future__ import annotations

import time

from bench.contexts import context
from bench.cost import pss_of_tree
from bench.peers import Bench
from bench.rows import Row

_SETTLING = 2.0
"""Seconds after the last build."""


def idle(bench: Bench) -> list[Row]:
    """A daemon that has just answered its first client, and one that has built."""
    folder = context(bench.work, "idle", f"FROM {bench.base}\nRUN true\nCOPY src /src\n", 1000)
    with bench.daemons("idle") as peers:
        time.sleep(_SETTLING)
        fresh = [pss_of_tree(peer.daemon) for peer in peers]
        for peer in peers:
            for run in range(10):
                (folder / "src/run").write_text(f"{run}")
                peer.measure(peer.build(folder))
        time.sleep(_SETTLING)
        used = [pss_of_tree(peer.daemon) for peer in peers]
    names = [peer.name for peer in peers[1:]]
    return [
        Row(workload, name, "MB", values[0], value, 1.0)
        for workload, values in (("idle, just started", fresh), ("idle, after ten builds", used))
        for name, value in zip(names, values[1:], strict=True)
    ]


def flat(bench: Bench) -> list[Row]:
    """Memory after 50 builds and after 500, each of a changed file."""
    folder = context(bench.work, "flat", f"FROM {bench.base}\nCOPY src /src\nRUN --network=none true\n", 100)
    rows: list[Row] = []
    with bench.daemons("flat") as peers:
        for peer in peers:
            taken: dict[int, float] = {}
            for run in range(1, 501):
                (folder / "src/run").write_text(f"{run}")
                peer.measure(peer.build(folder))
                if run in (50, 500):
                    time.sleep(_SETTLING)
                    taken[run] = pss_of_tree(peer.daemon)
            bar = 1.1 if peer.name == "ours" else None
            rows.append(Row(f"memory at build 500, {peer.name}", "itself at 50", "MB", taken[500], taken[50], bar))
    return rows
