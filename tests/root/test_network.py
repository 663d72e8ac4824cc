from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from tests.kit.island import WORLD, island, plugin
from tests.kit.rootfs import PATH, busybox_root

from buildkit.core.errors import ExitError, FailedPrecondition, InvalidInput
from buildkit.core.values import replace
from buildkit.executor.bridge import LOCKS
from buildkit.executor.executor import Container, Process
from buildkit.executor.netns import network_id
from buildkit.executor.runc import RuncExecutor
from buildkit.executor.settings import NetworkSettings, Settings
from buildkit.fs.mount import overlay_of

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("network")]

PLUGINS = "/usr/lib/cni"
FETCH = f"busybox wget -qO- http://{WORLD}/"
ADDRESS = "busybox ip -4 -o address show eth0"


def config(tmp_path, *more, **fields):
    """A network of real plugins on a bridge, its addresses kept below the test's directory."""
    bridge = {
        "type": "bridge",
        "bridge": "testbr0",
        "isDefaultGateway": True,
        "ipMasq": True,
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": "10.10.9.0/24"}]],
            "dataDir": str(tmp_path / "addresses"),
        },
    }
    path = tmp_path / "cni.conflist"
    path.write_text(json.dumps({"cniVersion": "1.0.0", "name": "test", "plugins": [bridge, *more], **fields}))
    return str(path)


class Yard:
    """Executors on one state directory, one after the other."""

    def __init__(self, tmp_path):
        self.path = tmp_path
        self.state = tmp_path / "state"
        for name in ("upper", "work"):
            (tmp_path / name).mkdir()
        base = busybox_root(tmp_path / "base")
        root = (overlay_of([str(base)], str(tmp_path / "upper"), str(tmp_path / "work")),)
        self.container = Container(root, Process(("true",), (PATH,)))
        self.settings = NetworkSettings("cni", config(tmp_path), (PLUGINS,))
        self.executor: RuncExecutor | None = None

    def open(self, **settings):
        self.executor = RuncExecutor(self.state, Settings(replace(self.settings, **settings)))

    def close(self):
        if self.executor is not None:
            self.executor.close()
            self.executor = None

    async def run(self, script, **process):
        if self.executor is None:
            self.open()
        written = []
        made = replace(self.container.process, args=("sh", "-c", script), **process)
        await self.executor.run(replace(self.container, process=made), lambda _, content: written.append(content))
        return b"".join(written).decode()

    def addresses(self):
        """Addresses that are taken."""
        place = self.path / "addresses/test"
        return sorted(p.name for p in place.iterdir() if p.name[0].isdigit()) if place.is_dir() else []

    def records(self):
        return os.listdir(self.state / "network") if (self.state / "network").is_dir() else []


@pytest.fixture
def land():
    if not Path(PLUGINS, "bridge").exists():
        pytest.skip("containernetworking-plugins is not installed")
    with island() as made:
        yield made


@pytest.fixture
def yard(tmp_path, land):
    made = Yard(tmp_path)
    yield made
    made.close()
    assert land.links() <= {"lo", "out", "testbr0"}
    assert land.rules() == ""
    assert made.addresses() == []
    assert made.records() == []
    assert str(made.state) not in Path("/proc/mounts").read_text()
    assert list(LOCKS.glob(f"*{network_id()}.lock")) == []


@pytest.mark.row("X44", "B16")
async def test_a_process_on_a_network_reaches_the_world_under_our_address(yard, land):
    assert await yard.run(FETCH) == "the world\n"
    assert land.visitors == ["192.0.2.1"]
    assert "10.10.9." in await yard.run(ADDRESS)


@pytest.mark.row("X44")
async def test_the_loopback_device_of_a_network_is_up(yard):
    assert "LOOPBACK,UP" in await yard.run("busybox ip link show lo")


@pytest.mark.row("L89", "X46")
async def test_a_process_that_wants_no_network_has_none_where_there_is_one(yard):
    assert await yard.run("ls /sys/class/net", network="none") == "lo\n"
    with pytest.raises(ExitError):
        await yard.run(FETCH, network="none")


@pytest.mark.row("L89")
async def test_a_process_on_the_hosts_network_sees_its_interfaces(yard, land):
    assert set((await yard.run("busybox ip -o link | cut -d: -f2", network="host")).split()) >= {"lo"}
    assert yard.addresses() == []


@pytest.mark.row("X44")
async def test_processes_that_run_at_once_have_networks_of_their_own(yard):
    first, second = await asyncio.gather(yard_run(yard, "one"), yard_run(yard, "two"))
    assert first != second


async def yard_run(yard, name):
    if yard.executor is None:
        yard.open()
    upper, work = yard.path / f"upper-{name}", yard.path / f"work-{name}"
    upper.mkdir()
    work.mkdir()
    root = (overlay_of([str(yard.path / "base")], str(upper), str(work)),)
    written = []
    process = replace(yard.container.process, args=("sh", "-c", ADDRESS))
    await yard.executor.run(Container(root, process), lambda _, content: written.append(content))
    return b"".join(written).decode().split()[3]


@pytest.mark.row("X44")
async def test_a_network_is_used_again_after_its_process(yard):
    assert await yard.run(ADDRESS) == await yard.run(ADDRESS)
    assert len(yard.addresses()) == 1


@pytest.mark.row("X44")
async def test_what_a_process_with_all_rights_did_to_its_network_nobody_else_sees(yard):
    await yard.run("busybox ip address add 10.10.9.99/24 dev eth0", insecure=True)
    assert "10.10.9.99" not in await yard.run(ADDRESS)
    assert len(yard.addresses()) == 1


@pytest.mark.row("X44")
async def test_networks_are_made_ready_in_advance(yard):
    yard.open(pool_size=3)
    await yard.executor.prepare()
    assert "10.10.9." in await yard.run(ADDRESS)
    yard.close()
    assert yard.addresses() == []


@pytest.mark.row("X44")
async def test_a_network_that_was_broken_while_nobody_used_it_is_replaced(yard, monkeypatch):
    monkeypatch.setattr("buildkit.executor.pool._TRUSTED_SECONDS", -1.0)
    before = await yard.run(ADDRESS)
    assert await yard.run(ADDRESS) == before
    subprocess.run(["ip", "link", "delete", "testbr0"], check=True)
    assert await yard.run(FETCH) == "the world\n"


@pytest.mark.row("X44")
async def test_networks_above_the_wanted_number_go_when_they_are_not_used(yard, monkeypatch):
    monkeypatch.setattr("buildkit.executor.pool._KEPT_SECONDS", 0.0)
    await yard.run("true")
    while yard.addresses():
        await asyncio.sleep(0.01)


@pytest.mark.row("X44")
async def test_plugins_are_chained_and_get_the_results_of_those_before(yard, tmp_path):
    path = config(tmp_path, {"type": "tuning", "sysctl": {"net.ipv4.conf.eth0.log_martians": "1"}})
    yard.open(config=path)
    assert await yard.run("cat /proc/sys/net/ipv4/conf/eth0/log_martians; " + FETCH) == "1\nthe world\n"


@pytest.mark.row("X44")
async def test_a_hostname_is_told_to_plugins_and_gets_a_network_of_its_own(yard, tmp_path):
    plugin(
        tmp_path / "mine",
        "note",
        f'echo "$CNI_COMMAND $CNI_ARGS" >> {tmp_path}/log; [ $CNI_COMMAND != ADD ] || echo {{}}',
    )
    single = tmp_path / "one.json"
    single.write_text('{"cniVersion": "1.0.0", "name": "n", "type": "note"}')
    yard.open(config=str(single), plugins=(str(tmp_path / "mine"),))
    await yard.run("true", hostname="web")
    assert (tmp_path / "log").read_text() == "".join(f"{c} K8S_POD_NAME=web;IgnoreUnknown=1\n" for c in ("ADD", "DEL"))
    with pytest.raises(InvalidInput, match="invalid hostname"):
        await yard.run("true", hostname="a;CNI_EVIL=1")


@pytest.mark.row("X44")
async def test_a_plugin_that_fails_is_quoted_and_what_came_before_it_is_undone(yard, tmp_path, land):
    mine = tmp_path / "mine"
    plugin(
        mine,
        "broken",
        '[ $CNI_COMMAND = DEL ] || { echo \'{"code": 7, "msg": "no luck", "details": "today"}\'; exit 1; }',
    )
    yard.open(config=config(tmp_path, {"type": "broken"}), plugins=(str(mine), PLUGINS))
    complaint = r'CNI setup error: plugin type="broken" name="test" failed \(add\): no luck; today'
    with pytest.raises(FailedPrecondition, match=complaint):
        await yard.run("true")
    assert yard.addresses() == []
    assert yard.records() == []


async def test_a_plugin_that_hangs_is_killed(yard, tmp_path, monkeypatch):
    plugin(tmp_path / "mine", "stuck", "[ $CNI_COMMAND = DEL ] || exec busybox sleep 1000")
    monkeypatch.setattr("buildkit.executor.cni._PATIENCE", 1.0)
    (tmp_path / "one.json").write_text('{"cniVersion": "1.0.0", "name": "n", "type": "stuck"}')
    yard.open(config=str(tmp_path / "one.json"), plugins=(str(tmp_path / "mine"),))
    with pytest.raises(FailedPrecondition, match=r"failed \(add\): no answer within"):
        await yard.run("true")


@pytest.mark.parametrize("answer", ["hello", "[]", '"x"'])
async def test_a_plugin_that_answers_nonsense_is_named(yard, tmp_path, answer):
    plugin(tmp_path / "mine", "odd", f"[ $CNI_COMMAND = DEL ] || echo '{answer}'")
    yard.open(config=config(tmp_path, {"type": "odd"}), plugins=(str(tmp_path / "mine"), PLUGINS))
    with pytest.raises(FailedPrecondition, match='plugin type="odd"'):
        await yard.run("true")


async def test_a_process_that_fails_leaves_its_network_in_order(yard):
    with pytest.raises(ExitError):
        await yard.run("exit 3")
    assert await yard.run(FETCH) == "the world\n"


async def test_cancelling_a_process_leaves_nothing_of_its_network(yard):
    started = asyncio.Event()
    yard.open()
    process = replace(yard.container.process, args=("sh", "-c", "echo up; sleep 1000"))
    running = asyncio.create_task(yard.executor.run(replace(yard.container, process=process), lambda *_: started.set()))
    await started.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


@pytest.mark.parametrize("steps", range(6))
async def test_cancelling_while_a_network_is_made_leaves_nothing(yard, steps):
    yard.open()
    await yard.executor.prepare()
    running = asyncio.create_task(yard.executor.run(yard.container, lambda *_: None))
    for _ in range(steps):
        await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


KILLED = """
    import asyncio, sys
    from pathlib import Path
    from buildkit.core.values import replace
    from tests.root.test_network import Yard
    async def main():
        yard = Yard.__new__(Yard)
        yard.__dict__.update(path=Path(sys.argv[1]), state=Path(sys.argv[1], "state"), executor=None)
        from buildkit.executor.executor import Container, Process
        from buildkit.executor.settings import NetworkSettings
        from buildkit.fs.mount import overlay_of
        p = sys.argv[1]
        root = (overlay_of([p + "/base"], p + "/upper", p + "/work"),)
        yard.container = Container(root, Process(("sh", "-c", "echo up; sleep 1000"), ("PATH=/bin",)))
        config = p + "/cni.conflist"
        yard.settings = NetworkSettings(sys.argv[2], config, ("/usr/lib/cni",), 2, "testbr1", "10.10.8.0/24")
        yard.open()
        await yard.executor.run(yard.container, lambda _, content: print("up", flush=True))
    asyncio.run(main())
"""


def killed(yard, mode):
    """Run a container on a network in another process, and kill that process."""
    script = textwrap.dedent(KILLED)
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", script, str(yard.path), mode]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environ) as process:
        assert process.stdout.readline() == b"up\n"
        process.kill()


@pytest.mark.row("X44")
async def test_a_killed_process_leaves_a_network_that_the_next_one_releases(yard, land):
    killed(yard, "cni")
    assert yard.addresses()
    assert "10.10.9." in land.rules()
    yard.open(mode="none")
    await yard.executor.prepare()
    assert yard.addresses() == []
    assert land.rules() == ""
    assert yard.records() == []


@pytest.mark.row("X44")
async def test_what_a_process_killed_while_it_joined_a_network_had_there_is_released(yard, land):
    killed(yard, "cni")
    for path in (yard.state / "network").glob("*.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "result": {}}))
    assert "10.10.9." in land.rules()
    yard.open(mode="none")
    await yard.executor.prepare()
    assert yard.addresses() == []
    assert land.rules() == ""


async def test_records_that_are_damaged_are_removed(yard):
    (yard.state / "network").mkdir(parents=True)
    for name, text in (("a.json", "{"), ("b.json", "[]"), ("c.json", '{"network": 3}'), ("d", ""), ("e.tmp", "x")):
        (yard.state / "network" / name).write_text(text)
    yard.open()
    await yard.executor.prepare()
    assert yard.records() == []


BRIDGE = {"mode": "bridge", "bridge": "testbr1", "subnet": "10.10.8.0/24"}


@pytest.mark.row("X45")
async def test_a_bridge_of_our_own_leads_to_the_world_and_goes_with_its_last_user(yard, land):
    yard.open(**BRIDGE)
    assert await yard.run(FETCH) == "the world\n"
    assert "10.10.8." in await yard.run(ADDRESS)
    assert "testbr1" in land.links()
    other = RuncExecutor(yard.path / "other", Settings(replace(yard.settings, **BRIDGE)))
    await other.prepare()
    yard.close()
    assert "testbr1" in land.links()
    other.close()
    assert "testbr1" not in land.links()


@pytest.mark.row("X45")
async def test_many_at_once_may_be_the_first_on_a_bridge(yard, land):
    yard.open(**BRIDGE, pool_size=4)
    other = RuncExecutor(yard.path / "other", Settings(replace(yard.settings, **BRIDGE, pool_size=4)))
    await asyncio.gather(yard.executor.prepare(), other.prepare())
    try:
        assert await yard.run(FETCH) == "the world\n"
        assert len(list((yard.path / "other/network").glob("*.json"))) == 4
    finally:
        other.close()


@pytest.mark.row("X45")
async def test_a_bridge_that_somebody_else_made_stays(yard, land):
    subprocess.run(["ip", "link", "add", "testbr1", "type", "bridge"], check=True)
    yard.open(**BRIDGE)
    assert await yard.run(FETCH) == "the world\n"
    yard.close()
    assert "testbr1" in land.links()
    subprocess.run(["ip", "link", "delete", "testbr1"], check=True)


@pytest.mark.row("X45")
async def test_the_bridge_of_a_killed_process_goes_with_the_next_user(yard, land):
    killed(yard, "bridge")
    assert "testbr1" in land.links()
    yard.open(**BRIDGE)
    assert await yard.run(FETCH) == "the world\n"
    yard.close()
    assert "testbr1" not in land.links()


@pytest.mark.row("X45")
@pytest.mark.parametrize(
    "wrong", [{"bridge": ""}, {"bridge": "a/b"}, {"bridge": "x" * 16}, {"subnet": "10.10.0.1/16"}, {"subnet": "all"}]
)
def test_a_bridge_that_cannot_be_is_refused(yard, wrong):
    with pytest.raises(InvalidInput, match="invalid"):
        yard.open(**{**BRIDGE, **wrong})


@pytest.mark.row("B34")
def test_settings_that_lead_nowhere_are_named_at_once(yard, tmp_path):
    with pytest.raises(FailedPrecondition, match=r'failed to read cni config ".*nope": no such file'):
        yard.open(config=str(tmp_path / "nope"))
    with pytest.raises(FailedPrecondition, match="failed to read cni binary dir"):
        yard.open(plugins=(str(tmp_path / "nope"),))
    with pytest.raises(FailedPrecondition, match='failed to find plugin "nosuch"'):
        yard.open(config=config(tmp_path, {"type": "nosuch"}))


@pytest.mark.row("X48")
async def test_a_run_tells_what_went_through_its_network(yard):
    process = replace(yard.container.process, args=("sh", "-c", FETCH))
    yard.open()
    first = await yard.executor.run(replace(yard.container, process=process), lambda *_: None)
    second = await yard.executor.run(yard.container, lambda *_: None)
    assert first.received > 200
    assert first.sent > 100
    assert second.received < first.received
    alone = replace(yard.container.process, network="none")
    assert (await yard.executor.run(replace(yard.container, process=alone), lambda *_: None)).received is None
