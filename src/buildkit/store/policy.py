"""What the daemon removes by itself when the user does not say otherwise (``buildkitd.toml``, ``[worker.oci]``)."""

from __future__ import annotations

from buildkit.core.values import replace
from buildkit.store.gc import PrunePolicy

GIB = 1 << 30
_GB = 10**9
_DAY = 24 * 3600
_EASILY_MADE_AGAIN = ("type==source.local", "type==exec.cachemount", "type==source.git.checkout")


def share_of(total: int, percentage: int) -> int:
    """A percentage of a disk of ``total`` bytes, rounded up as BuildKit does it: whole GiB, counted as GB."""
    return (total * percentage // 100 // GIB + 1) * _GB


def default_policies(
    disk: int, *, reserved_space: int = 0, max_used_space: int = 0, min_free_space: int = 0
) -> tuple[PrunePolicy, ...]:
    """Four rules for a disk of ``disk`` bytes; where no limit is given, the limits follow from its size.

    First what is easily made again and unused for two days, beyond 512 MB; then what is unused for 60 days; then
    whatever is too much; then internal records too.
    """
    if not (reserved_space or max_used_space or min_free_space):
        reserved_space = min(share_of(disk, 10), 10 * _GB)
        max_used_space = min(share_of(disk, 80), 100 * _GB)
        min_free_space = share_of(disk, 20)
    limited = PrunePolicy(reserved_space=reserved_space, max_used_space=max_used_space, min_free_space=min_free_space)
    return (
        PrunePolicy(filters=_EASILY_MADE_AGAIN, keep_duration=2 * _DAY, max_used_space=512 * 10**6),
        replace(limited, keep_duration=60 * _DAY),
        limited,
        replace(limited, all=True),
    )
