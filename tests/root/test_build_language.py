"""Instructions of Dockerfiles, built for real."""

from __future__ import annotations

import io
import json
import os
import re
import tarfile

import pytest
from tests.kit.images import make_image
from tests.kit.trees import tar_of

pytestmark = pytest.mark.root


# -- RUN --


def test_shell_and_exec_forms_run(project):
    assert (
        project.text(r"""FROM base
RUN echo "shell $((1 + 1))" > /out
RUN ["/bin/sh", "-c", "echo \"exec $0\" >> /out", "zero"]
""")
        == "shell 2\nexec zero\n"
    )


def test_the_shell_can_be_changed(project):
    assert (
        project.text("""FROM base
SHELL ["/bin/sh", "-c", "echo \\"$0\\" > /out"]
RUN not a command
""")
        == "not a command\n"
    )


@pytest.mark.row("D12", "D14")
def test_heredocs_are_scripts_files_and_programs(project):
    assert project.text("""FROM base
RUN <<EOT
set -e
echo one > /out
EOT
RUN <<EOT cat >> /out
two
EOT
COPY <<three <<"$four" /d/
$HOME-expanded
three
$HOME
$four
RUN cat /d/three '/d/$four' >> /out
RUN <<-EOT
	#!/bin/awk -f
	BEGIN { print "five" >> "/out" }
	EOT
""") == "one\ntwo\n/root-expanded\n$HOME\nfive\n".replace("/root", "")


def test_a_bind_mount_shows_the_context_and_keeps_no_write(project):
    project.write(a="1", d__b="2")
    tree = project.tree("""FROM base
RUN --mount=target=/ctx cat /ctx/a /ctx/d/b > /out && ! touch /ctx/new 2>/dev/null
RUN --mount=type=bind,source=d,target=/rw,rw touch /rw/new && ls /rw >> /out
""")
    assert tree["out"].endswith(" 12b\nnew\n") and "ctx" not in tree
    assert not (project.context / "d" / "new").exists()


def test_a_cache_mount_lasts_and_is_not_in_the_image(project):
    line = "RUN --mount=type=cache,target=/c echo {} >> /c/log; cp /c/log /out\n"
    assert project.text("FROM base\n" + line.format("one")) == "one\n"
    assert project.text("FROM base\n" + line.format("two")) == "one\ntwo\n"
    assert "c/log" not in project.tree(None)


def test_a_cache_mount_takes_owner_mode_and_a_first_content(project):
    assert (
        project.text("""FROM base AS seed
RUN mkdir /s && echo seeded > /s/f
FROM base
RUN --mount=type=cache,id=x,target=/c,uid=7,gid=8,mode=0710 stat -c '%u:%g %a' /c > /out
RUN --mount=type=cache,id=y,target=/c,from=seed,source=/s cat /c/f >> /out
""")
        == "7:8 710\nseeded\n"
    )


def test_a_tmpfs_mount_is_empty_limited_and_gone(project):
    tree = project.tree("""FROM base
RUN mkdir /t && touch /t/below
RUN --mount=type=tmpfs,target=/t,size=1m ls -A /t > /out; touch /t/x; df -k /t | tail -1 | awk '{print $2}' >> /out
""")
    assert tree["out"].endswith(" 1024\n") and tree["t/below"] and "t/x" not in tree


def test_a_secret_is_seen_by_its_step_only(project):
    secret = project.folder / "secret"
    secret.write_text("silence")
    tree = project.tree(
        """FROM base
RUN --mount=type=secret,id=s,required stat -c %a /run/secrets/s > /out
RUN --mount=type=secret,id=s,env=WORD --mount=type=secret,id=s,target=/s,mode=0444,uid=5 \\
    [ "$WORD" = silence ] && [ "$(cat /s)" = silence ] && stat -c '%u %a' /s >> /out
""", "--secret", f"id=s,src={secret}")  # fmt: skip
    assert tree["out"].endswith(" 400\n5 444\n") and "silence" not in str(tree)
    assert "run/secrets" not in tree


@pytest.mark.row("L99")
def test_a_required_secret_that_is_missing_is_named(project):
    assert "secret s: not found" in project.fail(
        "FROM base\nRUN --mount=type=secret,id=s,required cat /run/secrets/s\n"
    )


def test_a_step_has_its_network_closed_or_open(project):
    assert project.text("FROM base\nRUN --network=none ls /sys/class/net > /out\n") == "lo\n"


def test_env_and_arg_reach_the_step(project):
    assert project.text("""ARG TAG=base
FROM $TAG
ARG A=1
ARG B
ENV C=$A-${B:-none} D="x y"
ENV E=${C%-*}
RUN echo "$A $B $C $D $E" > /out
""", "--build-arg", "B=two") == "1 two 1-two x y 1\n"  # fmt: skip


def test_a_build_argument_nobody_declared_does_not_reach_the_step(project):
    assert project.text('FROM base\nRUN echo "[$X]" > /out\n', "--build-arg", "X=1") == "[]\n"


def test_the_environment_gives_a_build_argument_without_a_value(project, monkeypatch):
    monkeypatch.setenv("B", "outside")
    assert project.text("FROM base\nARG B\nRUN echo $B > /out\n", "--build-arg", "B") == "outside\n"


def test_workdir_is_made_by_its_user_and_is_where_steps_run(project):
    tree = project.tree("""FROM base
WORKDIR /a
WORKDIR b
RUN pwd > out; chmod 777 /tmp
USER 65534:65534
RUN id -u > /tmp/out; id -g >> /tmp/out
WORKDIR /c/d
COPY --chown=1:2 . .
""")
    assert tree["a/b/out"].endswith(" /a/b\n") and tree["tmp/out"] == "-rw-r--r-- 65534:65534 65534\n65534\n"
    assert tree["c/d"] == "drwxr-xr-x 65534:65534" and tree["c/d/Dockerfile"].startswith("-rw-r--r-- 1:2 ")


def test_users_and_groups_are_known_by_name(project):
    assert project.text("""FROM base
RUN echo 'ann:x:1000:1001::/home/ann:/bin/sh' >> /etc/passwd; echo 'staff:x:50:ann' >> /etc/group; chmod 777 /tmp
USER ann
RUN id -u > /tmp/out; id -g >> /tmp/out; id -G >> /tmp/out; echo $HOME >> /tmp/out
""", path="tmp/out") == "1000\n1001\n1001 50\n/home/ann\n"  # fmt: skip


def test_a_failing_step_tells_its_command_and_status(project):
    ended = project.run("FROM base\nRUN echo before; exit 7\n")
    assert ended.status == 1 and " before\n" in ended.err and "Dockerfile:2" in ended.err
    assert ended.errors == [
        'error: failed to solve: process "/bin/sh -c echo before; exit 7" did not complete successfully: exit code: 7'
    ]


@pytest.mark.row("D72")
def test_steps_see_a_path_the_arguments_and_the_home_of_their_user(project):
    text = 'FROM {}\nARG A=1\nUSER {}\nRUN ["/bin/env"]\n'
    base = "base AS b\nFROM scratch\nCOPY --from=b / /"
    shown = project.build(text.format(base, "0"), "--no-cache").err
    assert "A=1" in shown and "HOME=/root" in shown
    assert "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" in shown
    account = "base\nRUN echo u:x:7:7::/at/u:/bin/sh >> /etc/passwd"
    assert "HOME=/at/u\n" in project.build(text.format(account, "u")).err


# -- COPY and ADD --


def test_copy_follows_the_rules_of_names(project):
    project.write(a="1", b="2", d__x="3", d__e__y="4")
    tree = project.tree("""FROM scratch
COPY a /renamed
COPY a b /many/
COPY d /as-content
COPY d/ /in/
COPY [\"a\", \"/json form\"]
COPY ? /glob/
COPY d*/[x] /class/
""")
    assert {path: line.split(" ", 2)[2] for path, line in tree.items() if line.startswith("-")} == {
        "renamed": "1", "many/a": "1", "many/b": "2", "as-content/x": "3", "as-content/e/y": "4", "in/x": "3",
        "in/e/y": "4", "json form": "1", "glob/a": "1", "glob/b": "2", "glob/x": "3", "glob/e/y": "4", "class/x": "3",
    }  # fmt: skip


def test_copy_sets_owner_and_mode(project):
    project.write(f="x")
    os.chmod(project.context / "f", 0o640)
    tree = project.tree("""FROM base
COPY f /plain
COPY --chown=7 f /seven
COPY --chown=nobody:nogroup --chmod=4711 f /named
COPY --chmod=u=rwX,go=r f /symbolic
""")
    found = {name: " ".join(tree[name].split(" ")[:2]) for name in ("plain", "seven", "named", "symbolic")}
    assert found == {
        "plain": "-rw-r----- 0:0", "seven": "-rw-r----- 7:7",
        "named": "-rws--x--x 65534:65534", "symbolic": "-rw-r--r-- 0:0",
    }  # fmt: skip


def test_copy_from_stages_by_name_and_number_and_from_images(project):
    assert (
        project.text("""FROM base AS one
RUN echo one > /f
FROM base
RUN echo two > /f
FROM scratch
COPY --from=one /f /d/one
COPY --from=1 /f /d/two
COPY --from=base /etc/group /d/
COPY --from=one /f /out
""")
        == "one\n"
    )


def test_linked_copies_are_layers_of_their_own(project):
    project.write(a="1", b="2")
    text = "FROM {}\nCOPY --link a /d/\nCOPY --link --chown=3 b /d/\n"
    image = project.image(text.format("base"))
    assert project.image(text.format("scratch")).diff_ids == image.diff_ids[1:]
    assert project.tree(None)["d/b"] == "-rw-r--r-- 3:3 2"


@pytest.mark.row("D87")
def test_copy_keeps_parents_and_leaves_out_what_is_excluded(project):
    project.write(x__y__a="1", x__y__b="2", x__skip__c="3", z__d="4")
    tree = project.tree("""FROM scratch
COPY --parents x/*/a x/./skip/c /p/
COPY --exclude=x/skip --exclude=**/b . /e/
""")
    files = sorted(path for path, line in tree.items() if line.startswith("-"))
    assert files == ["e/Dockerfile", "e/x/y/a", "e/z/d", "p/skip/c", "p/x/y/a"]


@pytest.mark.row("D81")
def test_sources_are_patterns_below_the_context(project):
    project.write(a1="1", a2="2", d__e="3", **{"[x]": "4"})
    text = "FROM scratch\nCOPY {} /to/\n"
    copied = {
        name: sorted(path for path in project.tree(text.format(name)) if path.startswith("to/"))
        for name in ("a?", "a[^1]", "../../../a1", "/a2", "d", "[[]x]", "n*")
    }
    assert copied == {
        "a?": ["to/a1", "to/a2"], "a[^1]": ["to/a2"], "../../../a1": ["to/a1"], "/a2": ["to/a2"], "d": ["to/e"],
        "[[]x]": ["to/[x]"], "n*": [],
    }  # fmt: skip
    assert "to" not in project.tree(text.format("n*"))
    assert re.fullmatch(
        "error: failed to solve: failed to compute cache key: failed to calculate checksum of ref \\w{25}::\\w{25}: "
        '"/none": not found',
        project.fail(text.format("none")).partition(" (")[0],
    )


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz", "w:bz2"])
def test_add_unpacks_local_archives_and_copy_does_not(project, mode):
    with tarfile.open(project.context / "a.tar", mode) as archive:
        member = tarfile.TarInfo("in/f")
        member.uid, member.mode = 9, 0o600
        archive.addfile(member)
    tree = project.tree("FROM scratch\nADD a.tar /added/\nCOPY a.tar /copied/\nADD --unpack=false a.tar /kept/\n")
    assert tree["added/in/f"] == "-rw------- 9:0 " and {"copied/a.tar", "kept/a.tar"} < set(tree)


def test_a_link_in_the_image_does_not_lead_copies_out_of_it(project):
    project.write(f="x")
    tree = project.tree("FROM base\nRUN ln -s /../../../etc /out && ln -s out/sub /two\nCOPY f /out/\nCOPY f /two/\n")
    assert tree["etc/f"] and tree["etc/sub/f"] and not os.path.lexists("/etc/f") and not os.path.lexists("/etc/sub")


@pytest.mark.row("D125")
def test_the_ignore_file_hides_files_and_excepts_some(project):
    project.put(".dockerignore", "# comment\n**/*.log\ntmp\n!tmp/keep\n.dockerignore\nDockerfile\n")
    project.write(a="", b__c="", tmp__x="", tmp__keep="")
    project.put("b/d.log")
    files = [path for path, line in project.tree("FROM scratch\nCOPY . /\n").items() if line.startswith("-")]
    assert sorted(files) == ["a", "b/c", "tmp/keep"]


@pytest.mark.row("D124")
def test_an_ignore_file_of_the_dockerfile_comes_first(project):
    project.write(a="", b="")
    project.put(".dockerignore", "a")
    project.put("other.dockerignore", "b\nother*\nDockerfile\n.docker*")
    project.put("other", "FROM scratch\nCOPY . /\n")
    assert list(project.tree(None, "-f", project.context / "other")) == ["a"]


# -- stages and images --


def test_only_the_stages_that_the_target_needs_are_built(project):
    dockerfile = "FROM base AS a\nRUN echo a > /out\nFROM base AS b\nRUN false\nFROM a AS c\nRUN echo c >> /out\n"
    assert project.text(dockerfile, "--target", "a") == "a\n"
    assert project.text(dockerfile) == "a\nc\n"


def test_triggers_run_in_the_image_that_is_made_from_theirs(project):
    project.write(f="x")
    assert (
        project.text("""FROM base AS parent
ONBUILD COPY f /f
ONBUILD RUN echo "$(cat /f) triggered" > /out
FROM parent
""")
        == "x triggered\n"
    )
    assert "OnBuild" not in project.image(None).config["config"]


def test_the_config_says_what_the_dockerfile_says(project):
    config = project.image("""FROM base
LABEL a=1 b="two words"
ENV K=v
EXPOSE 80 53/udp
VOLUME /data /more
USER 12:34
WORKDIR /w
STOPSIGNAL SIGINT
HEALTHCHECK --interval=5s --retries=2 CMD true
ENTRYPOINT ["/bin/echo"]
CMD ["hi"]
ONBUILD RUN true
""").config
    assert config["config"] == {
        "User": "12:34", "ExposedPorts": {"53/udp": {}, "80/tcp": {}}, "Env": ["PATH=/bin", "K=v"],
        "Entrypoint": ["/bin/echo"], "Cmd": ["hi"], "ArgsEscaped": True,
        "Volumes": {"/data": {}, "/more": {}}, "WorkingDir": "/w",
        "Labels": {"a": "1", "b": "two words"}, "StopSignal": "SIGINT", "OnBuild": ["RUN true"],
        "Healthcheck": {"Test": ["CMD-SHELL", "true"], "Interval": 5_000_000_000, "Retries": 2},
    }  # fmt: skip
    assert (config["os"], config["architecture"]) == ("linux", "amd64")


def test_a_named_context_replaces_an_image_a_stage_and_gives_files(project, tmp_path):
    other = make_image(tmp_path / "other", [{"f": "from layout\n"}])
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "g").write_text("from folder\n")
    project.build(
        "FROM made AS x\nFROM scratch\nCOPY --from=x /f /\nCOPY --from=more g /\n",
        *("--oci-layout", f"one={other.layout.root}", "--opt", f"context:made=oci-layout://one@{other.root.digest}"),
        *("--build-context", f"more={folder}", "-o", tmp_path / "out"),
    )
    assert (tmp_path / "out/f").read_text() == "from layout\n" and (tmp_path / "out/g").read_text() == "from folder\n"


def test_two_platforms_without_running_anything_make_an_index(project):
    project.write(f="x")
    project.build("FROM scratch\nARG TARGETARCH\nCOPY f /$TARGETARCH\n", "--platform", "linux/amd64,linux/arm64",
                  "-o", f"type=oci,dest={project.folder}/out.tar")  # fmt: skip
    with tarfile.open(project.folder / "out.tar") as tar:
        index = json.load(tar.extractfile("index.json"))["manifests"][0]
        inner = json.load(tar.extractfile("blobs/sha256/" + index["digest"][7:]))
    assert [one["platform"]["architecture"] for one in inner["manifests"]] == ["amd64", "arm64"]


def test_a_step_for_a_foreign_platform_is_refused_by_name_or_emulated(project, tmp_path):
    from buildkit.core.platform import Platform

    foreign = make_image(tmp_path / "arm", [{"bin/sh": "\x7fELF"}], platform=Platform("linux", "s390x"))
    arguments = ("--oci-layout", f"x={foreign.layout.root}", "--opt", "platform=linux/s390x")
    named = f"context:foreign=oci-layout://x@{foreign.root.digest}"
    assert "s390x" in project.fail("FROM foreign\nRUN true\n", *arguments, "--opt", named)


def test_a_syntax_line_is_answered_by_the_built_in_frontend(project):
    ended = project.build("# syntax=docker/dockerfile:1\nFROM scratch\nLABEL a=b\n")
    assert ended.err.count("built-in Dockerfile frontend") == 1
    assert "example.com/other" in project.fail("# syntax=example.com/other:1\nFROM scratch\n")


def test_add_keeps_an_archive_that_would_write_outside_in_its_place(project):
    project.put("evil.tar", tar_of(("../../evil", b"x")))
    project.put("link.tar", tar_of(("l", "-> /etc"), ("l/evil", b"x")))
    tree = project.tree("FROM base\nADD link.tar /d/\n")
    assert [path for path in tree if path.endswith("/evil")] == ["d/etc/evil"]
    assert "../../evil" in project.fail("FROM base\nADD evil.tar /d/\n")
    assert not os.path.lexists("/etc/evil")


# -- standard input --


def test_a_dockerfile_is_read_from_standard_input(project, monkeypatch):
    text = io.TextIOWrapper(io.BytesIO(b"FROM base\nCOPY f /out\n"))
    monkeypatch.setattr("sys.stdin", text)
    project.put("f", "from the context")
    assert project.text(None, "-f", "-") == "from the context"
