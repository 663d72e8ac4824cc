"""Definitions and trees that want to reach beyond their step: refused by name, or harmless."""

from __future__ import annotations

import os
import stat
import threading

import pytest
from tests.kit.llb_ops import Ops, file, run, source
from tests.kit.rootfs import PATH, busybox_root
from tests.kit.workshop import workshop

from buildkit.api import ops as pb
from buildkit.core.errors import BuildkitError, ExitError, InvalidInput, NotFound
from buildkit.core.values import replace
from buildkit.daemon.config import DaemonConfig
from buildkit.daemon.server import open_services
from buildkit.executor.runc import RuncExecutor
from buildkit.executor.settings import Settings
from buildkit.session.session import Session

pytestmark = pytest.mark.root

UP = "../" * 40


@pytest.fixture(params=["crun", "runc"])
async def shop(request, tmp_path):
    async with workshop(tmp_path / "shop") as made:
        executor = RuncExecutor(tmp_path / "executor", Settings(runtimes=(request.param,)))
        made.worker = replace(made.worker, executor=executor)
        yield made
        executor.close()


@pytest.fixture
def outside(tmp_path):
    """A directory that nothing may write to or read from."""
    folder = tmp_path / "outside"
    (folder / "etc").mkdir(parents=True)
    for name in ("f", "etc/passwd", "etc/group", "etc/hosts", "etc/resolv.conf"):
        (folder / name).write_text("root:x:66:66:outside:/:\n")
    before = look(folder)
    yield folder
    assert look(folder) == before


def look(folder):
    found = {}
    for path in (folder, *sorted(folder.rglob("*"))):
        status = path.lstat()
        content = path.read_text() if path.is_file() else ""
        found[str(path)] = (content, status.st_mode, status.st_uid, status.st_mtime_ns)
    return found


@pytest.fixture
def base(tmp_path, outside):
    """busybox with a link ``out`` to the outside, and a ``proclink`` to where processes are told about."""
    root = busybox_root(tmp_path / "base")
    (root / "out").symlink_to(f"/{UP}{outside}")
    (root / "proclink").symlink_to("proc")
    (root / "real").mkdir()
    (root / "real/own").write_text("own")
    return root


def sh(script, *mounts, **more):
    return run("sh", "-c", script, env=(PATH,), mounts=(pb.Mount(dest="/"), *mounts), **more)


def on(base, *ops):
    made = Ops()
    digest = made.add(source(f"tree://{base}"))
    for op in ops:
        digest = made.add(op, digest)
    return made.definition()


class Given:
    async def get(self, id):
        return b"lent"


def session():
    return Session.new(secrets=Given())


def kinds(dest):
    """A mount of each kind."""
    return {
        "bind": pb.Mount(dest=dest, input=0, output=-1, readonly=True, selector="real"),
        "cache": pb.Mount(dest=dest, input=-1, output=-1, mountType=pb.CACHE, cacheOpt=pb.CacheOpt(ID=dest)),
        "tmpfs": pb.Mount(dest=dest, input=-1, output=-1, mountType=pb.TMPFS),
        "secret": pb.Mount(
            dest=dest, input=-1, output=-1, mountType=pb.SECRET, secretOpt=pb.SecretOpt(ID="s", mode=0o400)
        ),
    }


@pytest.mark.parametrize("place", ["/proc", "/proc/self", "/proc/sys/kernel", "/proclink/1", "/real/../proc/x"])
async def test_a_mount_over_proc_is_refused_by_name(shop, base, place):
    shown = os.path.normpath(place)
    for mount in kinds(place).values():
        with pytest.raises(InvalidInput, match=f"process .* cannot mount on {shown}: nothing may stand in for"):
            await shop.text(on(base, sh("echo ran > /bin/out", mount)), session=session())


async def test_files_of_proc_that_tell_about_the_machine_may_be_replaced(shop, base):
    mount = pb.Mount(dest="/proc/uptime", input=0, output=-1, readonly=True, selector="real/own")
    assert await shop.text(on(base, sh("cat /proc/uptime > /bin/out", mount)), "bin/out") == "own"


@pytest.mark.parametrize("place", ["/sys", "/sys/fs/cgroup", "/dev", "/dev/null", "/dev/shm"])
async def test_a_mount_over_sys_or_dev_hides_them_from_the_step_alone(shop, base, place):
    before = sorted(os.listdir("/sys")), os.stat("/dev/null").st_rdev, stat.S_IMODE(os.stat("/dev/null").st_mode)
    mount = pb.Mount(dest=place, input=0, output=-1, selector="real")
    try:
        await shop.text(on(base, sh(f"echo mine > {place}/own; rm -rf {place}/*; echo x > /bin/out", mount)), "bin/out")
    except BuildkitError:
        pass  # some runtimes need what is hidden
    assert (sorted(os.listdir("/sys")), os.stat("/dev/null").st_rdev, stat.S_IMODE(os.stat("/dev/null").st_mode)) == (
        before
    )
    assert (base / "real/own").read_text() == "own"


@pytest.mark.parametrize("selector", [f"{UP}etc", f"real/{UP}etc", "real/../etc", "/etc"])
async def test_a_selector_with_dots_stays_in_its_tree(shop, base, selector):
    mount = pb.Mount(dest="/m", input=0, output=-1, readonly=True, selector=selector)
    assert "ann" in await shop.text(on(base, sh("cat /m/passwd > /bin/out", mount)), "bin/out")


@pytest.mark.parametrize("selector", ["out/f", "out", f"{UP}tmp/no"])
async def test_a_selector_through_a_link_out_of_the_tree_is_refused_by_name(shop, base, selector):
    for readonly in (True, False):
        mount = pb.Mount(dest="/m", input=0, output=-1, readonly=readonly, selector=selector)
        with pytest.raises(NotFound, match=f"process .* open {selector}: no such file"):
            await shop.text(on(base, sh("cat /m/f > /bin/out", mount)))


@pytest.mark.parametrize("kind", kinds(""))
@pytest.mark.parametrize("place", ["/out/m", "/out/a/b/m", "/out/f", "/out/etc"])
async def test_a_mount_point_behind_a_link_out_of_the_root_is_made_inside(shop, base, outside, kind, place):
    """The link means a place in the root: nothing appears outside, and the step sees its mount."""
    definition = on(base, sh(f"ls -a {place} > /bin/out", kinds(place)[kind]))
    assert await shop.text(definition, "bin/out", session=session())


@pytest.mark.parametrize("place", ["/out", "/out/new/er", f"/{UP}out/new", "/out/f"])
async def test_a_working_directory_behind_a_link_out_of_the_root_is_made_inside(shop, base, place):
    op = sh("pwd > /bin/out; echo x > made")
    op.exec.meta.cwd = place
    async with shop.built(on(base, op)) as root:
        assert (root / "bin/out").read_text().startswith("/")
    assert "made" in {p.name for p in [*shop.root.rglob("made")]}


async def test_names_of_hosts_behind_a_link_out_of_the_root_are_shown_inside(shop, base, outside):
    (base / "etc/passwd").unlink()
    (base / "etc/group").unlink()
    (base / "etc").rmdir()
    (base / "etc").symlink_to(f"/{UP}{outside}/etc")
    text = await shop.text(on(base, sh("cat /etc/hosts > /bin/out")), "bin/out")
    assert "localhost" in text and "outside" not in text


async def test_an_account_behind_a_link_out_of_the_root_is_not_found(shop, base, outside):
    (base / "etc/passwd").unlink()
    (base / "etc/passwd").symlink_to(f"/{UP}{outside}/etc/passwd")
    with pytest.raises(InvalidInput, match="unable to find user ann"):
        await shop.text(on(base, sh("true", user="ann")))


async def test_a_part_of_a_cache_mount_swapped_for_a_link_meanwhile_is_never_what_is_outside(shop, base, outside):
    cache = pb.Mount(dest="/c", input=-1, output=-1, mountType=pb.CACHE, cacheOpt=pb.CacheOpt(ID="c"))
    await shop.text(on(base, sh("mkdir /c/d; echo own > /c/d/f; echo x > /bin/out", cache)), "bin/out")
    place = next(p.parent for p in shop.root.rglob("d") if (p / "f").is_file() and (p / "f").read_text() == "own\n")
    (place / "spare").symlink_to(outside)
    over = threading.Event()

    def swap():
        while not over.is_set():
            for old, new in (("d", "third"), ("spare", "d"), ("third", "spare")):
                os.rename(place / old, place / new)

    thread = threading.Thread(target=swap)
    thread.start()
    part = replace_selector(cache, "d", "/m")
    seen = set()
    try:
        for number in range(12):
            script = f"cat /m/f > /bin/out; echo {number} > /m/f; true"
            try:
                seen.add(await shop.text(on(base, sh(script, part)), "bin/out"))
            except BuildkitError as error:
                seen.add(type(error).__name__)
    finally:
        over.set()
        thread.join()
    assert not any("outside" in one for one in seen), seen


def replace_selector(mount, selector, dest):
    made = pb.Mount()
    made.CopyFrom(mount)
    made.selector, made.dest = selector, dest
    return made


@pytest.mark.parametrize("index", [1, 7, 2**31 - 1])
async def test_an_output_that_a_step_does_not_have_is_refused_by_name(shop, base, index):
    ops = Ops()
    tree = ops.add(source(f"tree://{base}"))
    made = ops.add(file(pb.FileAction(input=0, secondaryInput=-1, output=0, mkdir=pb.FileActionMkDir(path="/x"))), tree)
    for definition in (ops.definition(made, index), ops.definition(tree, index)):
        with pytest.raises(InvalidInput, match=str(index)):
            async with shop.built(definition):
                pass


@pytest.mark.parametrize(
    "mount",
    [
        pb.Mount(dest="/m", input=1, output=-1),
        pb.Mount(dest="/m", input=2**31 - 1, output=-1),
        pb.Mount(dest="/m", input=-2, output=-1),
        pb.Mount(dest="/m", input=0, output=5),
        pb.Mount(dest="/m", input=0, output=0),
        pb.Mount(dest="/m", input=0, output=-3),
        pb.Mount(dest="/m", input=0, output=-1, mountType=99),
    ],
)
async def test_a_mount_that_points_outside_of_the_inputs_and_outputs_is_refused(shop, base, mount):
    with pytest.raises(BuildkitError) as caught:
        await shop.text(on(base, sh("echo ran > /bin/out", mount)), "bin/out")
    assert not isinstance(caught.value, AssertionError) and str(caught.value)


async def test_a_root_of_a_kind_that_there_is_not_is_refused_by_its_number(shop, base):
    op = run("true", mounts=(pb.Mount(dest="/", input=0, mountType=99),))
    ops = Ops()
    made = ops.add(op, ops.add(source(f"tree://{base}")))
    with pytest.raises(InvalidInput, match="invalid mount type 99 for /"):
        async with shop.built(ops.definition(made)):
            pass


async def test_a_failing_step_keeps_what_it_used(shop, base):
    with pytest.raises(ExitError):
        await shop.text(on(base, sh("exit 3")))
    facts = next(record.facts for record in shop.records.last if record.outcome == "failed")
    assert facts["exit_code"] == 3 and facts["usage"]["wall"] > 0 and facts["usage"]["user"] >= 0


async def test_a_daemon_gets_ready_for_its_first_step_while_it_serves(tmp_path):
    config = DaemonConfig(root=tmp_path / "root", addresses=())
    async with open_services(config):
        pass
    assert (tmp_path / "root/executor/runtime.json").exists()
