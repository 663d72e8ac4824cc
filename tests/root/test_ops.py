from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from tests.kit.llb_ops import Ops, file, run, source
from tests.kit.rootfs import PATH, busybox_root
from tests.kit.workshop import workshop

from buildkit.api import ops as pb
from buildkit.core.errors import ExitError, InvalidInput, NotFound, SolveDetail
from buildkit.core.values import replace
from buildkit.session.session import Session

pytestmark = pytest.mark.root


@pytest.fixture
async def shop(tmp_path):
    async with workshop(tmp_path / "shop") as made:
        yield made


@pytest.fixture
def base(tmp_path):
    return f"tree://{busybox_root(tmp_path / 'base')}"


def sh(script, **more):
    return run("sh", "-c", script, env=(PATH, *more.pop("env", ())), **more)


def on(base, *ops, metadata=None):
    """A chain of ops on a base; all get the metadata."""
    made = Ops()
    digest = made.add(source(base))
    for op in ops:
        digest = made.add(op, digest, metadata=metadata)
    return made.definition()


class Given:
    """Lends secrets."""

    def __init__(self, **secrets):
        self.secrets = secrets

    async def get(self, id):
        if id not in self.secrets:
            raise NotFound("not found")
        return self.secrets[id].encode()


@pytest.mark.row("L80", "L94")
async def test_a_step_runs_on_the_tree_of_the_one_before(shop, base):
    definition = on(base, sh("echo one > out"), sh("echo two >> out; echo said; echo oops >&2"))
    assert await shop.text(definition) == "one\ntwo\n"
    assert shop.log == "said\noops\n" or shop.log == "oops\nsaid\n"


async def test_a_second_build_runs_nothing(shop, base, tmp_path):
    definition = on(base, sh("echo said; echo x > out"))
    await shop.text(definition)
    assert await shop.text(definition) == "x\n"
    assert shop.log == ""
    assert len(shop.trees.taken) == 1


async def test_what_was_built_is_there_for_the_next_process(tmp_path, base):
    definition = on(base, sh("echo said; echo x > out"))
    async with workshop(tmp_path / "shop") as shop:
        await shop.text(definition)
    async with workshop(tmp_path / "shop") as shop:
        assert await shop.text(definition) == "x\n"
        assert shop.log == ""


@pytest.mark.row("A65", "X26")
async def test_a_failing_step_says_so_and_leaves_its_trees_for_a_look(shop, base):
    with pytest.raises(
        ExitError, match=r'process "sh -c echo \\"x\\" > out; exit 7" did not complete successfully: exit code: 7'
    ) as caught:
        await shop.text(on(base, sh('echo "x" > out; exit 7')))
    detail = next(d for d in caught.value.details if isinstance(d, SolveDetail))
    assert len(detail.input_ids) == len(detail.mount_ids) == 1
    assert detail.input_ids != detail.mount_ids
    assert pb.Op.FromString(detail.op).exec.meta.args[0] == "sh"


@pytest.mark.row("L112")
async def test_the_log_of_a_failing_step_ends_with_its_last_words(shop, base, monkeypatch):
    monkeypatch.setenv("BUILDKIT_STEP_LOG_MAX_SIZE", "10")
    with pytest.raises(ExitError):
        await shop.text(on(base, sh("echo 0123456789; echo last words; exit 1")))
    assert shop.log.endswith("last words\n")
    assert "[output clipped, log limit 10B reached]" in shop.log


@pytest.mark.row("L88")
async def test_other_exit_codes_can_be_valid(shop, base):
    assert await shop.text(on(base, sh("echo x > out; exit 3", validExitCodes=[3]))) == "x\n"


@pytest.mark.row("L81", "L82")
async def test_the_environment_has_a_path_and_proxies(shop, base):
    op = run("/bin/sh", "-c", "/bin/env > /out", env=("A=1",), proxy_env=pb.ProxyEnv(http_proxy="p", no_proxy="n"))
    lines = (await shop.text(on(base, op))).splitlines()
    for line in ("A=1", "HTTP_PROXY=p", "http_proxy=p", "NO_PROXY=n", "no_proxy=n"):
        assert line in lines
    assert "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" in lines


def mounts(*more):
    return (pb.Mount(dest="/"), *more)


@pytest.mark.row("L95", "L94")
async def test_a_mount_without_output_can_be_written_and_is_thrown_away(shop, base):
    scratch = pb.Mount(dest="/m", input=0, output=-1)
    definition = on(
        base, sh("echo x > /m/x; cat /m/x > out", mounts=mounts(scratch)), sh("[ -e /m ] || echo gone >> out")
    )
    assert await shop.text(definition) == "x\ngone\n"


@pytest.mark.row("L94", "L95")
async def test_every_mount_with_an_output_is_a_result(shop, base, tmp_path):
    ops = Ops()
    digest = ops.add(source(base))
    fresh = pb.Mount(dest="/m", input=-1, output=1)
    same = pb.Mount(dest="/n", input=0, output=2, readonly=True)
    ran = ops.add(sh("echo root > out; echo mount > /m/out", mounts=mounts(fresh, same)), digest)
    assert await shop.text(ops.definition(ran, 0)) == "root\n"
    assert await shop.text(ops.definition(ran, 1)) == "mount\n"
    async with shop.built(ops.definition(ran, 2)) as root:
        assert not (root / "out").exists() and (root / "bin/sh").exists()


@pytest.mark.row("L95")
async def test_a_read_only_mount_shows_part_of_an_input(shop, base, tmp_path):
    part = pb.Mount(dest="/m", input=0, output=-1, readonly=True, selector="etc")
    assert "ann" in await shop.text(on(base, sh("cat /m/passwd > out", mounts=mounts(part))))
    with pytest.raises(ExitError):
        await shop.text(on(base, sh("touch /m/x", mounts=mounts(part))))


@pytest.mark.row("L93", "X21")
async def test_mounts_below_others_come_after_them(shop, base):
    inner = pb.Mount(dest="/m/etc", input=0, output=-1, selector="bin", readonly=True)
    outer = pb.Mount(dest="m", input=0, output=-1)
    assert "busybox" in await shop.text(on(base, sh("ls /m/etc > out; ls /m/bin >> out", mounts=mounts(inner, outer))))


@pytest.mark.row("L109", "L5")
async def test_a_step_can_begin_with_an_empty_root(shop, base):
    ops = Ops()
    tools = ops.add(source(base))
    root = pb.Mount(dest="/", input=-1)
    bin = pb.Mount(dest="/bin", input=0, output=-1, selector="bin", readonly=True)
    ops.add(sh("echo x > out; pwd > /cwd", mounts=(root, bin), removeMountStubsRecursive=True), tools)
    async with shop.built(ops.definition()) as path:
        assert sorted(p.name for p in path.iterdir()) == ["cwd", "dev", "out", "proc", "sys"]


@pytest.mark.row("L96", "L97", "L98", "X70")
async def test_a_cache_mount_outlives_the_step(shop, base):
    cache = pb.Mount(dest="/c", input=-1, output=-1, mountType=pb.CACHE, cacheOpt=pb.CacheOpt(ID="id"))
    count = "echo x >> /c/n; wc -l < /c/n > out; "
    assert await shop.text(on(base, sh(count, mounts=mounts(cache)))) == "1\n"
    assert await shop.text(on(base, sh(count + "true", mounts=mounts(cache)))) == "2\n"
    usage = await shop.store.usage(["type==exec.cachemount"])
    assert [u.description for u in usage] == [f'cached mount /c from exec sh -c {count} with id "id"']


@pytest.mark.row("L9")
async def test_a_step_that_ignores_the_cache_begins_its_cache_mounts_anew_once(shop, base):
    cache = pb.Mount(dest="/c", input=-1, output=-1, mountType=pb.CACHE, cacheOpt=pb.CacheOpt(ID="id"))
    count = "echo x >> /c/n; wc -l < /c/n > out; "
    await shop.text(on(base, sh(count, mounts=mounts(cache))))
    steps = [sh(count + "true", mounts=mounts(cache)), sh(count + "true 2", mounts=mounts(cache))]
    assert await shop.text(on(base, *steps, metadata=pb.OpMetadata(ignore_cache=True))) == "2\n"


@pytest.mark.row("L96")
async def test_a_cache_mount_begins_as_its_input(shop, base):
    cache = pb.Mount(dest="/c", input=0, output=-1, mountType=pb.CACHE, cacheOpt=pb.CacheOpt(ID="id"))
    assert "passwd" in await shop.text(on(base, sh("ls /c/etc > out", mounts=mounts(cache))))


@pytest.mark.row("L101")
async def test_a_tmpfs_has_its_size(shop, base):
    tmpfs = pb.Mount(dest="/t", input=-1, output=-1, mountType=pb.TMPFS, TmpfsOpt=pb.TmpfsOpt(size=65536))
    out = await shop.text(on(base, sh("mount > out; echo x > /t/x", mounts=mounts(tmpfs))))
    assert "size=64k" in next(line for line in out.splitlines() if " /t " in line)


def secret(**fields):
    option = pb.SecretOpt(**{"ID": "s", "mode": 0o400, **fields})
    return pb.Mount(dest="/run/secrets/s", input=-1, output=-1, mountType=pb.SECRET, secretOpt=option)


@pytest.mark.row("L99")
async def test_a_secret_is_a_file_that_only_its_owner_reads_and_that_no_layer_has(shop, base):
    script = "cat /run/secrets/s > out; stat -c '%a %u %g' /run/secrets/s >> out; mount | grep secrets >> out"
    op = sh(script, mounts=mounts(secret(uid=10, gid=20)), removeMountStubsRecursive=True)
    async with shop.built(on(base, op), session=Session.new(secrets=Given(s="xyzzy-plugh\n"))) as root:
        lines = (root / "out").read_text().splitlines()
        assert lines[:2] == ["xyzzy-plugh", "400 10 20"]
        assert {"ro", "nodev", "nosuid", "noexec"} <= set(lines[2].split("(")[1].rstrip(")").split(","))
        assert not (root / "run").exists()
    files = [p for p in shop.root.rglob("*") if p.is_file() and not p.is_symlink()]
    hushed = [p for p in files if b"xyzzy-plugh" in p.read_bytes()]
    assert {p.name for p in hushed} == {"out"}
    assert "xyzzy-plugh" not in str(shop.records.last)


@pytest.mark.row("L99")
async def test_a_missing_secret_is_named_unless_it_is_optional(shop, base):
    for session in (Session.new(), Session.new(secrets=Given())):
        with pytest.raises(NotFound, match="secret s: not found"):
            await shop.text(on(base, sh("true", mounts=mounts(secret()))), session=session)
    op = sh("ls /run/secrets/s || echo none > out", mounts=mounts(secret(optional=True)))
    assert await shop.text(on(base, op)) == "none\n"


@pytest.mark.row("L91")
async def test_a_secret_can_be_a_variable(shop, base):
    op = sh("echo $S$T > out")
    op.exec.secretenv.add(ID="s", name="S")
    op.exec.secretenv.add(ID="t", name="T", optional=True)
    assert await shop.text(on(base, op), session=Session.new(secrets=Given(s="v"))) == "v\n"


@pytest.mark.row("L100")
async def test_a_required_agent_that_nobody_forwards_is_named(shop, base):
    agent = pb.Mount(dest="/a", input=-1, output=-1, mountType=pb.SSH, SSHOpt=pb.SSHOpt(ID="k"))
    with pytest.raises(NotFound, match='no SSH key "k" forwarded from the client'):
        await shop.text(on(base, sh("true", mounts=mounts(agent))))
    agent.SSHOpt.optional = True
    assert await shop.text(on(base, sh("echo x > out", mounts=mounts(agent)))) == "x\n"


@pytest.mark.row("L105", "S23")
async def test_a_mount_that_shows_the_same_content_costs_no_new_run(shop, base, tmp_path):
    def made(name):
        (tmp_path / name / "in").mkdir(parents=True)
        (tmp_path / name / "in/f").write_text("same")
        (tmp_path / name / "other").write_text(name)
        ops = Ops()
        inputs = ops.add(source(base)), ops.add(source(f"tree://{tmp_path / name}"))
        mount = pb.Mount(dest="/m", input=1, output=-1, readonly=True, selector="in")
        ops.add(sh("cat /m/f > out; echo ran", mounts=mounts(mount)), *inputs)
        return ops.definition()

    assert await shop.text(made("a")) == "same"
    assert shop.log == "ran\n"
    assert await shop.text(made("b")) == "same"
    assert shop.log == ""


def mounts_of(shop):
    return [line for line in Path("/proc/mounts").read_text().splitlines() if str(shop.root) in line]


@pytest.mark.row("X76")
async def test_steps_run_side_by_side_up_to_the_limit(tmp_path, base):
    async with workshop(tmp_path / "shop") as shop:
        shop.worker = replace(shop.worker, parallelism=asyncio.Semaphore(1))
        cache = pb.Mount(dest="/c", input=-1, output=-1, mountType=pb.CACHE, cacheOpt=pb.CacheOpt(ID="id"))
        ops = Ops()
        below = ops.add(source(base))
        script = "mkdir /c/busy; sleep 0.05; rm -r /c/busy"
        ran = [ops.add(sh(f"{script} # {n}", mounts=mounts(cache)), below) for n in range(4)]
        merge = pb.MergeOp(inputs=[pb.MergeInput(input=n) for n in range(4)])
        ops.add(pb.Op(merge=merge), *ran)
        async with shop.built(ops.definition()):
            pass


@pytest.mark.row("L13", "X18")
async def test_limits_come_from_the_metadata(shop, base):
    limits = pb.OpMetadata(linux_resources=pb.LinuxResources(memory=30 << 20))
    with pytest.raises(ExitError, match="cannot allocate memory"):
        await shop.text(on(base, sh("a=x; while :; do a=$a$a; done"), metadata=limits))


@pytest.mark.row("L150", "L155")
async def test_trees_are_merged(shop, base, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_text(name)
    ops = Ops()
    inputs = [ops.add(source(f"tree://{tmp_path / name}")) for name in ("a", "b")]
    ops.add(pb.Op(merge=pb.MergeOp(inputs=[pb.MergeInput(input=0), pb.MergeInput(input=1)])), *inputs)
    async with shop.built(ops.definition()) as root:
        assert sorted(p.name for p in root.iterdir()) == ["a", "b"]


@pytest.mark.row("L151")
async def test_what_a_step_changed_is_a_tree(shop, base):
    ops = Ops()
    below = ops.add(source(base))
    above = ops.add(sh("echo x > out"), below)
    diff = pb.DiffOp(lower=pb.LowerDiffInput(input=0), upper=pb.UpperDiffInput(input=1))
    ops.add(pb.Op(diff=diff), below, above)
    async with shop.built(ops.definition()) as root:
        assert (root / "out").read_text() == "x\n"
        assert not (root / "bin").exists()


@pytest.mark.row("L154")
async def test_inputs_are_handed_on(shop, base, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/out").write_text("a")
    ops = Ops()
    inputs = ops.add(source(base)), ops.add(source(f"tree://{tmp_path / 'a'}"))
    passed = ops.add(pb.Op(passthrough=pb.PassthroughOp(id="p", outputs=[1, 0])), *inputs)
    assert await shop.text(ops.definition(passed, 0)) == "a"


@pytest.mark.row("L153")
async def test_a_definition_in_a_file_is_built(shop, base, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/llb").write_bytes(on(base, sh("echo x > out")).SerializeToString())
    build = pb.BuildOp(builder=-1, attrs={"llbbuild.filename": "llb"})
    build.inputs["buildkit.llb.definition"].input = 0
    assert await shop.text(on(f"tree://{tmp_path / 'a'}", pb.Op(build=build))) == "x\n"


@pytest.mark.row("L120", "L135", "L136", "L137", "L138", "L141")
async def test_file_actions_follow_one_another(shop, base):
    actions = [
        pb.FileAction(
            input=0,
            secondaryInput=-1,
            output=-1,
            mkdir=pb.FileActionMkDir(path="/d/e", mode=0o700, makeParents=True, timestamp=-1),
        ),
        pb.FileAction(
            input=1,
            secondaryInput=-1,
            output=-1,
            mkfile=pb.FileActionMkFile(path="/d/e/f", mode=0o640, data=b"x", timestamp=5_000_000_000),
        ),
        pb.FileAction(
            input=2,
            secondaryInput=-1,
            output=-1,
            symlink=pb.FileActionSymlink(oldpath="e/f", newpath="/d/l", timestamp=-1),
        ),
        pb.FileAction(input=3, secondaryInput=-1, output=0, rm=pb.FileActionRm(path="/etc")),
        pb.FileAction(input=3, secondaryInput=-1, output=1, rm=pb.FileActionRm(path="/bin")),
    ]
    ops = Ops()
    made = ops.add(file(*actions), ops.add(source(base)))
    async with shop.built(ops.definition(made, 0)) as root:
        assert (root / "d/l").read_text() == "x"
        assert (root / "d").stat().st_mode & 0o777 == 0o700
        status = (root / "d/e/f").stat()
        assert (status.st_mode & 0o777, status.st_mtime) == (0o640, 5)
        assert not (root / "etc").exists() and (root / "bin").exists()
    async with shop.built(ops.definition(made, 1)) as root:
        assert (root / "etc").exists() and not (root / "bin").exists()


@pytest.mark.row("L131")
async def test_owners_are_found_by_name_and_number(shop, base):
    def named(user, group=None):
        owner = pb.ChownOpt(user=user)
        if group is not None:
            owner.group.CopyFrom(group)
        return owner

    ann, staff = (pb.UserOpt(byName=pb.NamedUserOpt(name=n, input=0)) for n in ("ann", "wheel"))
    owners = [
        named(ann),
        named(ann, staff),
        named(pb.UserOpt(byID=7)),
        named(pb.UserOpt(byName=pb.NamedUserOpt(name="who"))),
    ]
    actions = [
        pb.FileAction(
            input=n,
            secondaryInput=-1,
            output=-1,
            mkfile=pb.FileActionMkFile(path=f"/f{n}", mode=0o600, owner=owner, timestamp=-1),
        )
        for n, owner in enumerate(owners)
    ]
    actions[-1].output = 0
    async with shop.built(on(base, file(*actions))) as root:
        found = [(root / f"f{n}").stat() for n in range(4)]
        assert [(s.st_uid, s.st_gid) for s in found] == [(10, 20), (10, 30), (7, 7), (0, 0)]


@pytest.mark.parametrize(
    ("outputs", "message"),
    [([-1], "no outputs specified"), ([1], "missing output index 0"), ([0, 0], "duplicate output 0")],
)
async def test_outputs_of_file_actions_are_checked(shop, base, outputs, message):
    rm = pb.FileActionRm(path="/x", allowNotFound=True)
    actions = [pb.FileAction(input=0, secondaryInput=-1, output=o, rm=rm) for o in outputs]
    with pytest.raises(InvalidInput, match=message):
        await shop.text(on(base, file(*actions)))


async def test_actions_that_wait_for_each_other_are_refused(shop, base):
    rm = pb.FileActionRm(path="/x", allowNotFound=True)
    actions = [pb.FileAction(input=2 - n, secondaryInput=-1, output=-n, rm=rm) for n in range(2)]
    with pytest.raises(InvalidInput, match="loop from index"):
        await shop.text(on(base, file(*actions)))


async def test_a_cancelled_build_stops_its_steps_and_leaves_nothing_mounted(shop, base):
    before = mounts_of(shop)
    running = asyncio.create_task(shop.text(on(base, sh("echo up; sleep 1000"))))
    while shop.log != "up\n":
        await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert mounts_of(shop) == before
    assert os.listdir(shop.root / "executor/runtime") == []


@pytest.mark.row("L13", "X18")
async def test_the_limits_of_a_step_are_those_that_its_job_gave(shop, base):
    limits = pb.OpMetadata(linux_resources=pb.LinuxResources(memory=30 << 20))
    with pytest.raises(ExitError, match="cannot allocate memory"):
        await shop.text(on(base, sh("a=x; while :; do a=$a$a; done"), metadata=limits))
