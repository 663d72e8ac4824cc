from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from tests.kit.rootfs import PATH, busybox_root

from buildkit.core.errors import Exhausted, ExitError, FailedPrecondition, NotFound
from buildkit.core.values import replace
from buildkit.executor import sampling
from buildkit.executor.bundle import _hold
from buildkit.executor.executor import Attachment, Container, Process, Resources, Ulimit
from buildkit.executor.runc import RuncExecutor
from buildkit.executor.settings import Settings
from buildkit.fs.mount import Mount, overlay_of

pytestmark = pytest.mark.root


class Box:
    """An executor, and a fresh overlay on busybox for it to run in."""

    def __init__(self, tmp_path: Path, **settings) -> None:
        self.base = busybox_root(tmp_path / "base")
        self.upper = tmp_path / "upper"
        self.state = tmp_path / "state"
        self.executor = RuncExecutor(self.state, Settings(**settings))
        for name in ("upper", "work"):
            (tmp_path / name).mkdir()
        self.root = (overlay_of([str(self.base)], str(self.upper), str(tmp_path / "work")),)
        self.container = Container(self.root, Process(("true",), (PATH,)))
        self.written: list[tuple[int, bytes]] = []

    async def run(self, script: str, *mounts: Attachment, readonly_root: bool = False, **process) -> str:
        """Run a shell script; gives what it wrote to stdout."""
        made = replace(self.container.process, args=("sh", "-c", script), **process)
        self.written.clear()
        await self.executor.run(
            replace(self.container, process=made, mounts=mounts, readonly_root=readonly_root),
            lambda stream, content: self.written.append((stream, content)),
        )
        return self.text(1)

    def text(self, stream: int) -> str:
        return b"".join(content for to, content in self.written if to == stream).decode()

    def left(self) -> list[str]:
        """What containers left in the state directory, in the mount table and in cgroups."""
        known = {"hosts", "resolv.conf", "runtime", "runtime.json", "network"}
        found = [p.name for p in self.state.iterdir() if p.name not in known and p.suffix != ".bpf"]
        found += [p.name for p in (self.state / "runtime").iterdir()]
        return found + [line for line in Path("/proc/mounts").read_text().splitlines() if str(self.state) in line]


@pytest.fixture
def box(tmp_path):
    made = Box(tmp_path)
    yield made
    made.executor.close()
    assert made.left() == []


@pytest.fixture(params=["crun", "runc"])
def either(request, tmp_path):
    made = Box(tmp_path, runtimes=(request.param,))
    yield made
    made.executor.close()
    assert made.left() == []


@pytest.mark.row("X1", "X4", "X9")
async def test_a_process_runs_confined_under_either_runtime(either):
    out = await either.run("echo $A; head -n 99 /proc/self/status; echo oops >&2", env=(PATH, "A=1"))
    assert out.startswith("1\n")
    assert "Seccomp:\t2\n" in out
    assert "CapEff:\t00000000a80425fb\n" in out
    assert "NoNewPrivs:\t0\n" in out
    assert either.text(2) == "oops\n"


@pytest.mark.row("X26", "A65")
@pytest.mark.parametrize(("script", "code", "signal"), [("exit 3", 3, 0), ("sh -c 'kill -15 $$'; exit $?", 143, 15)])
async def test_an_exit_code_is_an_error_with_its_number(either, script, code, signal):
    with pytest.raises(ExitError, match=f"exit code: {code}") as caught:
        await either.run(script)
    assert (caught.value.code, caught.value.signal, caught.value.oom) == (code, signal, False)


@pytest.mark.row("X26", "L88")
async def test_only_listed_exit_codes_are_valid(box):
    await box.run("exit 3", valid_exit_codes=(3,))
    with pytest.raises(ExitError, match="exit code: 0"):
        await box.run("exit 0", valid_exit_codes=(3,))


@pytest.mark.row("X27", "X18", "A65")
async def test_running_out_of_memory_is_told_apart(either):
    with pytest.raises(ExitError, match="cannot allocate memory") as caught:
        await either.run("a=x; while :; do a=$a$a; done", resources=Resources(memory=30 << 20))
    assert caught.value.oom


async def test_the_sockets_of_a_service_manager_stay_outside(either, monkeypatch, tmp_path):
    monkeypatch.setenv("NOTIFY_SOCKET", f"{tmp_path}/notify")
    monkeypatch.setenv("LISTEN_FDS", "1")
    assert "NOTIFY_SOCKET" not in await either.run("env; ls /run /tmp 2>/dev/null; true")
    assert not [one for one in either.upper.rglob("*") if "notify" in one.name]


async def test_a_killed_process_with_memory_to_spare_is_not_out_of_memory(box):
    with pytest.raises(ExitError, match="exit code: 137") as caught:
        await box.run("sh -c 'kill -9 $$'; exit $?", resources=Resources(memory=30 << 20))
    assert not caught.value.oom


async def test_a_source_that_was_mounted_when_a_builder_was_killed_is_unmounted_by_the_next_one(tmp_path, monkeypatch):
    monkeypatch.setattr("buildkit.executor.bundle.unmount", lambda path: None)
    monkeypatch.setattr("buildkit.executor.bundle._LONG_OPTIONS", -1)
    place = tmp_path / "state/killed-source"
    place.parent.mkdir()
    with pytest.raises(OSError, match="busy"):
        _hold((Mount("tmpfs", "tmpfs"),), place)
    monkeypatch.undo()
    box = Box(tmp_path)
    await box.executor.prepare()
    assert str(place) not in Path("/proc/mounts").read_text() and box.left() == []


async def test_a_runtime_copies_itself_where_it_is_found_again(tmp_path, monkeypatch):
    seen = tmp_path / "seen"
    runtime = tmp_path / "crun"
    runtime.write_text(f'#!/bin/sh\necho "$_LIBCONTAINER_STATEDIR" >> {seen}\nexec {shutil.which("crun")} "$@"\n')
    runtime.chmod(0o755)
    box = Box(tmp_path, runtimes=(str(runtime),))
    await box.run("true")
    assert {Path(place).parent for place in seen.read_text().splitlines()} == {box.state}


async def test_a_copy_that_a_killed_runtime_made_of_itself_goes_with_its_container(tmp_path):
    runtime = tmp_path / "crun"
    killed = "touch $_LIBCONTAINER_STATEDIR/crun.x; mount --bind $0 $_LIBCONTAINER_STATEDIR/crun.x; kill -9 $$"
    runtime.write_text(f'#!/bin/sh\n[ -e {tmp_path}/armed ] && {{ {killed}; }}\nexec {shutil.which("crun")} "$@"\n')
    runtime.chmod(0o755)
    box = Box(tmp_path, runtimes=(str(runtime),))
    await box.run("true")
    (tmp_path / "armed").touch()
    with pytest.raises(ExitError):
        await box.run("true")
    assert box.left() == []


@pytest.mark.row("X26", "S41")
async def test_cancelling_kills_every_process_at_once(either):
    started = asyncio.Event()
    process = Process(("sh", "-c", "trap '' TERM; sleep 1000 & echo up; sleep 1000"), (PATH,))
    running = asyncio.create_task(
        either.executor.run(Container(either.root, process, id="victim"), lambda *_: started.set())
    )
    await started.wait()
    pids = set(_pids_in("victim"))
    assert len(pids) >= 2
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def _pids_in(id: str) -> list[int]:
    for hierarchy in (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/pids")):
        try:
            return [int(pid) for pid in (hierarchy / "buildkit" / id / "cgroup.procs").read_text().split()]
        except OSError:
            continue
    return []


async def test_cancelling_at_any_moment_of_the_start_leaves_nothing(either):
    await either.run("true")
    for turns in range(0, 60, 4):
        running = asyncio.create_task(either.run("sleep 1000"))
        for _ in range(turns):
            await asyncio.sleep(0.0005)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert either.left() == []


async def test_a_killed_builder_takes_its_containers_along_and_the_next_one_cleans_up(tmp_path):
    box = Box(tmp_path)
    program = f"""
        import asyncio
        from pathlib import Path
        from buildkit.executor.executor import Container, Process
        from buildkit.executor.runc import RuncExecutor
        from buildkit.fs.mount import bind
        process = Process(("sh", "-c", "echo up; sleep 1000"), ("PATH=/bin",))
        container = Container((bind({str(box.base)!r}),), process, id="orphan")
        asyncio.run(RuncExecutor(Path({str(box.state)!r})).run(container, lambda *_: print("up", flush=True)))
    """
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    builder = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], env=env, stdout=subprocess.PIPE)
    assert builder.stdout is not None and builder.stdout.readline() == b"up\n"
    pids = _pids_in("orphan")
    watched = [os.pidfd_open(pid) for pid in pids]
    assert watched
    builder.kill()
    builder.wait()
    for fd in watched:
        loop = asyncio.get_running_loop()
        gone = loop.create_future()
        loop.add_reader(fd, lambda gone=gone: gone.done() or gone.set_result(None))
        await gone
        loop.remove_reader(fd)
        os.close(fd)
    await box.run("true")
    box.executor.close()
    assert box.left() == []
    assert not list(Path("/sys/fs/cgroup").glob("*/buildkit/orphan"))


@pytest.mark.row("X24", "X25")
async def test_mount_places_vanish_but_what_the_runtime_made_itself_stays(box):
    secret = box.state.parent / "secret"
    secret.write_text("s")
    await box.run("cat /run/secrets/s", Attachment("/run/secrets/s", str(secret)), remove_stubs_recursive=True)
    names = sorted(p.name for p in box.upper.iterdir())
    assert names == ["dev", "etc", "proc", "sys"]
    assert list((box.upper / "etc").iterdir()) == []


@pytest.mark.row("X5")
async def test_a_missing_working_directory_is_made_for_the_user_and_stays(box):
    assert await box.run("pwd; id -u", cwd="/a/b", user="ann") == "/a/b\n10\n"
    status = (box.upper / "a/b").stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (10, 20, 0o755)


@pytest.mark.row("X5")
async def test_a_working_directory_behind_a_link_stays_in_the_root(box):
    (box.base / "out").symlink_to("/../../tmp")
    assert await box.run("pwd", cwd="/out/x") == "/tmp/x\n"
    assert (box.upper / "tmp/x").is_dir()


@pytest.mark.row("X6", "D101")
async def test_the_user_gets_the_groups_of_the_root(box):
    assert await box.run("id -G", user="ann") == "20 30\n"
    assert await box.run("id -u; id -g", user="7") == "7\n0\n"


@pytest.mark.row("X14", "X40", "L83", "L84")
async def test_names_of_hosts_are_there(box):
    out = await box.run(
        "cat /etc/hosts; cat /proc/sys/kernel/hostname", hostname="me", extra_hosts=(("db", "10.0.0.1"),)
    )
    assert "127.0.0.1\tlocalhost me\n" in out
    assert "10.0.0.1\tdb\n" in out
    assert out.endswith("\nme\n")


@pytest.mark.row("X46", "L89")
async def test_without_network_there_is_only_the_loopback_device(box):
    assert await box.run("ls /sys/class/net", network="none") == "lo\n"


@pytest.mark.row("X21", "X22", "L94")
async def test_a_part_of_a_source_is_shown_and_links_do_not_lead_out(box, tmp_path):
    source = tmp_path / "source"
    (source / "in").mkdir(parents=True)
    (source / "in/file").write_text("hello")
    (source / "link").symlink_to("/in")
    (source / "escape").symlink_to("../../../../etc")
    for selector in ("in", "link", "../../in"):
        assert await box.run("cat /m/file", Attachment("/m", str(source), selector)) == "hello"
    assert await box.run("cat /m", Attachment("/m", str(source), "in/file")) == "hello"
    with pytest.raises(NotFound, match="escape: no such file"):
        await box.run("true", Attachment("/m", str(source), "escape"))


@pytest.mark.row("L95")
async def test_a_read_only_mount_cannot_be_written(box, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    with pytest.raises(ExitError):
        await box.run("touch /m/x", Attachment("/m", str(source), readonly=True))
    await box.run("touch /m/x", Attachment("/m", str(source)))
    assert (source / "x").exists()


async def test_a_read_only_root_cannot_be_written(box):
    for name in ("dev", "proc", "sys"):
        (box.base / name).mkdir()
    for name in ("hosts", "resolv.conf"):
        (box.base / "etc" / name).touch()
    with pytest.raises(ExitError):
        await box.run("touch /x", readonly_root=True)
    assert "Read-only" in box.text(2)


@pytest.mark.row("L101")
async def test_a_tmpfs_is_mounted_with_its_size(box):
    tmpfs = (Mount("tmpfs", "tmpfs", "", ("nosuid", "size=65536")),)
    out = await box.run("mount", Attachment("/t", tmpfs))
    line = next(line for line in out.splitlines() if " /t " in line)
    assert "size=64k" in line and "nosuid" in line


async def test_mounts_of_the_host_made_later_can_be_shown(box, tmp_path):
    await box.run("true")
    place = tmp_path / "place"
    place.mkdir()
    from buildkit.fs.mount import mounted

    with mounted([Mount("tmpfs", "tmpfs")], str(place)):
        (place / "late").write_text("seen")
        assert await box.run("cat /m/late", Attachment("/m", str(place))) == "seen"


@pytest.mark.row("X17", "L85")
async def test_limits_beyond_what_can_be_set_are_lowered(either):
    out = await either.run("ulimit -n", ulimits=(Ulimit("nofile", 1 << 20, 1 << 20),))
    assert int(out) > 0


@pytest.mark.row("X19")
async def test_an_insecure_process_holds_what_we_hold(either):
    out = await either.run("head -n 99 /proc/self/status; ls /dev", insecure=True)
    ours = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapPrm"))
    assert ours.replace("CapPrm", "CapEff") in out
    assert "Seccomp:\t0\n" in out
    assert "kmsg\n" in out


@pytest.mark.row("X16")
async def test_a_device_can_be_made_but_not_opened(either):
    with pytest.raises(ExitError):
        await either.run("mknod /disk b 254 0 && head -c 1 /disk")
    assert "head: " in either.text(2)


async def test_output_comes_while_the_process_runs(box):
    gate = box.state.parent / "gate"
    gate.mkdir()
    running = asyncio.create_task(
        box.run("echo one; while [ ! -e /g/go ]; do :; done; echo two", Attachment("/g", str(gate)))
    )
    while box.text(1) != "one\n":
        await asyncio.sleep(0)
    (gate / "go").touch()
    assert await running == "one\ntwo\n"


async def test_containers_run_side_by_side(box, tmp_path):
    meeting = Attachment("/m", str(tmp_path / "meeting"))
    (tmp_path / "meeting").mkdir()

    async def meet(mine: str, other: str) -> None:
        for name in ("upper", "work"):
            (tmp_path / mine / name).mkdir(parents=True)
        root = (overlay_of([str(box.base)], str(tmp_path / mine / "upper"), str(tmp_path / mine / "work")),)
        script = f"touch /m/{mine}; while [ ! -e /m/{other} ]; do :; done"
        await box.executor.run(Container(root, Process(("sh", "-c", script), (PATH,)), (meeting,)), lambda *_: None)

    await asyncio.gather(meet("x", "y"), meet("y", "x"))


async def test_the_first_runtime_that_works_is_remembered_until_the_next_boot(tmp_path, monkeypatch):
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "crun").write_text("#!/bin/sh\necho broken >&2\nexit 1\n")
    (tools / "crun").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    for _ in range(2):
        box = RuncExecutor(tmp_path / "state")
        assert (await box.prepare()).path.endswith("/runc")
        box.close()
        monkeypatch.setattr("buildkit.executor.runtime.Probe.find", lambda _: pytest.fail("asked again"))


async def test_runtimes_that_do_not_work_are_named_with_what_they_said(tmp_path, monkeypatch):
    tool = tmp_path / "crun"
    tool.write_text("#!/bin/sh\necho broken >&2\nexit 1\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    box = RuncExecutor(tmp_path / "state", Settings(runtimes=("crun", "nosuch")))
    with pytest.raises(FailedPrecondition, match="no container runtime works here: crun: broken"):
        await box.prepare()
    box.close()


async def test_a_full_disk_is_said_in_one_line(tmp_path):
    from buildkit.fs.mount import mounted

    state = tmp_path / "state"
    state.mkdir()
    with mounted([Mount("tmpfs", "tmpfs", "", ("size=64k",))], str(state)):
        box = Box(tmp_path)
        await box.run("true")
        (state / "full").write_bytes(bytes(8 << 10))
        with pytest.raises(Exhausted, match=r"cannot start container .*No space left"):
            for number in range(16):
                (state / f"full{number}").touch()
                with contextlib.suppress(OSError):
                    (state / f"full{number}").write_bytes(bytes(4 << 10))
            await box.run("true")
        for path in state.glob("full*"):
            path.unlink()
        await box.run("true")
        box.executor.close()


@pytest.mark.row("X74")
async def test_a_run_tells_what_it_used(either, tmp_path, monkeypatch):
    seen = tmp_path / "seen"
    seen.mkdir()
    taken = sampling.Sampler._take

    def take(sampler):
        taken(sampler)
        if any((one.memory_peak or 0) > 20 << 20 for one in sampler._samples):
            (seen / "enough").touch()

    monkeypatch.setattr(sampling.Sampler, "_take", take)
    script = "a=$(busybox head -c 20000000 /dev/zero | busybox tr '\\0' x); until test -e /seen/enough; do :; done"
    process = replace(either.container.process, args=("sh", "-c", script))
    container = replace(either.container, process=process, mounts=(Attachment("/seen", str(seen), readonly=True),))
    usage = await either.executor.run(container, lambda *_: None)
    assert usage.memory_peak > 20 << 20
    assert usage.user_time + usage.system_time > 0
    assert usage.samples[-1]["processes"] >= 1
    assert usage.samples[-1]["processor_time"] > 0
