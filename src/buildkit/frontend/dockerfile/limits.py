"""Limits of steps: ``ulimit``, and the cgroup options ``memory``, ``cpuquota`` and their like."""

from __future__ import annotations

from collections.abc import Mapping

from buildkit.core.csv import parse_fields
from buildkit.core.errors import InvalidInput
from buildkit.core.goquote import quote
from buildkit.frontend.dockerfile.gotext import parse_int, parse_uint, trim_space
from buildkit.llb.metadata import LinuxResources

_ULIMITS = frozenset(
    "core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack".split()
)
_MAX_CPU = 8192


def parse_ulimits(text: str) -> tuple[tuple[str, int, int], ...]:
    """``nofile=1024:2048,core=-1`` as name, soft, hard; raises `InvalidInput`."""
    try:
        return tuple(map(_ulimit, parse_fields(text))) if text else ()
    except ValueError as error:
        raise InvalidInput(f"failed to parse ulimit: {error}") from None


def _ulimit(text: str) -> tuple[str, int, int]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"invalid ulimit argument: {text}")
    if name not in _ULIMITS:
        raise ValueError(f"invalid ulimit type: {name}")
    limits = value.split(":")
    if len(limits) > 2:
        raise ValueError(f"too many limit value arguments - {value}, can only have up to two, `soft[:hard]`")
    hard = parse_int(limits[-1])
    soft = parse_int(limits[0])
    order = "ulimit soft limit must be less than or equal to hard limit"
    if hard != -1:
        if soft == -1:
            raise ValueError(f"{order}: soft: -1 (unlimited), hard: {hard}")
        if soft > hard:
            raise ValueError(f"{order}: {soft} > {hard}")
    return name, soft, hard


def parse_resources(options: Mapping[str, str]) -> LinuxResources | None:
    """The cgroup limits, None when there are none; raises `InvalidInput`."""
    try:
        found = LinuxResources(
            memory=_number(options, "memory"),
            memory_swap=_memory_swap(options),
            cpu_shares=_number(options, "cpushares", unsigned=True),
            cpu_period=_number(options, "cpuperiod", unsigned=True),
            cpu_quota=_number(options, "cpuquota"),
            cpuset_cpus=_cpuset(options, "cpusetcpus"),
            cpuset_mems=_cpuset(options, "cpusetmems"),
        )
    except ValueError as error:
        raise InvalidInput(f"failed to parse resource limits: {error}") from None
    return None if found == LinuxResources() else found


def _parsed(key: str, text: str, unsigned: bool) -> int:
    try:
        return parse_uint(text) if unsigned else parse_int(text)
    except ValueError as error:
        raise ValueError(f"invalid {key} value: {text}: {error}") from None


def _number(options: Mapping[str, str], key: str, *, unsigned: bool = False) -> int:
    text = options.get(key, "")
    if not text:
        return 0
    number = _parsed(key, text, unsigned)
    if number <= 0:
        raise ValueError(f"invalid {key} value: {text}: must be > 0")
    return number


def _memory_swap(options: Mapping[str, str]) -> int:
    text = options.get("memswap", "")
    number = _parsed("memswap", text, False) if text else 0
    if text and (number < -1 or number == 0):
        raise ValueError(f"invalid memswap value: {text}: must be -1 (unlimited) or > 0")
    return number


def _cpuset(options: Mapping[str, str], key: str) -> str:
    text = options.get(key, "")
    try:
        for part in map(trim_space, text.split(",")):
            if part:
                _check_cpus(part)
    except ValueError as error:
        raise ValueError(f"invalid {key} value: {text}: {error}") from None
    return text


def _check_cpus(part: str) -> None:
    first, dash, last = part.partition("-")
    what = "range" if dash else "element"
    try:
        low, high = parse_int(trim_space(first)), parse_int(trim_space(last if dash else first))
    except ValueError:
        low, high = -1, -1
    if low < 0 or high < low:
        raise ValueError(f"invalid cpuset {what} {quote(part)}")
    if high > _MAX_CPU:
        raise ValueError(f"cpuset {what} {quote(part)} exceeds maximum {_MAX_CPU}")
