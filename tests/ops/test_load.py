from __future__ import annotations

import pytest
from tests.kit.llb_ops import Ops, file, run, source

from buildkit.api import ops as pb
from buildkit.core.digest import sha256
from buildkit.core.entitlement import Grants
from buildkit.core.errors import InvalidInput, PermissionDenied, VertexDetail
from buildkit.core.platform import Platform, host_platform
from buildkit.ops.load import NOTHING_SPECIAL, Rules, encode_op, load


class Made:
    """Notes what it is asked to make."""

    def __init__(self) -> None:
        self.descriptions = []

    def make(self, description):
        self.descriptions.append(description)
        return description

    def turn(self, description):
        return None


async def loaded(definition, rules=NOTHING_SPECIAL, maker=None):
    return await load(definition, maker or Made(), rules)


def chain(length):
    ops = Ops()
    digest = ops.add(source("docker-image://x:1"))
    for number in range(length):
        digest = ops.add(run("step", str(number)), digest)
    return ops


@pytest.mark.row("L1", "L2", "L7")
async def test_ops_may_stand_in_any_order_but_the_last():
    ops = chain(2)
    definition = ops.definition()
    content = list(getattr(definition, "def"))
    reordered = pb.Definition(**{"def": [content[1], content[2], content[0], content[3]]})
    edge = await loaded(reordered)
    assert edge.vertex.digest == sha256(ops.content[-1])
    assert [e.vertex.name for e in edge.vertex.inputs] == ["step 0"]


async def test_an_op_is_made_when_it_is_resolved_and_once_for_each_vertex():
    maker = Made()
    edge = await loaded(chain(1).definition(), maker=maker)
    assert maker.descriptions == []
    assert edge.vertex.resolve().name == "step 0"


@pytest.mark.row("L1")
@pytest.mark.parametrize(
    ("ops", "message"),
    [
        ([], "invalid empty definition"),
        ([pb.Op().SerializeToString()], "invalid LLB with 1 vertexes"),
        ([source("x").SerializeToString(), pb.Op().SerializeToString()], "invalid LLB with no inputs on last vertex"),
        ([pb.Op(inputs=[pb.Input(digest="sha256:00")]).SerializeToString()], "invalid missing input digest sha256:00"),
        ([pb.Op(inputs=[pb.Input(index=-1)]).SerializeToString()], "invalid input 0 output index -1"),
        ([b"\xff"], "failed to parse llb proto op"),
    ],
)
async def test_a_broken_definition_is_refused(ops, message):
    with pytest.raises(InvalidInput, match=f"^failed to load LLB: {message}"):
        await loaded(pb.Definition(**{"def": ops}))


@pytest.mark.row("L110")
@pytest.mark.parametrize(
    ("op", "message"),
    [
        (pb.Op(exec=pb.ExecOp()), "invalid exec op with no meta"),
        (pb.Op(exec=pb.ExecOp(meta=pb.Meta())), "invalid exec op with no args"),
        (pb.Op(exec=pb.ExecOp(meta=pb.Meta(args=["a"]))), "invalid exec op with no mounts"),
        (run("a", mounts=(pb.Mount(dest="/m"),)), "invalid exec op with no rootfs"),
        (file(), "invalid file op with no actions"),
        (pb.Op(diff=pb.DiffOp()), "invalid diff op with nil lower or upper input"),
        (pb.Op(passthrough=pb.PassthroughOp()), "invalid passthrough op with no id"),
        (pb.Op(passthrough=pb.PassthroughOp(id="i")), "invalid passthrough op with no outputs"),
        (pb.Op(passthrough=pb.PassthroughOp(id="i", outputs=[1])), "invalid passthrough output input index 1"),
    ],
)
async def test_an_op_that_lacks_something_is_refused(op, message):
    if op.WhichOneof("op") == "file":
        op.file.SetInParent()
    ops = Ops()
    ops.add(op)
    with pytest.raises(InvalidInput, match=message):
        await loaded(ops.definition())


@pytest.mark.parametrize(
    ("op", "used"), [(pb.Op(merge=pb.MergeOp(inputs=[pb.MergeInput()] * 3)), 3), (pb.Op(diff=pb.DiffOp()), 2)]
)
async def test_a_merge_or_difference_of_other_inputs_than_it_has_is_refused(op, used):
    op.diff.lower.SetInParent() if used == 2 else None
    op.diff.upper.SetInParent() if used == 2 else None
    ops = Ops()
    ops.add(op, ops.add(source("x")))
    with pytest.raises(InvalidInput, match=f"invalid {op.WhichOneof('op')} op of {used} inputs with 1 inputs"):
        await loaded(ops.definition())


async def test_an_op_that_is_refused_is_named():
    ops = Ops()
    ops.add(source("docker-image://x:1"), metadata=pb.OpMetadata(caps={"colour": True}))
    with pytest.raises(InvalidInput, match=r"colour \(docker-image://x:1\)$") as caught:
        await loaded(ops.definition())
    assert caught.value.details == (VertexDetail(sha256(ops.content[0])),)
    ops = Ops()
    digest = ops.add(pb.Op(exec=pb.ExecOp()))
    with pytest.raises(InvalidInput, match=rf"no meta \({digest}\)$"):
        await loaded(ops.definition())


@pytest.mark.row("L14", "L15")
@pytest.mark.parametrize("cap", ["colour", "exec.meta.removemountstubs.recursive", "file.copy.modestring"])
async def test_an_unknown_capability_is_refused_by_name(cap):
    ops = Ops()
    ops.add(source("x"), metadata=pb.OpMetadata(caps={cap: True}))
    with pytest.raises(InvalidInput, match=f"unknown API capability {cap}"):
        await loaded(ops.definition())


@pytest.mark.row("L89", "L90", "L187", "A33")
@pytest.mark.parametrize(
    ("field", "value", "name"),
    [("network", pb.HOST, "network.host"), ("security", pb.INSECURE, "security.insecure")],
)
async def test_what_needs_an_entitlement_is_refused_without_it(field, value, name):
    op = run("true", mounts=(pb.Mount(dest="/", input=-1),))
    setattr(op.exec, field, value)
    ops = Ops()
    ops.add(op)
    with pytest.raises(PermissionDenied, match=f"failed to load LLB: {name} is not allowed"):
        await loaded(ops.definition())
    await loaded(ops.definition(), Rules(Grants(frozenset([name]))))


@pytest.mark.row("L8", "L10", "L11", "L12")
async def test_metadata_becomes_options_and_is_no_part_of_the_digest():
    metadata = pb.OpMetadata(
        ignore_cache=True,
        export_cache=pb.ExportCache(Value=False),
        description={"llb.customname": "mine", "a": "b"},
        progress_group=pb.ProgressGroup(id="g", name="group", weak=True),
    )
    ops = Ops()
    digest = ops.add(source("x"), metadata=metadata)
    vertex = (await loaded(ops.definition())).vertex
    assert (vertex.digest, vertex.name) == (digest, "mine")
    options = vertex.options
    assert options.ignore_cache and options.export_cache is False
    assert options.description["a"] == "b"
    assert options.group is not None and (options.group.id, options.group.name, options.group.weak) == (
        "g",
        "group",
        True,
    )


@pytest.mark.row("L19")
async def test_vertices_are_named_after_what_they_do():
    ops = Ops()
    a, b = ops.add(source("docker-image://a")), ops.add(source("local://b"))
    actions = [
        pb.FileAction(mkdir=pb.FileActionMkDir(path="/d")),
        pb.FileAction(mkfile=pb.FileActionMkFile(path="/f")),
        pb.FileAction(symlink=pb.FileActionSymlink(oldpath="o", newpath="/n")),
        pb.FileAction(rm=pb.FileActionRm(path="/r")),
        pb.FileAction(copy=pb.FileActionCopy(src="/s", dest="/t")),
    ]
    names = {
        ops.add(run("sh", "-c", "x y"), a): "sh -c x y",
        ops.add(file(*actions), a): "mkdir /d, mkfile /f, symlink /n -> o, rm /r, copy /s /t",
        ops.add(
            pb.Op(merge=pb.MergeOp(inputs=[pb.MergeInput(input=0), pb.MergeInput(input=1)])), a, b
        ): "merge (docker-image://a, local://b)",
        ops.add(
            pb.Op(diff=pb.DiffOp(lower=pb.LowerDiffInput(input=-1), upper=pb.UpperDiffInput(input=0))), b
        ): "diff scratch -> (local://b)",
        ops.add(pb.Op(passthrough=pb.PassthroughOp(id="p", outputs=[0])), a): "passthrough p",
        ops.add(pb.Op(build=pb.BuildOp(builder=-1)), a): "build",
    }
    for digest, name in names.items():
        assert (await loaded(ops.definition(digest))).vertex.name == name


async def test_names_of_merges_of_merges_do_not_grow_without_end():
    ops = Ops()
    digest = ops.add(source("docker-image://a"))
    for _ in range(60):
        merge = pb.MergeOp(inputs=[pb.MergeInput(input=0), pb.MergeInput(input=1)])
        digest = ops.add(pb.Op(merge=merge), digest, digest)
    assert len((await loaded(ops.definition())).vertex.name) <= 1 << 14


@pytest.mark.row("L3", "L4")
async def test_the_platform_is_normalised_or_the_hosts_and_no_part_of_the_digest():
    maker = Made()
    ops = Ops()
    op = source("docker-image://x")
    op.platform.CopyFrom(pb.Platform(OS="linux", Architecture="aarch64", Variant="v8"))
    digest = ops.add(op)
    ops.add(run("true"), digest)
    edge = await loaded(ops.definition(), maker=maker)
    edge.vertex.resolve()
    edge.vertex.inputs[0].vertex.resolve()
    assert [d.platform for d in maker.descriptions] == [host_platform(), Platform("linux", "arm64")]
    assert edge.vertex.inputs[0].vertex.digest == digest


@pytest.mark.row("L3", "L182")
async def test_a_source_that_a_policy_changes_gives_new_digests_to_all_that_need_it():
    async def policy(op):
        op.source.identifier = "docker-image://y"
        op.source.attrs["b"] = "2"
        op.source.attrs["a"] = "1"
        return True

    ops = chain(1)
    edge = await loaded(ops.definition(), Rules(policy=policy))
    converted = source("docker-image://y", b="2", a="1")
    below = edge.vertex.inputs[0].vertex
    assert (below.name, below.digest) == ("docker-image://y", sha256(encode_op(converted)))
    assert below.client_digest == sha256(ops.content[0])
    above = run("step", "0")
    above.inputs.add(digest=below.digest)
    assert edge.vertex.digest == sha256(above.SerializeToString(deterministic=True))
    assert edge.vertex.client_digest == sha256(ops.content[1])


@pytest.mark.row("L182")
async def test_a_denied_source_stops_the_load():
    async def policy(op):
        raise PermissionDenied(f'source "{op.source.identifier}" denied by policy')

    message = 'failed to load LLB: error evaluating the source policy: source "docker-image://x:1" denied by policy'
    with pytest.raises(PermissionDenied, match=message):
        await loaded(chain(1).definition(), Rules(policy=policy))


def test_maps_are_written_in_the_order_of_their_keys():
    op = source("x", bb="1", a="2", c="3")
    op.platform.OS = "linux"
    encoded = encode_op(op)
    assert pb.Op.FromString(encoded) == op
    assert encoded.index(b"\x01a") < encoded.index(b"\x02bb") < encoded.index(b"\x01c")


async def test_a_chain_of_any_length_is_loaded():
    edge = await loaded(chain(5000).definition())
    assert edge.vertex.name == "step 4999"


async def test_what_the_head_does_not_need_is_checked_for_missing_inputs_only():
    ops = Ops()
    wanted = ops.add(source("x"))
    ops.add(pb.Op(diff=pb.DiffOp()))
    assert (await loaded(ops.definition(wanted))).vertex.name == "x"


async def test_outputs_are_told_apart():
    ops = Ops()
    base = ops.add(source("x"))
    ops.add(run("true"), (base, 3))
    edge = await loaded(ops.definition(index=2))
    assert edge.output == 2
    assert edge.vertex.inputs[0].output == 3
