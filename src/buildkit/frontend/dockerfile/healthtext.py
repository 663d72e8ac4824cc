"""A health check as the history of an image shows it: Go's ``%+v``."""

from __future__ import annotations

from buildkit.frontend.dockerfile.instructions import Healthcheck

_SECOND = 1_000_000_000


def healthcheck_text(check: Healthcheck) -> str:
    """``{Test:[CMD true] Interval:30s …}``."""
    durations = {
        "Interval": check.interval,
        "Timeout": check.timeout,
        "StartPeriod": check.start_period,
        "StartInterval": check.start_interval,
    }
    times = " ".join(f"{name}:{duration_text(value)}" for name, value in durations.items())
    return f"{{Test:[{' '.join(check.test)}] {times} Retries:{check.retries}}}"


def duration_text(nanoseconds: int) -> str:
    """A duration as Go prints it: ``1h0m0.5s``, ``1.5ms``, ``0s``."""
    if nanoseconds == 0:
        return "0s"
    sign, left = ("-", -nanoseconds) if nanoseconds < 0 else ("", nanoseconds)
    for unit, size in (("ns", 1_000), ("µs", 1_000_000), ("ms", _SECOND)):
        if left < size:
            return sign + _decimal(left, size // 1_000) + unit
    minutes, rest = divmod(left, 60 * _SECOND)
    out = _decimal(rest, _SECOND) + "s"
    if minutes:
        hours, minutes = divmod(minutes, 60)
        out = (f"{hours}h" if hours else "") + f"{minutes}m" + out
    return sign + out


def _decimal(value: int, unit: int) -> str:
    whole, rest = divmod(value, unit)
    fraction = f"{rest:0{len(str(unit)) - 1}d}".rstrip("0") if rest else ""
    return f"{whole}.{fraction}" if fraction else str(whole)
