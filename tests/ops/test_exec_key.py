from __future__ import annotations

import pytest
from tests.kit.llb_ops import PATH, run

from buildkit.api import ops as pb
from buildkit.core.errors import InvalidInput
from buildkit.core.platform import Platform
from buildkit.ops import gojson
from buildkit.ops.exec_key import exec_key, uses_of_inputs, without_nested
from buildkit.solver.digests import record_digest, selector_digest

AMD64 = Platform("linux", "amd64")


def digest(op, platform=AMD64):
    return gojson.digest(exec_key(op.exec, platform))


def shell(text, **more):
    env = ("FOO=bar", PATH, "K=v") if not more.get("mounts") else (PATH, "FOO=bar")
    return run("/bin/sh", "-c", text, env=more.pop("env", env), removeMountStubsRecursive=True, **more)


@pytest.mark.row("S3", "L104", "L106", "L107")
def test_the_key_of_a_plain_run_is_the_recorded_one():
    found = digest(shell("echo hi > /b"))
    assert found.startswith("sha256:a2349277") and found.endswith("4286")
    assert record_digest(found, 0) == "sha256:cb922a4d0325375e50689db434e8e1044730aed4b79c21ed0f91d33460811cbd"


@pytest.mark.row("S4", "L104")
def test_the_key_of_a_run_with_a_cache_mount_is_the_recorded_one():
    cache = pb.Mount(dest="/c", input=-1, output=-1, mountType=pb.CACHE, cacheOpt=pb.CacheOpt(ID="//c"))
    text = 'echo $FOO > /a && echo "line out" && echo err >&2'
    found = digest(shell(text, mounts=(pb.Mount(dest="/"), cache), env=(PATH, "FOO=bar")))
    assert found.startswith("sha256:b0499229") and found.endswith("406c")
    assert record_digest(found, 0) == "sha256:fb641c18ddf6514741e735ce0442ea2bb7978469d09bc930932241e498a3d6d7"


@pytest.mark.row("S7", "L105")
def test_the_selector_of_the_root_is_the_recorded_one():
    use = uses_of_inputs(run("true").exec, 1)[0]
    assert selector_digest(use.selectors) == "sha256:8a5edab282632443219e051e4ade2d1d5bbc671c781051bf1437897cbdfea0f1"


@pytest.mark.row("L104", "L82", "L83")
@pytest.mark.parametrize(
    "change",
    [
        lambda op: op.meta.proxy_env.CopyFrom(pb.ProxyEnv(http_proxy="p")),
        lambda op: op.meta.extraHosts[0].__setattr__("IP", "2.2.2.2"),
        lambda op: op.mounts[1].__setattr__("selector", "other"),
        lambda op: op.mounts[2].cacheOpt.__setattr__("ID", "other"),
        lambda op: op.mounts[2].cacheOpt.__setattr__("sharing", pb.PRIVATE),
    ],
)
def test_what_does_not_matter_is_not_in_the_key(change):
    def made():
        cache = pb.Mount(
            dest="/c", mountType=pb.CACHE, input=-1, output=-1, cacheOpt=pb.CacheOpt(ID="id", sharing=pb.LOCKED)
        )
        bind = pb.Mount(dest="/m", input=1, output=-1, selector="one")
        op = run("true", mounts=(pb.Mount(dest="/"), bind, cache))
        op.exec.meta.extraHosts.add(Host="db", IP="1.1.1.1")
        return op

    changed = made()
    change(changed.exec)
    assert digest(changed) == digest(made())


@pytest.mark.row("L104")
@pytest.mark.parametrize("id", ["/c", "ns//c"])
def test_a_default_cache_name_is_in_the_key(id):
    def named(id):
        cache = pb.Mount(dest="/c", mountType=pb.CACHE, input=-1, output=-1, cacheOpt=pb.CacheOpt(ID=id))
        return run("true", mounts=(pb.Mount(dest="/"), cache))

    assert digest(named(id)) != digest(named("other"))


@pytest.mark.row("L104")
def test_the_mounts_are_in_the_key_when_the_root_is_read_only():
    assert digest(run("true", mounts=(pb.Mount(dest="/", readonly=True),))) != digest(run("true"))
    assert digest(run("true", mounts=(pb.Mount(dest="/", selector="x"),))) == digest(run("true"))


@pytest.mark.row("L107", "L84")
def test_the_platform_and_the_host_name_are_in_the_key():
    keys = {digest(run("true"), p) for p in (AMD64, Platform("linux", "arm", "v7"), Platform("linux", "arm", "v6"))}
    assert len(keys | {digest(run("true", hostname="h"))}) == 4


def bind(**fields):
    return pb.Mount(**{"dest": "/m", "input": 0, "output": -1, **fields})


@pytest.mark.row("L105", "L102")
@pytest.mark.parametrize(
    ("mount", "by_content"),
    [
        (bind(), True),
        (bind(output=0), True),
        (bind(output=0, selector="a"), False),
        (bind(output=0, selector="a", readonly=True), True),
        (bind(dest="/"), False),
        (bind(dest="/", contentCache=pb.ON), True),
        (bind(contentCache=pb.OFF), False),
    ],
)
def test_content_stands_for_an_input_where_that_is_safe(mount, by_content):
    assert uses_of_inputs(pb.ExecOp(mounts=[mount]), 1)[0].by_content is by_content


@pytest.mark.row("L102")
def test_forcing_content_where_it_is_not_safe_is_refused():
    with pytest.raises(InvalidInput, match="invalid mount cache content"):
        uses_of_inputs(pb.ExecOp(mounts=[bind(output=0, selector="a", contentCache=pb.ON)]), 1)


@pytest.mark.row("L105", "S34")
def test_of_several_mounts_of_one_input_the_last_decides():
    mounts = [bind(selector="b"), bind(selector="a/../a"), bind(dest="/n", selector="a", contentCache=pb.OFF)]
    use = uses_of_inputs(pb.ExecOp(mounts=mounts), 1)[0]
    assert (use.selectors, use.by_content) == (["/b", "/a", "/a"], False)
    assert use.paths == ["/a", "/b"]


def test_a_mount_of_an_input_that_is_not_there_is_refused():
    for number in (1, -2):
        with pytest.raises(InvalidInput, match="invalid mount input"):
            uses_of_inputs(pb.ExecOp(mounts=[bind(input=number)]), 1)


def test_paths_below_others_are_left_out():
    assert without_nested(["/b", "/a/c", "/a", "/ab", "/a"]) == ["/a", "/ab", "/b"]
    assert without_nested(["/a", "/"]) == ["/"]
