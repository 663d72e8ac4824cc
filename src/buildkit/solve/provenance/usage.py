"""What a build used, for provenance with ``capture-usage``: of each step, and of the whole machine (row E112)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from buildkit.core.digest import Digest
from buildkit.solver.record import StepRecord

_PAUSE = 2.0
"""Seconds between two looks at the machine, as long as there are few."""
_MOST = 20
_TICKS = 100
"""In which the kernel counts a second of processor time for programs."""

_CPU = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal", "guest", "guestNice")
_PROCESSES = {"ctxt": "contextSwitches", "processes": "processCreated", "procs_running": "processesRunning"}
_MEMORY = {
    "MemTotal": "total",
    "MemFree": "free",
    "MemAvailable": "available",
    "Buffers": "buffers",
    "Cached": "cached",
    "Active": "active",
    "Inactive": "inactive",
    "SwapTotal": "swap",
    "Dirty": "dirty",
    "Writeback": "writeback",
    "Slab": "slab",
}
"""In kilobytes, as the kernel has them."""
_STEP = {
    "memory_peak": ("memoryStat", "peak"),
    "read": ("ioStat", "readBytes"),
    "written": ("ioStat", "writeBytes"),
    "processes": ("pidsStat", "current"),
    "received": ("netStat", "rxBytes"),
    "sent": ("netStat", "txBytes"),
}
"""Where provenance has the facts of `buildkit.executor.sampling.Sample`."""


def usage_of_steps(records: Iterable[StepRecord]) -> dict[Digest, dict[str, Any]]:
    """The samples of each step that ran long enough to have some."""
    found = {}
    for record in records:
        samples = (record.facts.get("usage") or {}).get("samples")
        if samples:
            found[record.vertex] = {"samples": [_sample_of_step(sample) for sample in samples]}
    return found


def _sample_of_step(facts: Mapping[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {"timestamp": _time(facts["time"])}
    if "processor_time" in facts:
        out["cpuStat"] = {"usageNanos": round(facts["processor_time"] * 1e9)}
    for name, (group, key) in _STEP.items():
        if name in facts:
            out.setdefault(group, {})[key] = facts[name]
    return out


class Machine:
    """Looks at the machine now and then while a build runs."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._samples: list[dict[str, Any]] = []
        self._pause = _PAUSE
        self._timer = asyncio.get_running_loop().call_later(_PAUSE, self._look)

    def samples(self) -> list[dict[str, Any]]:
        """What was seen so far, and what is there to be seen now."""
        return [*self._samples, sample_machine(self._proc)]

    def stop(self) -> None:
        """Look no more."""
        self._timer.cancel()

    def _look(self) -> None:
        self._samples.append(sample_machine(self._proc))
        if len(self._samples) > _MOST:
            del self._samples[::2]
            self._pause *= 2
        self._timer = asyncio.get_running_loop().call_later(self._pause, self._look)


@contextmanager
def watching() -> Iterator[Machine]:
    """The machine is looked at while the scope lasts."""
    machine = Machine()
    try:
        yield machine
    finally:
        machine.stop()


def sample_machine(proc: Path = Path("/proc")) -> dict[str, Any]:
    """One look: seconds of processor time, numbers of processes, kilobytes of memory, pressure where it is counted."""
    out: dict[str, Any] = {"timestamp": _time(time.time_ns())}
    stat = dict(line.partition(" ")[::2] for line in _read(proc / "stat").splitlines())
    ticks = stat.get("cpu", "").split()
    if len(ticks) >= len(_CPU):
        out["cpuStat"] = {name: int(value) / _TICKS for name, value in zip(_CPU, ticks, strict=False)}
        out["procStat"] = {name: int(stat.get(key, "0") or "0") for key, name in _PROCESSES.items()}
    memory = dict(line.partition(":")[::2] for line in _read(proc / "meminfo").splitlines())
    if memory:
        out["memoryStat"] = {name: int(memory[key].split()[0]) for key, name in _MEMORY.items() if key in memory}
    for kind in ("cpu", "memory", "io"):
        if pressure := _pressure(_read(proc / "pressure" / kind)):
            out[f"{kind}Pressure"] = pressure
    return out


def _pressure(text: str) -> dict[str, Any]:
    """``some avg10=0.00 … total=1``, a line for each of ``some`` and ``full``."""
    out: dict[str, Any] = {}
    for line in text.splitlines():
        kind, *fields = line.split()
        values = dict(field.partition("=")[::2] for field in fields)
        out[kind] = {key: int(value) if key == "total" else float(value) for key, value in values.items()}
    return {"some": None, "full": None, **out} if out else {}


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _time(nanoseconds: int) -> str:
    seconds, rest = divmod(nanoseconds, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"
