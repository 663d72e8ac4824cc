"""What the daemon collects: the configured rules, or the built-in ones shaped by limits and the size of the disk."""

from __future__ import annotations

from buildkit.daemon.config import GcConfig, PolicyRule
from buildkit.store.gc import PrunePolicy
from buildkit.store.policy import default_policies

UNKNOWN_DISK = 2 * 10**9
"""Bytes to keep when nobody can say how large the disk is."""


def policies_of(gc: GcConfig, disk: int) -> tuple[PrunePolicy, ...]:
    """The rules for a disk of ``disk`` bytes; none when collecting is off."""
    if not gc.enabled:
        return ()
    if gc.rules:
        return tuple(_policy(rule, disk) for rule in gc.rules)
    limits = (gc.reserved_space.of(disk), gc.max_used_space.of(disk), gc.min_free_space.of(disk))
    if not any(limits) and not disk:
        limits = (UNKNOWN_DISK, 0, 0)
    reserved, most, free = limits
    return default_policies(disk, reserved_space=reserved, max_used_space=most, min_free_space=free)


def _policy(rule: PolicyRule, disk: int) -> PrunePolicy:
    return PrunePolicy(
        filters=rule.filters,
        all=rule.all,
        keep_duration=rule.keep_duration,
        reserved_space=rule.reserved_space.of(disk),
        max_used_space=rule.max_used_space.of(disk),
        min_free_space=rule.min_free_space.of(disk),
    )
