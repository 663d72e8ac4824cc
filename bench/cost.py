"""What things cost: wall time, CPU time and memory of whole process trees."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Cost:
    """Seconds: wall, CPU of the commands, and CPU of the daemon that served them (its whole process tree)."""

    wall: float
    cpu: float
    daemon: float = 0.0


def tree(pid: int) -> Iterator[int]:
    """A process and its live descendants."""
    pids = [pid] if pid else []
    while pids:
        one = pids.pop()
        yield one
        try:
            for task in Path(f"/proc/{one}/task").iterdir():
                pids += map(int, (task / "children").read_text().split())
        except OSError:
            continue


def cpu_of_tree(pid: int) -> float:
    """CPU seconds of a process, its reaped children and its live descendants."""
    seconds = 0.0
    for one in tree(pid):
        try:
            reaped = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()[13:15]
            seconds += time.clock_gettime(~one << 3 | 2)  # CPUCLOCK_SCHED: nanoseconds, where stat has ticks
            seconds += sum(map(int, reaped)) / os.sysconf("SC_CLK_TCK")
        except OSError:
            continue
    return seconds


def pss_of_tree(pid: int) -> float:
    """Megabytes that a process and its descendants take, shared pages by their share."""
    kilobytes = 0
    for one in tree(pid):
        try:
            lines = Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()
            kilobytes += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        except OSError:
            continue
    return kilobytes / 1024


def measure(*commands: list[str], daemon: int = 0) -> Cost:
    """Run commands at once to their successful ends, served by the process ``daemon``."""
    before, served = resource.getrusage(resource.RUSAGE_CHILDREN), cpu_of_tree(daemon)
    started = time.perf_counter()
    running = [
        subprocess.Popen(one, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment())
        for one in commands
    ]
    shown = [process.communicate()[0] for process in running]
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    for process, text in zip(running, shown, strict=True):
        if process.returncode:
            raise RuntimeError(f"{process.args} ended with {process.returncode}\n{text[-4000:]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(wall, cpu, cpu_of_tree(daemon) - served)


def environment() -> dict[str, str]:
    """Ours, but compiled modules may be written: otherwise the compiler is measured."""
    return {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}


def median(costs: list[Cost]) -> Cost:
    """Each part's."""
    return Cost(*(statistics.median(getattr(c, part) for c in costs) for part in ("wall", "cpu", "daemon")))
