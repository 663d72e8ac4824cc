"""What somebody is told whose build cannot work: one line that names the thing, and nothing of our insides."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import random
import socket
import stat

import pytest
import zstandard
from tests.kit.images import layer_tar, make_image
from tests.kit.projects import Project, command, mounts_below

from buildkit.fs.mount import Mount, mounted

pytestmark = pytest.mark.root


# -- names that are not there --


def test_a_missing_file_is_named_with_its_neighbours(project):
    project.put("server.py")
    error = project.fail("FROM scratch\nCOPY servr.py /\n")
    assert '"/servr.py": not found' in error and "server.py" in error


def test_a_file_hidden_by_the_ignore_file_is_named_with_the_rule(project):
    project.put(".dockerignore", "# secrets\n*.key\n")
    project.put("my.key")
    error = project.fail("FROM scratch\nCOPY my.key /\n")
    assert "my.key" in error and "*.key" in error and ".dockerignore" in error


def test_an_unknown_stage_is_answered_with_the_nearest(project):
    text = "FROM base AS compile\nFROM scratch\nCOPY --from=compil /f /\n"
    assert "compile" in project.fail(text, "--target", "complie")


@pytest.mark.parametrize(
    ("line", "meant"),
    [("COPY --chwon=1 a /", "chown"), ("RUNN true", "RUN"), ("RUN --mount=type=cahce,target=/x true", "cache")],
)
def test_a_misspelt_word_is_answered_with_the_nearest(project, line, meant):
    ended = project.run(f"FROM base\n{line}\n")
    assert ended.status == 1 and meant in ended.errors[0] and "Dockerfile:2" in ended.err, ended.err


def test_a_syntax_error_points_to_its_line(project):
    ended = project.run("FROM base\n\nENV\n")
    assert ended.status == 1 and "Dockerfile:3" in ended.err and ">>> ENV" in ended.err
    assert len(ended.errors) == 1 and "ENV" in ended.errors[0]


def test_a_misspelt_flag_of_the_command_is_bad_usage(project):
    ended = project.run("FROM scratch\n", "--tagret", "x")
    assert (ended.status, ended.err) == (2, "error: unknown flag --tagret; did you mean --target?\n")


def test_a_missing_dockerfile_is_named(project):
    assert "Dockerfile" in project.fail(None)


# -- registries and images --


def test_an_unreachable_registry_is_named(project):
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{one.getsockname()[1]}"
        error = project.fail(f"FROM {host}/app:1\n")
    assert f"{host}/app:1" in error and "refused" in error


def layout_build(project: Project, image, dockerfile="FROM x\nRUN true\n"):
    given = f"context:x=oci-layout://x@{image.root.digest}"
    return dockerfile, "--oci-layout", f"x={image.layout.root}", "--opt", given


def damage(image, content):
    image.layout.path(image.layers[0].digest).write_bytes(content)


def test_a_layer_of_other_content_is_refused(project, tmp_path):
    image = make_image(tmp_path / "x")
    damage(image, os.urandom(image.layers[0].size))
    assert image.layers[0].digest in project.fail(*layout_build(project, image))


def test_a_truncated_layer_is_refused(project, tmp_path):
    image = make_image(tmp_path / "x")
    path = image.layout.path(image.layers[0].digest)
    path.write_bytes(path.read_bytes()[:-10])
    assert image.layers[0].digest in project.fail(*layout_build(project, image))


def test_a_base_layer_cannot_write_outside(project, tmp_path):
    layers = [{"l": ("link", "../../../../../../../tmp"), "l/evil-layer": "x"}]
    project.run(*layout_build(project, make_image(tmp_path / "x", layers), "FROM x\nCOPY --from=x / /y\n"))
    assert not os.path.lexists("/tmp/evil-layer")


def test_a_base_layer_with_a_name_that_escapes_is_refused_or_confined(project, tmp_path):
    image = make_image(tmp_path / "x", [{"../../../../../../evil-name": "x"}])
    ended = project.run(*layout_build(project, image, "FROM x\nCOPY Dockerfile /d\n"))
    assert not os.path.lexists("/evil-name") and "Traceback" not in ended.err
    assert ended.status == 0 or "evil-name" in ended.errors[0]


# -- hostile contexts --


def test_a_link_in_the_context_shows_nothing_of_the_host(project):
    os.symlink("/etc/passwd", project.context / "passwd")
    os.symlink("/etc", project.context / "loop")
    assert "not found" in project.fail("FROM scratch\nCOPY passwd /p\n")
    assert "not found" in project.fail("FROM scratch\nCOPY loop/passwd /p\n")
    tree = project.tree("FROM scratch\nCOPY . /\n")
    assert tree["passwd"].endswith("-> /etc/passwd") and tree["loop"].endswith("-> /etc")


def test_a_dockerfile_that_is_a_link_to_the_host_is_not_read(project):
    os.symlink("/etc/passwd", project.context / "Dockerfile")
    ended = project.run(None)
    assert ended.status == 1 and "root:" not in ended.err


def test_special_files_of_the_context_are_copied_as_buildkit_does(project):
    os.mkfifo(project.context / "pipe")
    os.mknod(project.context / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    os.chmod(project.put("suid"), 0o4755)
    with socket.socket(socket.AF_UNIX) as one:
        os.chdir(project.context)
        one.bind("socket")
    tree = project.tree("FROM scratch\nCOPY . /\n")
    assert tree["suid"].startswith("-rwsr-xr-x") and "socket" not in tree
    assert tree["pipe"][0] == "p" and tree["null"][0] == "c"


def test_a_bad_rule_of_the_ignore_file_is_named_with_its_line(project):
    project.put(".dockerignore", "*.log\n\n[z-a\n")
    error = project.fail("FROM scratch\nCOPY . /\n")
    assert "failed parsing .dockerignore: ignore file line 3: syntax error in pattern '[z-a'" in error


@pytest.mark.parametrize("content", [b"\0\1\2\xff" * 1000, b"FROM base\nRUN echo \xff\xfe \\\n", b"\xef\xbb\xbfFROM"])
def test_garbage_in_place_of_a_dockerfile_is_refused(project, content):
    assert len(project.fail(content)) < 2000


def test_random_bytes_in_place_of_a_dockerfile_are_refused(project):
    chance = random.Random(1)
    for _ in range(20):
        assert len(project.fail(b"FROM scratch\n" + chance.randbytes(300))) < 2000


def test_a_line_of_ten_megabytes_gets_an_answer(project):
    ended = project.run(b"FROM base\nRUN : " + b"x" * 10_000_000 + b"\n")
    assert ended.status == 1 and len(ended.err) < 10_000 and "Traceback" not in ended.err


# -- the disk --


def test_a_full_disk_is_named_and_a_later_build_works(tmp_path, busybox):
    project = Project(tmp_path, busybox)
    (tmp_path / "state").mkdir()
    with mounted([Mount("tmpfs", "tmpfs", options=("size=24m",))], str(tmp_path / "state")):
        error = project.fail("FROM base\nRUN dd if=/dev/zero of=/big bs=1M count=64\n")
        assert "exit code" in error or "No space left" in error
        project.put("big", os.urandom(30_000_000))
        assert "no space left" in project.fail("FROM scratch\nCOPY big /\n")
        assert project.text("FROM base\nRUN echo fine > /out\n") == "fine\n"
    assert mounts_below(tmp_path) == []


def test_a_disk_that_builds_have_filled_to_the_brim_is_pruned(tmp_path, busybox):
    project = Project(tmp_path, busybox)
    (tmp_path / "state").mkdir()
    with mounted([Mount("tmpfs", "tmpfs", options=("size=24m",))], str(tmp_path / "state")):
        for number in range(3):
            project.run(f"FROM base\nRUN echo {number} && cat /dev/zero > /big; true\n")
        assert "no space left" in project.fail("FROM base\nRUN echo fine > /out\n")
        assert project.du().status == 0
        assert command("prune", "--all", "--root", tmp_path / "state").status == 0
        assert project.text("FROM base\nRUN echo fine > /out\n") == "fine\n"


def test_a_state_folder_that_is_a_mount_stays_mounted_after_a_kill(tmp_path, busybox):
    project = Project(tmp_path, busybox)
    (tmp_path / "state").mkdir()
    with mounted([Mount("tmpfs", "tmpfs")], str(tmp_path / "state")):
        with project.start("FROM base\nRUN sleep 100\n") as process:
            next(line for line in process.stderr if "RUN sleep" in line)
            process.kill()
        assert project.text("FROM base\nRUN echo fine > /out\n") == "fine\n"
        assert (tmp_path / "state").is_mount()


def test_an_output_that_cannot_be_written_is_named(project):
    assert "/dev/full" in project.fail("FROM base\n", "-o", "type=tar,dest=/dev/full")
    assert "no-such" in project.fail("FROM base\n", "-o", "type=oci,dest=/no-such/out.tar")


def test_debug_shows_the_traceback(project):
    ended = command("--debug", *project.arguments("FROM\n"))
    assert ended.status == 1 and "Traceback" in ended.err and ended.errors


def test_a_passwd_that_is_a_directory_is_named(project):
    error = project.fail("FROM base\nRUN rm /etc/passwd && mkdir /etc/passwd\nRUN true\n")
    assert "/etc/passwd is not a regular file" in error


@pytest.mark.parametrize("kind", ["gzip", "bz2", "xz", "zstd", "layer"])
def test_an_archive_that_unpacks_to_more_than_the_disk_holds_is_named_and_leaves_nothing(tmp_path, busybox, kind):
    project = Project(tmp_path, busybox)
    (tmp_path / "state").mkdir()
    bomb = layer_tar({"big": bytes(64 << 20)})
    dockerfile, more = "FROM scratch\nADD bomb.tar /\n", ()
    if kind == "layer":
        image = make_image(tmp_path / "x", [{"big": bytes(64 << 20)}])
        dockerfile, *more = layout_build(project, image, "FROM x\nCOPY Dockerfile /\n")
    else:
        packers = {"gzip": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zstd": zstandard.compress}
        project.put("bomb.tar", packers[kind](bomb))
    with mounted([Mount("tmpfs", "tmpfs", options=("size=24m",))], str(tmp_path / "state")):
        before = set(os.listdir(tmp_path))
        assert "no space left" in project.fail(dockerfile, "-o", f"type=tar,dest={tmp_path}/o", *more).lower()
        assert set(os.listdir(tmp_path)) == before
        assert project.text("FROM base\nRUN echo fine > /out\n") == "fine\n"
    assert mounts_below(tmp_path) == []
