"""What is built, by name. Each workload gives rows."""

from __future__ import annotations

from collections.abc import Callable

from bench.peers import Bench
from bench.rows import Row
from bench.workloads import commands, daemons, layers, memory, transfers, trees

WORKLOADS: dict[str, Callable[[Bench], list[Row]]] = {
    "cached": commands.cached,
    "lines": commands.lines,
    "execs": commands.execs,
    "context": commands.big_context,
    "gzip": layers.gzip_layer,
    "files": transfers.files,
    "copied": transfers.copied_files,
    "bigfile": transfers.big,
    "tar": transfers.tar_out,
    "two": transfers.two_at_once,
    "chain": daemons.chain,
    "noop": daemons.noop,
    "steps": daemons.steps,
    "idle": memory.idle,
    "flat": memory.flat,
    "copy": trees.copy,
    "hash": trees.hashes,
}
