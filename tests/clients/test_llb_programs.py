"""Programs in LLB: either client dumps their definitions and has them built, with the same layers by either daemon."""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from tests.daemon.test_command import process
from tests.kit.peers import buildkitd
from tests.kit.projects import ImageTar

import buildkit
from buildkit import llb
from buildkit.core.errors import InvalidInput, SourceDetail, Unsupported

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples" / "llb").glob("*.py"))
GOLDEN = json.loads((ROOT / "tests" / "golden" / "llb_programs.json").read_text())
OURS = [sys.executable, "-c", "import sys; from buildkit.cli.main import main; sys.exit(main())"]
THEIRS = [os.environ.get("PEER_BUILDCTL", "")]
SOLVABLE = ("made of nothing", "made of a directory")
"""Golden programs, written by BuildKit's client, that need no image."""

pytestmark = [pytest.mark.net, pytest.mark.root]
compared = pytest.mark.skipif(not THEIRS[0], reason="no buildctl to compare with: PEER_BUILDCTL is not set")


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ours")
    with process(folder, f"--addr=unix://{folder}/s"):
        yield f"unix://{folder}/s"


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    with buildkitd(tmp_path_factory.mktemp("theirs")) as daemon:
        yield daemon.address


def run(command: list[str], stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(command, env=environ, input=stdin, capture_output=True)


def build(client: list[str], address: str, definition: bytes, folder: Path) -> ImageTar:
    """Build what is read from standard input; without an address in the command itself."""
    (folder / "src").mkdir(exist_ok=True)
    for name, content in {"greeting": "b\na\n", "README.md": "no", "secret.key": "no", "dir/greeting": "c"}.items():
        path = folder / "src" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
        os.utime(path, (7, 7))
    (folder / "token").write_text("t0k3n")
    where = ["--addr", address, "build"] if address else ["build", "--root", f"{folder}/state"]
    command = [*client, *where, "--progress=plain"]
    command += [f"--local=src={folder}/src", f"--secret=id=token,src={folder}/token"]
    output = f"type=oci,dest={folder}/image.tar,source-date-epoch=1000,rewrite-timestamp=true"
    done = run([*command, "--output", output], definition)
    assert done.returncode == 0, done.stderr.decode()
    return ImageTar(folder / "image.tar")


def written_by(example: Path, base: str) -> bytes:
    done = run([sys.executable, str(example), base])
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


@pytest.mark.row("L150", "L151", "L153", "L154", "T24")
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_built_the_same_with_and_without_a_daemon(example, ours, base, tmp_path):
    definition = written_by(example, base)
    image = build(OURS, "", definition, tmp_path)
    assert image.diff_ids and image.diff_ids == build(OURS, ours, definition, tmp_path).diff_ids


@compared
@pytest.mark.row("L1", "T24")
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_either_client_has_the_same_built_of_an_example_by_either_daemon(example, ours, theirs, base, tmp_path):
    definition = written_by(example, base)
    images = [
        build(client, address, definition, tmp_path)
        for client, address in ((OURS, ours), (THEIRS, theirs), (THEIRS, ours), (OURS, theirs))
    ]
    assert images[0].diff_ids and [image.diff_ids for image in images] == [images[0].diff_ids] * 4


@compared
@pytest.mark.parametrize("name", SOLVABLE)
def test_a_definition_of_theirs_is_built_here_and_there_with_the_same_layers(name, ours, theirs, tmp_path):
    definition = base64.b64decode(GOLDEN[name]["definition"])
    image = build(OURS, ours, definition, tmp_path)
    assert image.diff_ids == build(THEIRS, theirs, definition, tmp_path).diff_ids
    assert image.diff_ids == build(THEIRS, ours, definition, tmp_path).diff_ids


@compared
@pytest.mark.row("T67")
@pytest.mark.parametrize("form", [[], ["--dot"]], ids=["json", "dot"])
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_either_client_dumps_a_definition_of_ours_the_same(example, form):
    definition = written_by(example, "example.com/base:1")
    one, other = (run([*client, "debug", "dump-llb", *form], definition) for client in (OURS, THEIRS))
    assert one.returncode == other.returncode == 0
    assert without_links(one.stdout.decode()) == other.stdout.decode().splitlines()


@compared
@pytest.mark.row("T67")
def test_either_client_dumps_definitions_of_theirs_the_same(tmp_path, capsys):
    from buildkit.cli.main import main

    for name, known in GOLDEN.items():
        (tmp_path / "llb").write_bytes(base64.b64decode(known["definition"]))
        for form in ([], ["--dot"]):
            words = ["debug", "dump-llb", *form, str(tmp_path / "llb")]
            assert main(words) == 0
            wanted = run([*THEIRS, *words]).stdout.decode()
            assert without_links(capsys.readouterr().out) == wanted.splitlines(), name


def without_links(dumped: str) -> list[str]:
    """The lines of a dump as BuildKit writes them, which leaves symbolic links out of its JSON."""
    lines = []
    for line in dumped.splitlines():
        if line.startswith("{") and '"symlink"' in line:
            entry = json.loads(line)
            for action in entry["Op"]["Op"]["file"]["actions"]:
                action["Action"].pop("symlink", None)
            line = json.dumps(entry, separators=(",", ":"))
        lines.append(line)
    return lines


@pytest.mark.row("L16")
def test_the_error_of_a_daemon_names_the_line_of_the_program(ours, base, tmp_path):
    state = llb.image(base).run(["sh", "-c", "exit 3"]).root  # the line
    with buildkit.Client(ours) as client, pytest.raises(buildkit.BuildkitError) as caught:
        client.build(state)
    (place,) = [detail for detail in caught.value.details if isinstance(detail, SourceDetail)]
    assert place.filename == __file__
    assert ">>>     state = llb.image(base)" in caught.value.__notes__[0]
    done = run([*OURS, "--addr", ours, "build"], state.marshal(python_lines=True).to_bytes())
    assert done.returncode == 1 and ">>>     state = llb.image(base)" in done.stderr.decode()


def test_a_daemon_tells_why_steps_ran_when_it_is_asked(ours, base):
    def program(text):
        return llb.image(base).file(llb.mkfile("/a", text), name="write")

    with buildkit.Client(ours) as client:
        client.build(program("one"))
        (why,) = client.build(program("two"), explain=True).explain()
        assert (why.name, why.reason, [change.field for change in why.changes]) == ("write", "changed", ["text"])
        assert client.build(program("two"), explain=True).explain() == ()
        with pytest.raises(InvalidInput, match="build with explain=True"):
            client.build(program("two")).explain()


@compared
def test_another_daemon_refuses_to_tell_by_name(theirs):
    with buildkit.Client(theirs) as client, pytest.raises(Unsupported, match="--explain: this daemon cannot do that"):
        client.build(llb.scratch().file(llb.mkdir("/a")), explain=True)


@compared
@pytest.mark.row("A158")
def test_metadata_of_a_directory_is_the_same_file_by_either_daemon(ours, theirs, tmp_path):
    state = llb.local("src", metadata_only=True, metadata_exceptions=["*.md"])
    definition = state.marshal().to_bytes()
    trees = []
    for address in (ours, theirs, ""):
        image = build(OURS, address, definition, tmp_path)
        with tarfile.open(fileobj=io.BytesIO(image.blob(image.manifest["layers"][0]))) as tar:
            trees.append({one.name: tar.extractfile(one).read() for one in tar})
    assert trees[0] == trees[1] == trees[2]
    assert trees[0].keys() == {".fsutil-metadata", "README.md"} and b"dir/greeting" in trees[0][".fsutil-metadata"]
