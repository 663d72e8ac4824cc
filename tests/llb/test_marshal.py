"""States become definitions: order, digests, metadata, and bytes that others write the same."""

import hashlib
import linecache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildkit import llb
from buildkit.api import ops_pb2 as pb
from buildkit.core.errors import InvalidInput, Range, SourceDetail
from buildkit.core.excerpt import excerpts
from buildkit.core.platform import Platform
from buildkit.llb import caps

AMD64 = Platform("linux", "amd64")


def ops_of(state, **options):
    definition = state.marshal(platform=AMD64, **options)
    return [pb.Op.FromString(op) for op in definition.ops]


def last_op(state, **options):
    return ops_of(state, **options)[-2]


@pytest.mark.row("L1", "L2", "L205")
def test_inputs_stand_before_their_users_and_the_last_op_points_at_the_result():
    definition = llb.image("busybox").run("true").root.marshal(platform=AMD64)
    source, run, last = (pb.Op.FromString(op) for op in definition.ops)
    digests = ["sha256:" + hashlib.sha256(op).hexdigest() for op in definition.ops]
    assert source.source.identifier == "docker-image://docker.io/library/busybox:latest"
    assert run.inputs[0].digest == digests[0]
    assert last.inputs[0].digest == digests[1] == definition.head
    assert last.WhichOneof("op") is None


@pytest.mark.row("L6")
def test_scratch_is_an_empty_definition():
    assert llb.scratch().marshal().ops == ()
    assert llb.load(llb.scratch().marshal()).output is None


@pytest.mark.row("L2")
def test_the_digest_of_a_known_op_is_the_one_that_buildkit_gives_it():
    pin = "sha256:" + hashlib.sha256(b"docker.io/library/alpine:edge").hexdigest()
    definition = llb.image("alpine:edge@" + pin, platform=AMD64).marshal()
    assert definition.head == "sha256:ca1cba9991c470fd2dd96544b57e924da10b49ef828b69121a8e2c0e593889cf"


@pytest.mark.row("L201", "L80")
def test_settings_of_a_state_reach_its_commands():
    state = llb.image("busybox").env("A", "1").env("B", "2").env("A", "3").dir("/srv").dir("app").user("me:us")
    state = state.hostname("box").extra_host("db", "10.0.0.1").ulimit("nofile", 1, 2).cgroup_parent("/x")
    meta = last_op(state.network("host").security("insecure").run(["a", "b"])).exec.meta
    assert list(meta.args) == ["a", "b"]
    assert list(meta.env) == ["B=2", "A=3"]
    assert (meta.cwd, meta.user, meta.hostname, meta.cgroupParent) == ("/srv/app", "me:us", "box", "/x")
    assert (meta.extraHosts[0].Host, meta.extraHosts[0].IP) == ("db", "10.0.0.1")
    assert (meta.ulimit[0].Name, meta.ulimit[0].Soft, meta.ulimit[0].Hard) == ("nofile", 1, 2)


@pytest.mark.row("L201")
def test_a_command_leaves_the_state_that_it_ran_on_alone():
    base = llb.image("busybox")
    ran = base.dir("/tmp").run("true", network="none")
    assert base.settings.dir == "/"
    assert ran.settings.dir == "/tmp"
    assert ran.settings.args == ()
    assert ran.settings.network == "sandbox"


@pytest.mark.row("L93", "L94", "L202")
def test_mounts_are_sorted_and_number_their_inputs_once():
    src = llb.local("src")
    run = llb.image("busybox").run(
        "make", mounts=[llb.bind("/src", src, readonly=True), llb.bind("/out", src), llb.tmpfs("/a", 5)]
    )
    op = last_op(run.mount("/out"))
    assert [(m.dest, m.input, m.output) for m in op.exec.mounts] == [
        ("/", 0, 0), ("/a", -1, -1), ("/out", 1, 1), ("/src", 1, -1),
    ]  # fmt: skip
    assert len(op.inputs) == 2
    assert ops_of(run.mount("/out"))[-1].inputs[0].index == 1


@pytest.mark.row("L96", "L97", "L99", "L91", "L100")
def test_cache_secret_and_ssh_mounts_carry_their_options():
    mounts = [
        llb.cache("/c", "id", sharing="locked"),
        llb.secret("/run/s", id="s", env="S", mode=0o444, uid=7),
        llb.ssh(optional=True),
    ]
    op = last_op(llb.image("busybox").run("true", mounts=mounts)).exec
    assert (op.mounts[1].cacheOpt.ID, op.mounts[1].cacheOpt.sharing) == ("id", pb.LOCKED)
    assert (op.mounts[2].secretOpt.ID, op.mounts[2].secretOpt.mode, op.mounts[2].secretOpt.uid) == ("s", 0o444, 7)
    assert (op.secretenv[0].ID, op.secretenv[0].name) == ("s", "S")
    assert (op.mounts[3].dest, op.mounts[3].SSHOpt.optional) == ("/run/buildkit/ssh_agent.0", True)
    assert list(op.meta.env) == ["SSH_AUTH_SOCK=/run/buildkit/ssh_agent.0"]


@pytest.mark.row("L202")
@pytest.mark.parametrize(
    ("mount", "message"),
    [
        (llb.tmpfs("/m"), "tmpfs mount for /m can't be used as a parent"),
        (llb.bind("/m", discard=True), "mount marked no-output and /m can't be used as a parent"),
        (llb.cache("/m"), "invalid mount: /m"),
    ],
)
def test_what_is_not_kept_is_no_result(mount, message):
    with pytest.raises(InvalidInput, match=message):
        llb.image("busybox").run("true", mounts=[mount]).mount("/m")


@pytest.mark.row("L81", "L164")
def test_a_daemon_that_sets_no_path_gets_one_in_the_environment():
    run = llb.image("busybox").run("true")
    assert list(last_op(run, known_caps=[]).exec.meta.env) == [
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    ]
    definition = run.marshal(known_caps=caps.BY_PING)
    assert caps.EXEC_META_SETS_DEFAULT_PATH in definition.metadata[definition.head].caps


@pytest.mark.row("L203", "L120")
def test_a_chain_of_file_actions_is_one_op_that_counts_earlier_results_after_its_inputs():
    src = llb.local("src")
    made = llb.mkdir("d").mkfile("d/f", "text").on(llb.scratch().dir("/made"))
    action = llb.mkdir("/a").copy(src, "x", "/a/").copy(made, "d", "/b").rm("/a")
    op = last_op(llb.image("busybox").file(action))
    assert len(op.inputs) == 2
    found = [(a.WhichOneof("action"), a.input, a.secondaryInput, a.output) for a in op.file.actions]
    assert found == [
        ("mkdir", 0, -1, -1),
        ("copy", 2, 1, -1),
        ("mkdir", -1, -1, -1),
        ("mkfile", 4, -1, -1),
        ("copy", 3, 5, -1),
        ("rm", 6, -1, 0),
    ]
    assert op.file.actions[2].mkdir.path == "/made/d"
    assert op.file.actions[1].copy.dest == "/a/"
    assert not op.HasField("platform")


@pytest.mark.row("L131", "L130", "L132")
def test_owner_mode_and_time_of_files():
    owner = llb.parse_owner("me:7")
    copy = last_op(llb.scratch().file(llb.copy(llb.local("c"), "/", "/", owner=owner, mode="u+x"))).file.actions[0].copy
    assert (copy.owner.user.byName.name, copy.owner.user.byName.input, copy.owner.group.byID) == ("me", -1, 7)
    assert (copy.modeStr, copy.mode, copy.timestamp) == ("u+x", 0, -1)
    made = last_op(llb.scratch().file(llb.mkfile("f", b"", 0o4755, created=5))).file.actions[0].mkfile
    assert (made.mode, made.timestamp, made.path) == (0o755, 5, "/f")


@pytest.mark.row("L204", "L150", "L151")
def test_merging_and_diffing_nothing_costs_nothing():
    a, b = llb.image("a"), llb.image("b")
    assert llb.merge([]).output is None
    assert llb.merge([llb.scratch(), a]) is a
    assert llb.diff(llb.scratch(), b) is b
    merged = ops_of(llb.merge([a, llb.diff(a, b)]))
    assert [op.WhichOneof("op") for op in merged] == ["source", "source", "diff", "merge", None]


@pytest.mark.row("L154")
def test_passthrough_keeps_the_first_and_waits_for_all():
    op = last_op(llb.image("a").requires("after", llb.image("b")))
    assert (op.passthrough.id, list(op.passthrough.outputs), len(op.inputs)) == ("after", [0], 2)


@pytest.mark.row("L153", "L209")
def test_a_nested_build_reads_its_definition_from_a_file():
    op = last_op(llb.nested(llb.local("x"), "f.llb"))
    assert (op.build.builder, dict(op.build.attrs)) == (-1, {"llbbuild.filename": "f.llb"})
    assert op.build.inputs["buildkit.llb.definition"].input == 0


@pytest.mark.row("L8", "L11", "L12", "L206", "L17")
def test_constraints_go_beside_the_op():
    state = llb.image("busybox").run(
        "true",
        name="a name",
        ignore_cache=True,
        export_cache=False,
        progress_group=llb.ProgressGroup("g", "group", weak=True),
        resources=llb.LinuxResources(memory=7),
        filters=["a==b"],
    )
    plain = llb.image("busybox").run("true", filters=["a==b"])
    definition = state.marshal(platform=AMD64)
    metadata = definition.metadata[definition.head]
    assert definition.head == plain.marshal(platform=AMD64).head
    assert metadata.description == {"llb.customname": "a name"}
    assert (metadata.ignore_cache, metadata.export_cache) == (True, False)
    assert metadata.progress_group == llb.ProgressGroup("g", "group", weak=True)
    assert metadata.resources == llb.LinuxResources(memory=7)
    assert {"meta.ignorecache", "meta.description", "meta.exportcache"} <= _caps_of_last(definition)
    assert llb.Definition.from_bytes(definition.to_bytes()) == definition


def _caps_of_last(definition):
    return set(definition.metadata["sha256:" + hashlib.sha256(definition.ops[-1]).hexdigest()].caps)


@pytest.mark.row("L16")
def test_source_maps_name_the_file_once_and_the_lines_of_each_op():
    def file():
        return llb.SourceFile("program", "Text", b"one\ntwo\n")

    state = llb.image("a", location=file().at(Range(1, 0, 1, 0)))
    definition = state.run("x", location=file().at(Range(2, 0, 2, 3))).root.marshal()
    assert definition.source is not None
    assert [f.filename for f in definition.source.files] == ["program"]
    assert definition.source.locations[definition.head] == ((0, (Range(2, 0, 2, 3),)),)
    again = llb.Definition.from_bytes(definition.to_bytes())
    assert again.to_bytes() == definition.to_bytes()


@pytest.mark.row("L18", "L206")
def test_a_local_source_without_a_session_differs_between_builds():
    def head(**options):
        return llb.local("d", **options).marshal().head

    assert head() != head()
    assert head(session="s") == head(session="s")
    assert llb.local("d").marshal(local_unique_id="u").head == llb.local("d").marshal(local_unique_id="u").head


@pytest.mark.row("L208")
def test_a_loaded_definition_marshals_to_the_same_bytes_and_can_be_built_upon():
    first = llb.image("busybox").run("one", name="n").root.marshal(platform=AMD64)
    loaded = llb.load(first)
    assert loaded.marshal(platform=AMD64).to_bytes() == first.to_bytes()
    assert loaded.run("two").root.marshal(platform=AMD64).ops[:2] == first.ops[:2]


@pytest.mark.row("L208")
def test_a_definition_with_a_dangling_input_is_refused():
    dangling = llb.image("busybox").run("one").root.marshal()
    with pytest.raises(InvalidInput, match="unknown op"):
        llb.load(llb.Definition(dangling.ops[1:], dangling.metadata))
    with pytest.raises(InvalidInput, match="not an LLB definition"):
        llb.Definition.from_bytes(b"\xff\xff")


@pytest.mark.row("L205")
def test_keys_of_maps_are_sorted_where_one_begins_like_another():
    state = llb.local("d", session="s", metadata_only=True, metadata_exceptions=["x"])
    op = state.marshal().ops[0]
    assert op.index(b"local.metadatatransfer\x12") < op.index(b"local.metadatatransferexclude")


@pytest.mark.row("L80")
def test_a_command_needs_words():
    with pytest.raises(InvalidInput, match="arguments are required"):
        llb.image("busybox").run([]).marshal()
    with pytest.raises(InvalidInput, match="can not be split"):
        llb.image("busybox").run("echo 'a")


def test_text_that_is_not_utf8_is_refused():
    with pytest.raises(InvalidInput, match="invalid UTF-8"):
        llb.image("busybox").run(["\udcff"]).marshal()


@pytest.mark.row("L207")
async def test_a_resolved_image_brings_environment_directory_and_pin():
    digest = "sha256:" + "a" * 64

    async def resolver(ref, *, platform, resolve_mode):
        return ref, digest, b'{"os":"linux","architecture":"arm64","config":{"Env":["A=1"],"WorkingDir":"/w"}}'

    state = await llb.resolved_image("busybox", resolver, pin=True)
    assert (state.settings.env["A"], state.settings.dir, state.settings.platform) == (
        "1",
        "/w",
        Platform("linux", "arm64"),
    )
    assert digest in str(state.output.vertex.identifier)


def test_a_chain_of_ten_thousand_steps_marshals():
    state = llb.scratch()
    for number in range(10_000):
        state = state.file(llb.mkdir(f"/{number}"))
    assert len(state.marshal().ops) == 10_001


@given(st.lists(st.tuples(st.sampled_from("ABCD"), st.text(max_size=3))))
def test_an_environment_keeps_the_last_value_in_the_order_of_setting(pairs):
    env, model = llb.Env(), {}
    for key, value in pairs:
        env = env.set(key, value)
        model.pop(key, None)
        model[key] = value
    assert list(env.items()) == list(model.items())


def test_dot_draws_every_op_with_its_name():
    text = llb.image("busybox").run("true", name='say "hi"').root.to_dot()
    assert text.startswith("digraph {")
    assert 'label="say \\"hi\\""' in text
    assert text.count("->") == 2


def test_dot_says_where_inputs_are_mounted_and_what_files_are_made():
    made = llb.scratch().file(llb.mkdir("/a").copy(llb.local("s"), "/b", "/c/").symlink("x", "/y").rm("/a"))
    ran = llb.image("busybox").run("make", mounts=[llb.bind("/src", made), llb.bind("/out")])
    text = llb.image("busybox").run("use", mounts=[llb.bind("/in", ran.mount("/out"))]).root.to_dot()
    assert 'label="mkdir /a, copy /b /c/, symlink /y -> x, rm /a", shape=note' in text
    assert '[label="/src"]' in text and '[label="1 /in"]' in text


@pytest.mark.row("L16")
def test_python_lines_are_shown_when_asked_for():
    state = llb.image("busybox").run("true").root
    source = state.marshal(python_lines=True).source
    assert [file.filename for file in source.files] == [__file__]
    line = source.locations[state.marshal(python_lines=True).head][0][1][0].start_line
    assert 'run("true")' in source.files[0].content.decode().splitlines()[line - 1]
    assert state.marshal().source.files == ()


def test_the_lines_of_a_notebook_are_known_and_those_of_a_prompt_are_not():
    def made_by(filename):
        names = {"__name__": "cell"}
        exec(compile("from buildkit import llb\nstate = llb.image('a')\n", filename, "exec"), names)
        (file,) = names["state"].marshal(python_lines=True).source.files
        return file

    linecache.cache["<cell 1>"] = (9, None, ["from buildkit import llb\n", "state = llb.image('a')\n"], "<cell 1>")
    assert made_by("<cell 1>").content.endswith(b"state = llb.image('a')\n")
    assert made_by("<stdin>").content == b""
    place = SourceDetail("<stdin>", b"", "Python", (Range(2, 0, 2, 0),))
    assert excerpts(InvalidInput("no", details=(place,))) == []


def test_functions_from_state_to_state_apply_in_order():
    state = llb.scratch().with_(lambda s: s.env("A", "1"), lambda s: s.dir("/one"), lambda s: s.dir("two"))
    assert state.settings.dir == "/one/two" and state.marshal().ops == llb.scratch().marshal().ops
    assert state.settings == llb.scratch().env("A", "1").dir("/one").dir("two").settings
