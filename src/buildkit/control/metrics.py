"""What a daemon has built, counted for Prometheus (row B64)."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter

from buildkit.rpc import status
from buildkit.solve.record import BuildRecord

BOUNDS = (0.0, 5.0, 10.0, 25.0, 50.0, 75.0, 100.0, 250.0, 500.0, 750.0, 1000.0, 2500.0, 5000.0, 7500.0, 10000.0)
"""Upper bounds of the histogram's buckets in seconds: OpenTelemetry's, whose names the metrics have."""


class Metrics:
    """Counters since the daemon started."""

    def __init__(self) -> None:
        self._builds: Counter[tuple[str, str]] = Counter()
        self._steps: Counter[str] = Counter()
        self._buckets: dict[str, list[int]] = {}
        self._seconds: dict[str, float] = {}

    def count(self, record: BuildRecord) -> None:
        """A build has ended."""
        outcome = "success" if record.error is None else "failure"
        self._builds[outcome, "" if record.error is None else status.name_of(record.error.code)] += 1
        for kind in ("completed", "cached", "total", "warnings"):
            self._steps[kind] += getattr(record.steps, kind)
        if record.completed_at is not None:
            seconds = (record.completed_at - record.created_at) / 1e9
            buckets = self._buckets.setdefault(outcome, [0] * (len(BOUNDS) + 1))
            buckets[bisect_left(BOUNDS, seconds)] += 1
            self._seconds[outcome] = self._seconds.get(outcome, 0.0) + seconds

    def text(self) -> str:
        """Prometheus' exposition format."""
        lines = ["# TYPE buildkit_builds_total counter"]
        for (outcome, code), number in sorted(self._builds.items()):
            error = f'error_code="{code}",' if code else ""
            lines.append(f'buildkit_builds_total{{{error}status="{outcome}"}} {number}')
        lines.append("# TYPE buildkit_builds_steps_total counter")
        lines += [f'buildkit_builds_steps_total{{kind="{kind}"}} {number}' for kind, number in self._steps.items()]
        lines.append("# TYPE buildkit_build_duration_seconds histogram")
        for outcome, buckets in sorted(self._buckets.items()):
            below = 0
            for bound, number in zip((*map(str, BOUNDS), "+Inf"), buckets, strict=True):
                below += number
                lines.append(f'buildkit_build_duration_seconds_bucket{{status="{outcome}",le="{bound}"}} {below}')
            lines.append(f'buildkit_build_duration_seconds_sum{{status="{outcome}"}} {self._seconds[outcome]}')
            lines.append(f'buildkit_build_duration_seconds_count{{status="{outcome}"}} {below}')
        return "\n".join(lines) + "\n"
