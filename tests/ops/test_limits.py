from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildkit.api import ops as pb
from buildkit.executor.executor import Resources
from buildkit.ops.limits import merged_limits, relaxed

MEMORY = st.sampled_from([0, 1, 2, 3])
LIMITS = st.builds(
    Resources,
    memory=MEMORY,
    memory_swap=st.sampled_from([-1, 0, 1, 2]),
    cpu_shares=MEMORY,
    cpu_period=MEMORY,
    cpu_quota=MEMORY,
    cpuset_cpus=st.sampled_from(["", "0", "0-1", "1,3"]),
    cpuset_mems=st.sampled_from(["", "0", "x"]),
)


@pytest.mark.row("L13")
@pytest.mark.parametrize(
    ("field", "a", "b", "both"),
    [
        ("memory", 1, 2, 2),
        ("memory", 0, 2, 0),
        ("memory_swap", 0, 2, 2),
        ("memory_swap", -1, 2, -1),
        ("cpu_shares", 0, 2, 2),
        ("cpu_shares", 3, 2, 3),
        ("cpuset_cpus", "0-2,5", "3", "0-3,5"),
        ("cpuset_cpus", "", "3", ""),
        ("cpuset_cpus", "0-99999999", "3", "3"),
        ("cpuset_cpus", "x", "3", "3"),
        ("cpuset_cpus", "x", "y", "x"),
    ],
)
def test_of_two_limits_the_more_generous_holds(field, a, b, both):
    assert getattr(relaxed(Resources(**{field: a}), Resources(**{field: b})), field) == both


@pytest.mark.row("L13")
@pytest.mark.parametrize(
    ("a", "b", "both"),
    [
        ((100, 50), (100, 80), (100, 80)),
        ((100, 50), (10, 6), (10, 6)),
        ((100, 50), (10, 5), (10, 5)),
        ((100, 0), (10, 5), (100, 0)),
        ((0, 0), (10, 0), (0, 0)),
        ((0, 50), (10, 5), (0, 50)),
        ((0, 5), (10, 5), (10, 5)),
    ],
)
def test_processor_time_and_its_period_go_together(a, b, both):
    limits = [Resources(cpu_period=period, cpu_quota=quota) for period, quota in (a, b)]
    made = relaxed(*limits)
    assert (made.cpu_period, made.cpu_quota) == both


@given(LIMITS, LIMITS)
def test_the_order_of_jobs_does_not_matter_where_no_list_is_broken(a, b):
    first, second = relaxed(a, b), relaxed(b, a)
    assert (first.memory, first.memory_swap, first.cpu_shares, first.cpuset_cpus) == (
        second.memory,
        second.memory_swap,
        second.cpu_shares,
        second.cpuset_cpus,
    )
    assert relaxed(first, first) == first or not first.cpu_quota


@pytest.mark.row("L13")
def test_no_limits_are_no_limits_and_one_is_itself():
    assert merged_limits([]) == Resources()
    assert merged_limits([pb.LinuxResources(memory=5, cpuShares=2)]) == Resources(memory=5, cpu_shares=2)
