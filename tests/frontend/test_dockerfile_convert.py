"""Instructions become ops, settings and image config."""

import pytest
from tests.kit.conversions import Images, converted

from buildkit.core.errors import InvalidInput
from buildkit.core.platform import Platform
from buildkit.frontend.dockerfile.location import DockerfileError
from buildkit.llb.mount import Proxy


@pytest.mark.row("D50", "D53", "D60", "D173", "D174")
def test_a_small_file_pins_its_base_names_its_steps_and_writes_history():
    out = converted('FROM busybox\nRUN echo hi\nCMD ["sh"]\n')
    assert out.sources()[0].startswith("docker-image://docker.io/library/busybox:latest@sha256:")
    assert list(out.execs()[0].meta.args) == ["/bin/sh", "-c", "echo hi"]
    assert out.names[1] == "[2/2] RUN echo hi"
    assert out.history() == ["RUN /bin/sh -c echo hi # buildkit", 'CMD ["sh"]']
    assert out.config["config"]["ArgsEscaped"] is True


@pytest.mark.row("D51", "D176")
def test_scratch_gets_a_path():
    assert converted("FROM scratch\n").config["config"]["Env"][0].startswith("PATH=/usr/local/sbin")


@pytest.mark.row("D34", "D36", "D37", "D61", "D102")
def test_arguments_reach_steps_and_history_and_names_are_expanded():
    out = converted("FROM a\nARG X=1\nENV Y=$X Z=${Y:-none}\nRUN echo $Y\n", build_args={"X": "7"})
    assert list(out.execs()[0].meta.env) == ["PATH=/bin", "X=7", "Y=7", "Z=none"]
    assert out.names[-1] == "[2/2] RUN echo 7"
    assert out.history()[-1] == "RUN |1 X=7 /bin/sh -c echo $Y # buildkit"


@pytest.mark.row("D35", "D39")
def test_global_arguments_count_in_from_and_where_they_are_declared_again():
    out = converted("ARG T=v1\nFROM base:$T\nARG T\nARG TARGETARCH\nRUN echo\n")
    assert "base:v1" in out.sources()[0]
    assert list(out.execs()[0].meta.env) == ["PATH=/bin", "T=v1", "TARGETARCH=amd64"]


@pytest.mark.row("D40")
def test_proxies_are_passed_beside_the_environment():
    out = converted("FROM a\nRUN x\n", build_args={"http_proxy": "p", "NO_PROXY": "n"})
    assert (out.execs()[0].meta.proxy_env.http_proxy, out.execs()[0].meta.proxy_env.no_proxy) == ("p", "n")
    assert Proxy(http="p").http == "p"
    assert list(out.execs()[0].meta.env) == ["PATH=/bin"]


@pytest.mark.row("D52", "D38")
def test_a_stage_can_stand_on_another_in_any_case():
    out = converted("FROM a AS Base\nARG K=v\nFROM Base\nRUN x\n")
    assert list(out.execs()[0].meta.env) == ["K=v", "PATH=/bin"]


@pytest.mark.row("D54")
def test_stages_that_nobody_needs_are_left_out_and_not_resolved():
    images = Images()
    out = converted("FROM a AS one\nFROM b AS two\nRUN x\nFROM c\nCOPY --from=one /x /y\n", images=images)
    assert sorted(images.asked) == ["docker.io/library/a:latest", "docker.io/library/c:latest"]
    assert len(out.execs()) == 0


@pytest.mark.row("D55")
def test_circles_and_stages_used_too_early_are_refused():
    with pytest.raises(DockerfileError, match="circular dependency detected on stage: a"):
        converted("FROM x AS a\nCOPY --from=b / /\nFROM x AS b\nCOPY --from=a / /\n")
    with pytest.raises(DockerfileError, match='cannot copy from stage "b", it needs to be defined before'):
        converted("FROM x AS a\nCOPY --from=b / /\nFROM x AS b\n", target="a")


@pytest.mark.row("D62", "D63", "D64", "D65", "D66")
def test_mounts_of_every_type():
    out = converted(
        "FROM a\nWORKDIR /w\nRUN --mount=target=in,source=src --mount=type=cache,target=/c,uid=5 "
        "--mount=type=tmpfs,target=/t,size=1m --mount=type=secret,id=s,env=S --mount=type=ssh x\n",
        cache_namespace="ns",
    )
    run = out.execs()[0]
    found = {m.dest: m for m in run.mounts}
    assert (found["/w/in"].selector, found["/w/in"].readonly) == ("/src", True)
    assert (found["/c"].cacheOpt.ID, found["/c"].selector) == ("ns//c", "/cache")
    assert found["/t"].TmpfsOpt.size == 1 << 20
    assert (run.secretenv[0].ID, run.secretenv[0].name) == ("s", "S")
    assert found["/run/buildkit/ssh_agent.0"].SSHOpt.optional
    assert "[internal] setting cache mount permissions" in out.names


@pytest.mark.row("D68")
def test_mounts_are_below_the_working_directory_and_may_come_from_other_images():
    out = converted("FROM a\nWORKDIR /w\nRUN --mount=from=tool,target=rel --mount=from=tool,target=/abs x\n")
    assert {m.dest for m in out.execs()[0].mounts} == {"/", "/w/rel", "/abs"}
    assert out.sources()[1].startswith("docker-image://docker.io/library/tool:latest@sha256:")
    with pytest.raises(DockerfileError, match=r'invalid mount target "/"$'):
        converted("FROM a\nRUN --mount=target=/ x\n")


@pytest.mark.row("D69", "D70")
def test_a_step_may_name_its_network_and_its_security():
    text = "".join(f"RUN --network={name} x\n" for name in ("default", "none", "host"))
    assert [run.network for run in converted(f"FROM a\n{text}RUN x\n").execs()] == [0, 2, 1, 0]
    assert [run.network for run in converted(f"FROM a\n{text}RUN x\n", network="host").execs()] == [1, 2, 1, 1]
    text = "RUN --security=sandbox x\nRUN --security=insecure x\nRUN x\n"
    assert [run.security for run in converted(f"FROM a\n{text}").execs()] == [0, 1, 0]
    for flag, text in (("network", 'invalid network mode "x"'), ("security", 'security "x" is not valid')):
        with pytest.raises(DockerfileError, match=f"{text}$"):
            converted(f"FROM a\nRUN --{flag}=x y\n")


@pytest.mark.row("D13", "D14")
def test_here_documents_of_run():
    script, program, piped = converted(
        "FROM a\nRUN <<EOF\necho 1\nEOF\nRUN <<-X\n\t#!/bin/sh\n\techo 2\nX\nRUN cat <<A\nhi\nA\n"
    ).execs()
    assert list(script.meta.args) == ["/bin/sh", "-c", "echo 1\n"]
    assert list(program.meta.args) == ["/bin/sh", "-c", "/dev/pipes/X"]
    assert list(piped.meta.args) == ["/bin/sh", "-c", "cat <<A\nhi\nA"]


@pytest.mark.row("D15", "D12")
def test_here_documents_of_copy_are_files():
    out = converted("FROM a\nENV V=1\nCOPY <<one <<'two' /d/\n$V\none\n$V\ntwo\n")
    contents = {f.actions[0].mkfile.path: f.actions[0].mkfile.data for f in out.files()[:2]}
    assert contents == {"/one": b"1\n", "/two": b"$V\n"}


@pytest.mark.row("D80", "D83", "D84", "D86", "D87", "D89", "D90")
def test_copy_with_its_flags():
    out = converted("FROM a\nCOPY --chown=1:g --chmod=u+x --parents --exclude=*.md a/./b/c d/e /x/\n")
    first, second = out.files()[0].actions
    assert (first.copy.src, list(first.copy.include_patterns), list(first.copy.required_paths)) == (
        "/a", ["b/c"], ["/a/b/c"],
    )  # fmt: skip
    assert (second.copy.src, second.copy.dest, second.copy.modeStr) == ("/", "/x/", "u+x")
    assert (first.copy.owner.user.byID, first.copy.owner.group.byName.name) == (1, "g")
    assert list(first.copy.exclude_patterns) == ["*.md"]
    assert out.history() == ["COPY --parents --chown=1:g --chmod=u+x a/./b/c d/e /x/ # buildkit"]
    local = next(op.source for op in out.ops if op.source.identifier == "local://context")
    assert local.attrs["local.followpaths"] == '["a/b/c","d/e"]'


@pytest.mark.row("D85", "L155")
def test_a_linked_copy_is_made_beside_its_base_and_merged():
    out = converted("FROM a\nCOPY --link x /y\n")
    assert [op.WhichOneof("op") for op in out.ops] == ["source", "source", "file", "merge", None]
    groups = [m.progress_group for m in out.definition.metadata.values() if m.progress_group]
    assert [group.weak for group in groups] == [True, False]
    assert out.names[-1] == "[2/2] LINK COPY --link x /y"


@pytest.mark.row("D91", "D92", "D93", "D94", "D95")
def test_add_fetches_and_unpacks():
    digest = "sha256:" + "a" * 64
    out = converted(
        f"FROM a\nADD --checksum={digest} https://h/p/f.tgz /d/\nADD https://h/r.git?tag=v1#:s /g\nADD t.tar /t\n"
    )
    assert "https://h/p/f.tgz" in out.sources()
    assert "git://h/r.git#refs/tags/v1:s" in out.sources()
    assert [f.actions[0].copy.attemptUnpackDockerCompatibility for f in out.files()] == [False, False, True]


@pytest.mark.parametrize(
    ("url", "name"),
    [("http://h/a/b.tgz", "b.tgz"), ("http://h/a/", "a"), ("http://h", ""), ("http://h/.", ""), ("http://h/./", "")],
)
def test_a_file_of_the_web_is_named_by_its_path(url, name):
    (file,) = converted(f"FROM scratch\nADD {url} /d/\n").files()
    assert file.actions[0].copy.src == "/" + (name or "__unnamed__")


@pytest.mark.row("D88", "D94", "D84", "D82")
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("COPY https://h/x /", "source can't be a URL for COPY"),
        ("COPY https://h/x.git /", "source can't be a git ref for COPY"),
        ("ADD --checksum=sha256:x a /", r"checksum requires HTTP\(S\) or Git sources"),
        ("COPY --chmod=9 a /", "invalid chmod parameter: '9'. it should be octal string and between 0 and 07777"),
        ("COPY --from=7 a /", "invalid stage index 7"),
        ("STOPSIGNAL NOPE", "invalid signal: NOPE"),
        ("EXPOSE x", "invalid containerPort: x"),
        ("EXPOSE 1/x", 'invalid port: "1/x": invalid proto: x'),
        ("RUN --mount=target=/ x", 'invalid mount target "/"'),
        ("ENV A=${B:?gone}", "B: gone"),
    ],
)
def test_bad_instructions_name_their_line(line, message):
    with pytest.raises(DockerfileError, match=message) as caught:
        converted(f"FROM a\n{line}\n")
    if "--from" not in line:
        assert caught.value.locations[0][0].start_line == 2


@pytest.mark.row("D100", "D101")
def test_workdir_makes_the_directory_for_the_user():
    out = converted("FROM a\nUSER me\nWORKDIR /srv\nWORKDIR app\n")
    action = out.files()[1].actions[0].mkdir
    assert (action.path, action.owner.user.byName.name, action.makeParents) == ("/srv/app", "me", True)
    assert out.config["config"]["WorkingDir"] == "/srv/app"


@pytest.mark.row("D103", "D104", "D105", "D106", "D107", "D108", "D109", "D111", "D175")
def test_the_image_config_and_its_history():
    out = converted(
        'FROM a\nLABEL l=1\nEXPOSE 81/UDP 80-81\nVOLUME /v\nSHELL ["/bin/bash", "-c"]\nCMD run\nENTRYPOINT e\n'
        "STOPSIGNAL SIGHUP\nHEALTHCHECK --interval=90s CMD x\nMAINTAINER me\n",
        labels={"over": "2"},
    )
    config = out.config["config"]
    assert config["Labels"] == {"l": "1", "over": "2"}
    assert config["ExposedPorts"] == {"80/tcp": {}, "81/tcp": {}, "81/udp": {}}
    assert config["Cmd"] == ["/bin/bash", "-c", "run"]
    assert config["Healthcheck"] == {"Test": ["CMD-SHELL", "x"], "Interval": 90_000_000_000}
    assert out.config["author"] == "me"
    assert (
        "HEALTHCHECK {Test:[CMD-SHELL x] Interval:1m30s Timeout:0s StartPeriod:0s StartInterval:0s Retries:0}"
        in out.history()
    )


@pytest.mark.row("D110")
def test_triggers_of_the_base_image_run_first():
    images = Images({"docker.io/library/a:latest": {"OnBuild": ["RUN one", "COPY --from=b /x /y"]}})
    out = converted("FROM a\nRUN two\n", images=images)
    assert [list(e.meta.args)[-1] for e in out.execs()] == ["one", "two"]
    assert "[2/4] ONBUILD RUN one" in out.names
    assert "OnBuild" not in out.config["config"]


@pytest.mark.row("D110")
def test_a_trigger_that_copies_from_its_own_image_is_reported():
    endless = Images({"docker.io/library/a:latest": {"OnBuild": ["COPY --from=a /x /y"]}})
    with pytest.raises(DockerfileError, match="ONBUILD of image a copies from an image with the same ONBUILD"):
        converted("FROM b\nCOPY --from=a /x /y\n", images=endless)


@pytest.mark.row("D42")
def test_an_epoch_dates_history_and_directories():
    out = converted("FROM a\nWORKDIR /w\n", build_args={"SOURCE_DATE_EPOCH": "1700000000"})
    assert out.files()[0].actions[0].mkdir.timestamp == 1_700_000_000_000_000_000
    assert out.config["history"][-1]["created"] == "2023-11-14T22:13:20Z"
    with pytest.raises(DockerfileError, match="invalid SOURCE_DATE_EPOCH: soon"):
        converted("FROM a\n", build_args={"SOURCE_DATE_EPOCH": "soon"})


@pytest.mark.row("D144", "L9")
def test_no_cache_marks_the_steps_of_the_stages_named():
    out = converted("FROM x AS a\nRUN 1\nFROM a AS b\nRUN 2\n", no_cache=("B",))
    assert [m.ignore_cache for m in out.definition.metadata.values()] == [False, False, True, False]


@pytest.mark.row("D147", "D148", "D149", "D150", "D151", "D152")
def test_what_the_client_sets_for_all_steps():
    run = converted(
        "FROM a\nRUN x\n", extra_hosts=(("h", "10.0.0.1"),), shm_size=5, ulimits=(("nofile", 1, 2),),
        hostname="n", cgroup_parent="/g", network="none",
    ).execs()[0]  # fmt: skip
    assert (run.meta.hostname, run.meta.cgroupParent, run.network) == ("n", "/g", 2)
    assert (run.meta.extraHosts[0].IP, run.meta.ulimit[0].Hard) == ("10.0.0.1", 2)
    assert [m.TmpfsOpt.size for m in run.mounts if m.dest == "/dev/shm"] == [5]


@pytest.mark.row("D141")
def test_an_unknown_target_is_told_the_nearest():
    with pytest.raises(DockerfileError, match=r'target stage "bild" could not be found \(did you mean build\?\)'):
        converted("FROM a AS build\n", target="bild")


@pytest.mark.row("D71")
def test_a_step_of_the_labs_channel_may_ask_for_devices():
    text = "FROM a\nRUN --device=x --device=name=v/c=d,required y\n"
    found = converted(text, labs=True)
    asked = [one for op in found.ops for one in op.exec.cdiDevices]
    assert [(one.name, one.optional) for one in asked] == [("x", True), ("v/c=d", False)]
    with pytest.raises(DockerfileError, match=r"only supported in Dockerfile frontend 1\.14\.0-labs or later"):
        converted(text)


@pytest.mark.row("D44", "D194", "D195", "D199", "D201", "D202", "D204", "D205", "D207", "D210")
def test_build_checks_need_stages_and_variables():
    found = " ".join(
        converted(
            "FROM --platform=$TARGETPLATFORM a AS scratch\nFROM --platform=linux/arm64 a AS scratch\nWORKDIR rel\n"
            "ENV K v\nARG MY_TOKEN\nRUN a\nCMD a\nCMD $b\nEXPOSE 1/TCP\nUSER $nobody\n",
            all_stages=True,
        ).findings
    )
    for rule in (
        "UndefinedVar", "DuplicateStageName", "ReservedStageName", "WorkdirRelativePath", "SecretsUsedInArgOrEnv",
        "MultipleInstructionsDisallowed", "LegacyKeyValueFormat", "RedundantTargetPlatform", "ExposeProtoCasing",
        "FromPlatformFlagConstDisallowed",
    ):  # fmt: skip
        assert rule in found


@pytest.mark.row("D177", "L16")
def test_every_step_knows_its_lines():
    out = converted("FROM a\nRUN x \\\n  y\n")
    places = out.definition.source.locations[out.definition.head]
    assert [(r.start_line, r.end_line) for r in places[0][1]] == [(2, 2), (3, 3)]


def test_platforms_of_stages_keep_what_was_written():
    out = converted("FROM --platform=linux/arm64/v8 a\nRUN x\n", target_platform=Platform("linux", "arm64"))
    assert [op.platform.Variant for op in out.ops[:2]] == ["v8", ""]


def test_text_that_is_not_utf8_is_refused_when_marshalled():
    with pytest.raises(InvalidInput, match="invalid UTF-8"):
        converted(b"FROM a\nRUN echo \xff\n")
