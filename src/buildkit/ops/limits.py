"""What a step may use when several jobs want it: as much as the most generous of them grants."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from functools import reduce

from buildkit.api import ops_pb2 as pb
from buildkit.executor.executor import Resources

_UNLIMITED_SWAP = -1


def merged_limits(given: Iterable[pb.LinuxResources]) -> Resources:
    """The limits of one step from those that its jobs gave; none is no limit."""
    found = [_resources(one) for one in given]
    return reduce(relaxed, found) if found else Resources()


def relaxed(a: Resources, b: Resources) -> Resources:
    """The more generous of two limits, one by one; processor time and its period are one limit."""
    period, quota = _bandwidth((a.cpu_period, a.cpu_quota), (b.cpu_period, b.cpu_quota))
    return Resources(
        memory=max(a.memory, b.memory) if a.memory and b.memory else 0,
        memory_swap=_swap(a.memory_swap, b.memory_swap),
        cpu_shares=max(a.cpu_shares, b.cpu_shares),
        cpu_period=period,
        cpu_quota=quota,
        cpuset_cpus=_union(a.cpuset_cpus, b.cpuset_cpus),
        cpuset_mems=_union(a.cpuset_mems, b.cpuset_mems),
    )


def _swap(a: int, b: int) -> int:
    """0 is not given here, unlike elsewhere."""
    return _UNLIMITED_SWAP if _UNLIMITED_SWAP in (a, b) else max(a, b)


def _bandwidth(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    """(period, quota): no quota is the most, then the greater share; of equal shares the one with shorter periods."""
    if not a[1] and not b[1]:
        return 0, 0
    if not a[1] or not b[1]:
        return (a if not a[1] else b)[0], 0
    if a[0] and b[0]:
        shares = Fraction(a[1], a[0]), Fraction(b[1], b[0])
        if shares[0] == shares[1]:
            return min(a, b)
        return a if shares[0] > shares[1] else b
    if a[1] == b[1]:
        return a if a[0] else b
    return a if a[1] > b[1] else b


def _union(a: str, b: str) -> str:
    """Lists such as ``0-3,7``; what is no list counts for nothing beside one that is."""
    if not a or not b:
        return ""
    sets = _parse(a), _parse(b)
    if sets[0] is None or sets[1] is None:
        return b if sets[0] is None and sets[1] is not None else a
    return _format(sets[0] | sets[1])


_LARGEST_NUMBER = 1 << 13
"""More than any kernel has processors: longer lists are hostile."""


def _parse(text: str) -> set[int] | None:
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        ends = (first, last if dash else first)
        if not all(end.isascii() and end.isdigit() and len(end) < 6 for end in ends):
            return None
        begin, end = map(int, ends)
        if begin > end or end > _LARGEST_NUMBER:
            return None
        found.update(range(begin, end + 1))
    return found


def _format(numbers: set[int]) -> str:
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def _resources(given: pb.LinuxResources) -> Resources:
    return Resources(
        given.memory,
        given.memorySwap,
        given.cpuShares,
        given.cpuPeriod,
        given.cpuQuota,
        given.cpusetCpus,
        given.cpusetMems,
    )
