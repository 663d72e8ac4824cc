from __future__ import annotations

import pytest

from buildkit.store.gc import PrunePolicy
from buildkit.store.policy import GIB, default_policies, share_of

pytestmark = pytest.mark.row("S87")
DAY = 24 * 3600


def test_percentages_are_whole_gib_rounded_up_and_counted_as_gb():
    assert share_of(100 * GIB, 10) == 11 * 10**9
    assert share_of(105 * GIB, 10) == 11 * 10**9
    assert share_of(5 * GIB, 10) == 10**9


@pytest.mark.parametrize(
    ("disk", "limits"),
    [
        (50 * GIB, (6 * 10**9, 41 * 10**9, 11 * 10**9)),
        (100 * GIB, (10 * 10**9, 81 * 10**9, 21 * 10**9)),
        (1000 * GIB, (10 * 10**9, 100 * 10**9, 201 * 10**9)),
    ],
)
def test_the_limits_follow_from_the_disk(disk, limits):
    first, *others = default_policies(disk)
    assert first == PrunePolicy(
        filters=("type==source.local", "type==exec.cachemount", "type==source.git.checkout"),
        keep_duration=2 * DAY,
        max_used_space=512_000_000,
    )
    assert [(p.reserved_space, p.max_used_space, p.min_free_space) for p in others] == [limits] * 3
    assert [(p.keep_duration, p.all, p.filters) for p in others] == [
        (60 * DAY, False, ()),
        (0, False, ()),
        (0, True, ()),
    ]


def test_limits_that_are_given_are_the_only_ones():
    assert default_policies(100 * GIB, max_used_space=7)[1:] == (
        PrunePolicy(keep_duration=60 * DAY, max_used_space=7),
        PrunePolicy(max_used_space=7),
        PrunePolicy(all=True, max_used_space=7),
    )
