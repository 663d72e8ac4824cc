"""What steps may use, where they are counted, and what is kept of what they used."""

from pathlib import Path

import pytest
from tests.kit.workshop import workshop
from tests.root.test_executor import Box, box, either  # noqa: F401 - fixtures
from tests.root.test_ops import on, sh

from buildkit.core.errors import ExitError, InvalidInput
from buildkit.executor.executor import Resources

pytestmark = pytest.mark.root

LIMITS = Resources(
    memory=64 << 20,
    memory_swap=96 << 20,
    cpu_shares=512,
    cpu_period=50_000,
    cpu_quota=25_000,
    cpuset_cpus="0",
    cpuset_mems="0",
)
SEPARATE = {
    "cpu/cpu.shares": "512",
    "cpu/cpu.cfs_period_us": "50000",
    "cpu/cpu.cfs_quota_us": "25000",
    "cpuset/cpuset.cpus": "0",
    "cpuset/cpuset.mems": "0",
    "memory/memory.limit_in_bytes": str(64 << 20),
    "memory/memory.memsw.limit_in_bytes": str(96 << 20),
}
UNIFIED = {
    "cpu.max": "25000 50000",
    "cpuset.cpus": "0",
    "cpuset.mems": "0",
    "memory.max": str(64 << 20),
    "memory.swap.max": str(32 << 20),
}


@pytest.mark.row("X18")
async def test_every_limit_is_in_force_in_the_control_group(either):  # noqa: F811
    wanted = UNIFIED if Path("/sys/fs/cgroup/cgroup.controllers").exists() else SEPARATE
    wanted = {name: value for name, value in wanted.items() if "sw" not in name or counts_swap()}
    out = await either.run("cd /sys/fs/cgroup; cat " + " ".join(wanted), resources=LIMITS)
    assert dict(zip(wanted, out.splitlines(), strict=True)) == wanted


def counts_swap():
    return Path("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes").exists()


@pytest.mark.row("L86", "X15")
@pytest.mark.parametrize(
    ("parent", "group"),
    [("steps/deep", "/steps/deep/buildkit/"), ("/steps", "/steps/buildkit/"), ("x.slice:steps:", "x.slice:steps:")],
)
async def test_a_step_is_counted_below_its_parent(box, parent, group):  # noqa: F811
    groups = [line.partition(":")[2] for line in (await box.run("cat /proc/1/cgroup", cgroup_parent=parent)).split()]
    assert any(group in line for line in groups)
    assert not list(Path("/sys/fs/cgroup").glob("pids/*slice:steps:*"))


@pytest.mark.row("L86")
async def test_a_slice_that_leaves_the_control_groups_is_refused(box):  # noqa: F811
    with pytest.raises(InvalidInput, match=r"invalid cgroup parent ../../x.slice:steps:"):
        await box.run("true", cgroup_parent="../../x.slice:steps:")


@pytest.mark.row("X74")
async def test_what_a_step_used_is_in_its_record_also_when_it_failed(tmp_path):
    async with workshop(tmp_path / "shop") as shop:
        for script, code in (("echo a > out", 0), ("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; exit 3", 3)):
            try:
                await shop.text(on(f"tree://{rootfs(tmp_path)}", sh(script)))
            except ExitError as error:
                assert error.code == code == 3
            facts = next(one.facts for one in shop.records.last if one.facts.get("kind") == "exec")
            assert facts["exit_code"] == code
            assert facts["usage"]["user"] + facts["usage"]["system"] > 0 < facts["usage"]["wall"]


def rootfs(folder):
    from tests.kit.rootfs import busybox_root

    return folder / "base" if (folder / "base").exists() else busybox_root(folder / "base")


@pytest.mark.skipif(Path("/sys/kernel/security/apparmor").exists(), reason="this kernel knows AppArmor")
@pytest.mark.parametrize("runtime", ["crun", "runc"])
async def test_a_profile_that_the_kernel_cannot_apply_ends_the_step(runtime, tmp_path):
    made = Box(tmp_path, runtimes=(runtime,), apparmor_profile="builder")
    try:
        with pytest.raises(ExitError):
            await made.run("true")
        assert "apparmor" in made.text(2).lower()
    finally:
        made.executor.close()
