"""Docker's own commands with our daemon as their builder, and Docker's BuildKit beside ours."""

import contextlib
import fcntl
import json
import os
import re
import struct
import subprocess
import sys
import tarfile
import termios

import pytest
from tests.daemon.test_command import process
from tests.kit.docker import BUILDX, COMPOSE, CONTAINERD, DOCKER, DOCKERD, builder_of, dockerd

pytestmark = [
    pytest.mark.net,
    pytest.mark.root,
    pytest.mark.xdist_group("docker"),
    pytest.mark.skipif(not (BUILDX and DOCKER and DOCKERD and CONTAINERD), reason="Docker is not there"),
]


PROGRAM = "import sys; from buildkit.cli.main import main; sys.exit(main())"


class Desk:
    """Docker's commands, with our daemon as the builder that they use."""

    def __init__(self, folder, docker_socket, builder, base):
        self.folder = folder
        self.base = base
        self.docker_socket = docker_socket
        self.builder = builder
        plugins = folder / "docker/cli-plugins"
        plugins.mkdir(parents=True)
        newest = BUILDX.get("sid") or next(iter(BUILDX.values()))
        for name, program in (("docker-buildx", newest), ("docker-compose", COMPOSE)):
            if program:
                (plugins / name).symlink_to(program)
        self.environ = {
            **os.environ,
            "DOCKER_HOST": f"unix://{docker_socket}",
            "DOCKER_CONFIG": str(folder / "docker"),
            "BUILDX_CONFIG": str(folder / "buildx"),
        }
        self("buildx", "create", "--name", "ours", "--use", "--driver", "remote", f"unix://{builder}")
        self.environ["BUILDX_BUILDER"] = "ours"

    def __call__(self, *words, status=0, folder=None):
        command = [DOCKER, *map(str, words)]
        place = folder or self.folder
        done = subprocess.run(command, env=self.environ, capture_output=True, text=True, cwd=place, stdin=-3)
        assert done.returncode == status, done.stderr + done.stdout
        return done.stdout


@pytest.fixture(scope="module")
def desk(tmp_path_factory, registry_host, base):
    folder = tmp_path_factory.mktemp("desk")
    flags = (f"--addr=unix://{folder}/s", "--allow-insecure-entitlement=network.host")
    with dockerd(folder, registry_host) as docker_socket, process(folder, *flags):
        yield Desk(folder, docker_socket, f"{folder}/s", base)


@pytest.fixture
def project(tmp_path, base):
    def write(text, **files):
        (tmp_path / "Dockerfile").write_text(text.replace("BASE", base))
        for name, content in files.items():
            (tmp_path / name).write_text(content)
        return tmp_path

    return write


@pytest.mark.row("A133", "Z55")
def test_our_client_drives_the_builder_inside_docker(desk, project, tmp_path):
    folder = project("FROM scratch\nCOPY hello /greeting\n", hello="hello\n")
    words = ["--addr", f"dockerd://{desk.docker_socket}", "build", "--frontend=dockerfile.v0"]
    words += [f"--local=context={folder}", f"--local=dockerfile={folder}", f"--output=type=local,dest={tmp_path}/out"]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words], env=environ, capture_output=True, text=True, stdin=-3
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out/greeting").read_text() == "hello\n"
    assert "greeting" in desk("buildx", "--builder", "default", "du", "--verbose")


@pytest.mark.row("Z26")
def test_an_image_is_loaded_into_docker(desk, project):
    folder = project('FROM BASE\nCOPY hello /\nCMD ["cat", "/hello"]\n', hello="hello\n")
    desk("buildx", "build", "--load", "-t", "loaded:1", folder)
    [found] = json.loads(desk("image", "inspect", "loaded:1"))
    assert found["Config"]["Cmd"] == ["cat", "/hello"]


@pytest.mark.row("E42")
def test_an_image_is_loaded_into_the_docker_of_a_context(desk, project, monkeypatch):
    desk("context", "create", "there", "--docker", f"host=unix://{desk.docker_socket}")
    folder = project("FROM BASE\nCOPY hello /\nLABEL loaded=there\n", hello="hello\n")
    with monkeypatch.context() as patch:
        patch.setitem(desk.environ, "DOCKER_HOST", "unix:///nowhere")
        desk("buildx", "build", "-o", "type=docker,context=there,name=there:1", folder)
    assert json.loads(desk("image", "inspect", "there:1"))[0]["Config"]["Labels"] == {"loaded": "there"}


@pytest.mark.row("Z54")
def test_a_builder_may_load_what_nobody_sends_elsewhere(desk, project):
    words = ("--driver", "remote", "--driver-opt", "default-load=true")
    desk("buildx", "create", "--name", "loading", *words, f"unix://{desk.builder}")
    folder = project("FROM BASE\nCOPY hello /\nLABEL loaded=alone\n", hello="hello\n")
    desk("buildx", "--builder", "loading", "build", "-t", "alone:1", folder)
    assert json.loads(desk("image", "inspect", "alone:1"))[0]["Config"]["Labels"] == {"loaded": "alone"}


def test_an_image_is_written_for_docker_and_loaded_from_the_file(desk, project, tmp_path):
    folder = project("FROM scratch\nCOPY hello /\nLABEL from=file\n", hello="hello\n")
    desk("buildx", "build", "-o", f"type=docker,dest={tmp_path}/image.tar,name=filed:1", folder)
    desk("load", "-i", tmp_path / "image.tar")
    assert json.loads(desk("image", "inspect", "filed:1"))[0]["Config"]["Labels"] == {"from": "file"}


@pytest.mark.row("Z23", "Z37")
def test_an_image_is_pushed_and_inspected_in_the_registry(desk, project, registry_host, tmp_path):
    folder = project("FROM BASE\nCOPY hello /\n", hello="hello\n")
    name, notes = f"{registry_host}/pushed:1", tmp_path / "notes.json"
    desk("buildx", "build", "--push", "-t", name, "--metadata-file", notes, folder)
    digest = json.loads(notes.read_text())["containerimage.digest"]
    shown = desk("buildx", "imagetools", "inspect", name)
    assert f"Digest:    {digest}" in shown
    provenance = json.loads(desk("buildx", "imagetools", "inspect", name, "--format", "{{json .Provenance}}"))
    assert "buildDefinition" in json.dumps(provenance)


def test_steps_have_secrets_agents_and_mounts_of_the_client(desk, project, tmp_path):
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    folder = project(
        """
        FROM BASE AS made
        RUN --mount=type=secret,id=word,target=/word --mount=type=ssh --mount=type=bind,target=/src \\
            --mount=type=cache,target=/cache \\
            mkdir /out && cp /word /out/word && test -S "$SSH_AUTH_SOCK" && cp /src/hello /out/ && touch /cache/x
        FROM scratch
        COPY --from=made /out /
        """,
        hello="hello\n",
        word="hush",
    )
    flags = ["--secret", f"id=word,src={folder}/word", "--ssh", f"default={key}", "-o", tmp_path / "out"]
    desk("buildx", "build", *flags, folder)
    assert (tmp_path / "out/word").read_text() == "hush"
    assert (tmp_path / "out/hello").read_text() == "hello\n"


@pytest.mark.row("Z28")
def test_bake_builds_three_targets(desk, project, tmp_path):
    folder = project("FROM BASE AS one\nRUN touch /1\nFROM one AS two\nRUN touch /2\nFROM two AS three\nRUN touch /3\n")
    targets = {
        name: {"context": str(folder), "target": name, "output": [f"type=tar,dest={name}.tar"]}
        for name in ("one", "two", "three")
    }
    (folder / "bake.json").write_text(json.dumps({"group": {"default": {"targets": list(targets)}}, "target": targets}))
    desk("buildx", "bake", "-f", "bake.json", "--allow=fs=*", folder=folder)
    for number, name in enumerate(targets, 1):
        with tarfile.open(folder / f"{name}.tar") as tar:
            assert {one for one in tar.getnames() if one.isdigit()} == set("123"[:number])


@pytest.mark.skipif(not COMPOSE, reason="docker-compose is not there")
def test_compose_builds_its_services(desk, project):
    folder = project("FROM BASE\nARG WORD\nRUN echo $WORD > /word\nLABEL word=$WORD\n")
    (folder / "compose.yaml").write_text(
        "services:\n  web:\n    image: web:1\n    build:\n      context: .\n      args: {WORD: hello}\n"
    )
    desk("compose", "build", folder=folder)
    assert json.loads(desk("image", "inspect", "web:1"))[0]["Config"]["Labels"]["word"] == "hello"


def test_the_builder_is_inspected_measured_and_freed(desk, project):
    desk("buildx", "build", project("FROM BASE\nRUN touch /x\n"))
    assert "running" in desk("buildx", "inspect", "--bootstrap")
    assert "Total:" in desk("buildx", "du")
    desk("buildx", "prune", "--all", "--force")
    assert "Reclaimable:\t0B" in desk("buildx", "du")


DOCKERFILES = {
    "files": "FROM BASE\nCOPY hello /a/\nCOPY --chown=1:2 --chmod=600 hello /b\nWORKDIR /w\n",
    "stages": "FROM BASE AS one\nRUN echo 1 > /one && chmod 700 /one\nFROM scratch\nCOPY --from=one /one /\nENV A=b\n",
    "links": "FROM BASE\nRUN mkdir /d && ln -s d /l && ln /bin/busybox /d/hard && rm /bin/busybox\n",
    "heredoc": "FROM BASE\nCOPY <<one <<two /t/\n1\none\n2\ntwo\nRUN <<end\nset -e\ntouch -d @0 /x\nend\n",
}


@pytest.fixture(scope="module")
def oracle(desk):
    with builder_of(desk.docker_socket, desk.folder) as address:
        desk("buildx", "create", "--name", "theirs", "--driver", "remote", address)
        yield address


@pytest.mark.row("E57")
@pytest.mark.parametrize("name", DOCKERFILES)
def test_the_same_dockerfile_gives_the_same_layers_as_dockers_buildkit(desk, oracle, project, tmp_path, name):
    folder = project(DOCKERFILES[name], hello="hello\n")
    made = []
    for number, address in enumerate((f"unix://{desk.builder}", oracle)):
        target = tmp_path / f"{number}.tar"
        output = f"type=oci,dest={target},rewrite-timestamp=true"
        buildctl(address, folder, "--opt=build-arg:SOURCE_DATE_EPOCH=1000", "--output", output)
        made.append(layers(target))
    assert made[0] == made[1]


def buildctl(address, folder, *words, progress="plain", status=0):
    """Our client against a daemon; gives what it said."""
    command = [sys.executable, "-c", PROGRAM, "--addr", address, "build", "--progress", progress]
    command += ["--frontend=dockerfile.v0", f"--local=context={folder}", f"--local=dockerfile={folder}"]
    command += ["--opt=force-network-mode=host", "--allow=network.host", *words]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    if progress != "tty":
        done = subprocess.run(command, env=environ, capture_output=True, text=True, stdin=-3)
        assert done.returncode == status, done.stderr
        return done.stderr
    screen, terminal = os.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 120, 0, 0))
    with subprocess.Popen(command, env=environ, stdin=-3, stdout=-3, stderr=terminal) as running:
        os.close(terminal)
        shown = b""
        with contextlib.suppress(OSError), os.fdopen(screen, "rb", buffering=0) as file:
            while content := file.read(65536):
                shown += content
    assert running.returncode == status, shown
    return shown.decode()


def layers(archive):
    """Diff ids and configuration of an image."""
    with tarfile.open(archive) as tar:
        index = json.load(tar.extractfile("index.json"))
        manifest = json.load(tar.extractfile("blobs/" + index["manifests"][0]["digest"].replace(":", "/")))
        config = json.load(tar.extractfile("blobs/" + manifest["config"]["digest"].replace(":", "/")))
    return config["rootfs"]["diff_ids"], config["config"]


@pytest.mark.parametrize("progress", ["plain", "tty"])
def test_progress_of_both_daemons_reads_the_same(desk, oracle, project, tmp_path, progress):
    folder = project("FROM BASE AS one\nRUN echo said && echo $RANDOM > /x\nFROM scratch\nCOPY --from=one /x /\n")
    said = []
    for number, address in enumerate((f"unix://{desk.builder}", oracle)):
        flags = ("--no-cache", "--output", f"type=local,dest={tmp_path}/{number}")
        said.append(steps(buildctl(address, folder, *flags, progress=progress)))
    assert said[0] == said[1]
    assert "[one 2/2] RUN echo said && echo $RANDOM > /x" in said[0]


def steps(text):
    """The names of steps that were shown in the end, whatever their times, numbers and order."""
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\r", "", text).rpartition("[+] Building")[2]
    return set(
        re.findall(r"(?:#\d+ |=> (?:CACHED )?)(\[(?:internal|one|stage-1)[^\n]*?)\s*(?:[\d.]+s)?$", plain, re.MULTILINE)
    )


def test_a_failing_step_is_told_the_same_by_both_daemons(desk, oracle, project):
    folder = project("FROM BASE\nRUN echo before && exit 3\n")
    said = [buildctl(address, folder, status=1) for address in (f"unix://{desk.builder}", oracle)]
    told = [text[text.index("Dockerfile:2") :] for text in said]
    assert told[0] == told[1] and "exit code: 3" in told[0]
