from __future__ import annotations

import json
from pathlib import Path

import pytest

from buildkit.core.errors import InvalidInput
from buildkit.core.values import replace
from buildkit.executor import seccomp
from buildkit.executor.executor import Process, Resources, Ulimit
from buildkit.executor.spec import Place, cgroups_path, make_spec
from buildkit.executor.user import Identity

SAMPLE = json.loads((Path(__file__).parent / "runtime-config.json").read_text())
PLACE = Place("x1", "/bundle/rootfs", "/state/resolv.conf", "/state/hosts", network=None)
PROCESS = Process(("/bin/true",), ("PATH=/bin",))


def spec(process=PROCESS, mounts=(), place=PLACE):
    return make_spec(process, Identity(0, 0), mounts, place)


@pytest.mark.row("X4", "X7", "X8")
def test_the_process_has_what_the_recorded_one_has():
    made = spec()["process"]
    assert made["capabilities"] == SAMPLE["process"]["capabilities"]
    assert made["user"] == SAMPLE["process"]["user"]
    assert made["env"] == ["PATH=/bin"]
    assert made["noNewPrivileges"] is False


@pytest.mark.row("X10", "X11", "X12", "X13", "X16")
def test_mounts_paths_namespaces_and_devices_are_the_recorded_ones():
    made = spec()
    assert made["mounts"] == SAMPLE["mounts"]
    for part in ("maskedPaths", "readonlyPaths", "namespaces"):
        assert made["linux"][part] == SAMPLE["linux"][part]
    assert made["linux"]["resources"] == SAMPLE["linux"]["resources"]


@pytest.mark.row("X9")
def test_the_filter_is_the_recorded_one():
    assert seccomp.spec_of("amd64") == SAMPLE["linux"]["seccomp"]
    assert spec(place=replace(PLACE, seccomp={"a": 1}))["linux"]["seccomp"] == {"a": 1}


def test_the_apparmor_profile_is_that_of_the_settings_but_for_insecure_processes():
    place = replace(PLACE, apparmor_profile="builder")
    assert spec(place=place)["process"]["apparmorProfile"] == "builder"
    assert "apparmorProfile" not in spec(replace(PROCESS, insecure=True), place=place)["process"]
    assert "apparmorProfile" not in spec()["process"]


@pytest.mark.row("X14")
def test_the_host_name_has_a_default():
    assert spec()["hostname"] == "buildkitsandbox"
    assert spec(replace(PROCESS, hostname="me"))["hostname"] == "me"


@pytest.mark.row("X15")
@pytest.mark.parametrize(
    ("parent", "path"),
    [("", "/buildkit/x1"), ("a/b", "/a/b/buildkit/x1"), ("/a", "/a/buildkit/x1"), ("x.slice:p:", "x.slice:p:x1")],
)
def test_cgroups_are_named_after_the_parent(parent, path):
    assert cgroups_path(parent, "x1") == path


@pytest.mark.row("X13", "X46")
def test_namespaces_follow_the_network_and_the_cgroup_hierarchy():
    kinds = spec(place=replace(PLACE, network="", cgroup_namespace=True))["linux"]["namespaces"]
    assert {"type": "network"} in kinds
    assert {"type": "cgroup"} in kinds


@pytest.mark.row("X17", "L85")
def test_limits_are_set_only_when_asked_for(monkeypatch):
    monkeypatch.setattr("buildkit.executor.spec._may_raise_limits", lambda: True)
    assert "rlimits" not in spec()["process"]
    made = spec(replace(PROCESS, ulimits=(Ulimit("nofile", 10, -1),)))["process"]["rlimits"]
    assert made == [{"type": "RLIMIT_NOFILE", "soft": 10, "hard": (1 << 64) - 1}]


def test_limits_above_ours_are_lowered_where_they_cannot_be_raised(monkeypatch):
    monkeypatch.setattr("buildkit.executor.spec._may_raise_limits", lambda: False)
    monkeypatch.setattr("resource.getrlimit", lambda _: (100, 200))
    made = spec(replace(PROCESS, ulimits=(Ulimit("nofile", 150, 5000),)))["process"]["rlimits"]
    assert made == [{"type": "RLIMIT_NOFILE", "soft": 150, "hard": 200}]


def test_an_unknown_limit_is_refused_by_name():
    with pytest.raises(InvalidInput, match="unknown ulimit colour"):
        spec(replace(PROCESS, ulimits=(Ulimit("colour", 1, 1),)))


@pytest.mark.row("X18", "L13")
def test_resources_become_cgroup_limits():
    limits = Resources(memory=1 << 20, memory_swap=-1, cpu_shares=5, cpu_quota=10, cpu_period=20, cpuset_cpus="0")
    made = spec(replace(PROCESS, resources=limits))["linux"]["resources"]
    assert made["memory"] == {"limit": 1 << 20, "swap": -1}
    assert made["cpu"] == {"shares": 5, "quota": 10, "period": 20, "cpus": "0"}


@pytest.mark.row("X19")
def test_an_insecure_process_is_hardly_confined():
    made = spec(replace(PROCESS, insecure=True), place=replace(PLACE, seccomp={"a": 1}))
    sets = made["process"]["capabilities"]
    assert set(sets) == {"bounding", "effective", "permitted", "inheritable", "ambient"}
    assert len({tuple(names) for names in sets.values()}) == 1
    assert not {"seccomp", "maskedPaths", "readonlyPaths"} & set(made["linux"])
    assert made["linux"]["resources"]["devices"] == [
        {"allow": True, "type": "c", "access": "rwm"},
        {"allow": True, "type": "b", "access": "rwm"},
    ]
    devices = [device["path"] for device in made["linux"]["devices"]]
    assert devices[:6] == [f"/dev/{n}" for n in ("kmsg", "cuse", "fuse", "kvm", "net/tun", "loop-control")]
    assert devices[6:14] == [f"/dev/loop{n}" for n in range(8)]
    options = {mount["destination"]: mount["options"] for mount in made["mounts"]}
    assert "rw" in options["/sys"] and "rw" in options["/sys/fs/cgroup"]


def test_no_devices_are_made_in_a_user_namespace():
    made = spec(replace(PROCESS, insecure=True), place=replace(PLACE, user_namespace=True))
    assert "devices" not in made["linux"]


@pytest.mark.row("X21")
def test_a_mount_replaces_the_usual_one_at_its_place_and_others_come_last():
    mine = {"destination": "/dev/shm", "type": "tmpfs", "source": "tmpfs", "options": ["size=1"]}
    other = {"destination": "/c", "type": "bind", "source": "/s", "options": ["rbind", "rw"]}
    mounts = spec(mounts=[mine, other])["mounts"]
    assert [m for m in mounts if m["destination"] == "/dev/shm"] == [mine]
    assert mounts[-1] == other
