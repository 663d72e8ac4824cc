"""Both clients against both daemons, where PEER_BUILDCTL and PEER_BUILDKITD name the real ones: the same images."""

import json
import os
import subprocess
import sys
import tarfile

import pytest
from tests.daemon.test_command import process
from tests.kit.peers import buildkitd

OURS = [sys.executable, "-c", "import sys; from buildkit.cli.main import main; sys.exit(main())"]
THEIRS = [os.environ.get("PEER_BUILDCTL", "")]

pytestmark = [
    pytest.mark.net,
    pytest.mark.root,
    pytest.mark.skipif(not THEIRS[0], reason="no buildctl to compare with: PEER_BUILDCTL is not set"),
]

DOCKERFILES = {
    "files": "COPY hello /a/\nCOPY --chown=1:2 --chmod=600 hello /b\nWORKDIR /w\nENV A=b\n",
    "steps": "RUN mkdir -p /d/e && ln -s e /d/l && chmod 1777 /d && echo 1 > /d/e/f && ln /d/e/f /h\nRUN rm -r /d/e\n",
    "link": "COPY --link hello /x/y/\nRUN --mount=type=cache,target=/c touch /c/z && mkfifo /p\n",
    "metadata": "LABEL a=b\nEXPOSE 80\nVOLUME /v\nUSER 1:2\nCMD c\nHEALTHCHECK CMD true\nONBUILD RUN x\n",
    "stages": "RUN echo made > /made\nFROM scratch\nCOPY --from=0 /made /\n",
}


@pytest.fixture(scope="module")
def addresses(tmp_path_factory):
    folder = tmp_path_factory.mktemp("both")
    with buildkitd(folder) as theirs, process(folder, f"--addr=unix://{folder}/ours"):
        yield theirs.address, f"unix://{folder}/ours"


@pytest.mark.row("E57")
@pytest.mark.parametrize("name", DOCKERFILES)
def test_either_client_makes_the_same_of_either_daemon(addresses, name, base, tmp_path):
    (tmp_path / "hello").write_text("hello\n")
    text = DOCKERFILES[name]
    (tmp_path / "Dockerfile").write_text(f"FROM {base}\n{text}")
    made = [image(client, address, tmp_path) for client in (THEIRS, OURS) for address in addresses]
    assert made == [made[0]] * 4


def image(client, address, folder):
    """Diff ids and configuration of what a client has a daemon build."""
    target = folder / "image.tar"
    command = [*client, "--addr", address, "build", "--progress=plain", "--frontend=dockerfile.v0"]
    command += [f"--local=context={folder}", f"--local=dockerfile={folder}", "--opt=build-arg:SOURCE_DATE_EPOCH=1000"]
    command += ["--output", f"type=oci,dest={target},rewrite-timestamp=true"]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, stdin=-3)
    assert done.returncode == 0, done.stderr
    with tarfile.open(target) as tar:
        index = json.load(tar.extractfile("index.json"))
        manifest = json.load(tar.extractfile("blobs/" + index["manifests"][0]["digest"].replace(":", "/")))
        config = json.load(tar.extractfile("blobs/" + manifest["config"]["digest"].replace(":", "/")))
    target.unlink()
    return config["rootfs"]["diff_ids"], config
