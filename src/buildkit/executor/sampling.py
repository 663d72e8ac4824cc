"""What a container uses while it runs, read from its control group now and then."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path

from buildkit.core.values import asdict, dataclass
from buildkit.executor.network import Lent

_CGROUPS = Path("/sys/fs/cgroup")
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 2.0
"""Seconds: short steps are looked at soon, long ones seldom."""

_MOST = 10
"""Samples that are kept; where there would be more, every second one goes and they are taken half as often."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One look: seconds of processor time, bytes, numbers; None is what this kernel does not count."""

    time: int
    """Nanoseconds since the Unix epoch."""
    processor_time: float | None = None
    memory: int | None = None
    memory_peak: int | None = None
    read: int | None = None
    """From devices."""
    written: int | None = None
    processes: int | None = None
    received: int | None = None
    """By the network, since the container began."""
    sent: int | None = None

    def facts(self) -> dict[str, float]:
        """What is known, by name."""
        return {name: value for name, value in asdict(self).items() if value is not None}


class Sampler:
    """Takes samples of one container from `start` to `stop`, on the event loop."""

    def __init__(self, cgroup: str, network: Lent, *, hierarchies: Path = _CGROUPS) -> None:
        """``cgroup`` is the path that the runtime was told."""
        self._cgroup = cgroup
        self._network = network
        self._hierarchies = hierarchies
        self._before = network.traffic()
        self._pause, self._longest = _FIRST_PAUSE, _LONGEST_PAUSE
        self._timer: asyncio.TimerHandle | None = None
        self._samples: list[Sample] = []

    def start(self) -> None:
        """Take the first sample soon."""
        self._timer = asyncio.get_running_loop().call_later(self._pause, self._take)

    def stop(self) -> tuple[Sample, ...]:
        """Everything that was seen, oldest first."""
        if self._timer is not None:
            self._timer.cancel()
        return tuple(self._samples)

    def traffic(self) -> tuple[int, int] | None:
        """Bytes received and sent until now; None when nobody counts them."""
        now = self._network.traffic()
        if now is None or self._before is None:
            return None
        return now[0] - self._before[0], now[1] - self._before[1]

    def _take(self) -> None:
        counted = read_cgroup(self._hierarchies, self._cgroup)
        if counted:
            received, sent = self.traffic() or (None, None)
            self._samples.append(Sample(time.time_ns(), **counted, received=received, sent=sent))  # type: ignore[arg-type]
        if len(self._samples) > _MOST:
            del self._samples[::2]
            self._longest *= 2
        self._pause = min(self._pause * 2, self._longest)
        self.start()


def read_cgroup(hierarchies: Path, cgroup: str) -> Mapping[str, float]:
    """What the control group counts, by the names of `Sample`; nothing when it is not there."""
    place = cgroup.strip("/")
    if (hierarchies / "cgroup.controllers").exists():
        return _unified(hierarchies / place)
    return _separate(hierarchies, place)


def _unified(group: Path) -> Mapping[str, float]:
    found: dict[str, float] = {}
    for line in _read(group / "cpu.stat").splitlines():
        name, _, value = line.partition(" ")
        if name == "usage_usec":
            found["processor_time"] = int(value) / 1e6
    for name, file in (("memory", "memory.current"), ("memory_peak", "memory.peak"), ("processes", "pids.current")):
        _number(found, name, group / file)
    for line in _read(group / "io.stat").splitlines():
        for field in line.split()[1:]:
            name, _, value = field.partition("=")
            if name in ("rbytes", "wbytes"):
                kind = "read" if name == "rbytes" else "written"
                found[kind] = found.get(kind, 0) + int(value)
    return found


def _separate(hierarchies: Path, place: str) -> Mapping[str, float]:
    found: dict[str, float] = {}
    _number(found, "processor_time", hierarchies / "cpuacct" / place / "cpuacct.usage")
    if "processor_time" in found:
        found["processor_time"] /= 1e9
    _number(found, "memory", hierarchies / "memory" / place / "memory.usage_in_bytes")
    _number(found, "memory_peak", hierarchies / "memory" / place / "memory.max_usage_in_bytes")
    _number(found, "processes", hierarchies / "pids" / place / "pids.current")
    for line in _read(hierarchies / "blkio" / place / "blkio.throttle.io_service_bytes").splitlines():
        words = line.split()
        if len(words) == 3 and words[1] in ("Read", "Write"):
            kind = "read" if words[1] == "Read" else "written"
            found[kind] = found.get(kind, 0) + int(words[2])
    return found


def _number(found: dict[str, float], name: str, path: Path) -> None:
    text = _read(path).strip()
    if text.isdigit():
        found[name] = int(text)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
