"""The command with the real engine behind it."""

from __future__ import annotations

import io
import json
import tarfile

import pytest
from tests.kit.trees import listing

from buildkit import llb
from buildkit.cli.main import main

pytestmark = pytest.mark.root


class Stdin:
    def __init__(self, content):
        self.buffer = io.BytesIO(content)

    def isatty(self):
        return False


@pytest.fixture
def command(monkeypatch, tmp_path):
    """Runs ``buildctl`` on LLB with a state directory of its own; gives the exit status."""
    monkeypatch.chdir(tmp_path)

    def run(name, *arguments, state=None, root="state"):
        content = b"" if state is None else state.marshal().to_bytes()
        monkeypatch.setattr("sys.stdin", Stdin(content))
        return main([name, "--root", root, *arguments])

    return run


def hello():
    return llb.scratch().file(llb.mkfile("/f", b"hello\n")).file(llb.mkdir("/d"))


@pytest.mark.row("T24", "T30", "E2", "E151")
def test_llb_becomes_an_archive_and_metadata(command, tmp_path, capsys):
    output = "type=oci,dest=out.tar,name=foo:x"
    assert command("build", "--progress", "plain", "-o", output, "--metadata-file", "m.json", state=hello()) == 0
    metadata = json.loads((tmp_path / "m.json").read_text())
    with tarfile.open(tmp_path / "out.tar") as tar:
        index = json.load(tar.extractfile("index.json"))
    assert index["manifests"][0]["digest"] == metadata["containerimage.digest"]
    assert metadata["image.name"] == "docker.io/library/foo:x"
    assert "exporting to oci image format" in capsys.readouterr().err


def test_two_clean_builds_give_the_same_archive(command, tmp_path):
    for name in ("one", "two"):
        assert command("build", "-o", f"type=oci,dest={name}.tar", "--progress=quiet", state=hello(), root=name) == 0
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()


def test_several_outputs_are_written_at_once(command, tmp_path):
    outputs = ("-o", "type=local,dest=out", "-o", "type=tar,dest=out.tar", "-o", "type=docker,dest=d.tar")
    assert command("build", *outputs, "--progress=quiet", state=hello()) == 0
    assert listing(tmp_path / "out") == {"d": "d", "f": "hello\n"}
    with tarfile.open(tmp_path / "out.tar") as tar:
        assert tar.getnames() == ["d", "f"]
    assert tarfile.is_tarfile(tmp_path / "d.tar")


@pytest.mark.row("T60", "T63")
def test_the_state_is_shown_and_pruned(command, capsys):
    assert command("build", "--progress=quiet", state=hello()) == 0
    assert command("du") == 0
    shown = capsys.readouterr().out
    assert shown.startswith("ID\t") and "\nTotal:" in shown and len(shown.splitlines()) > 3
    assert command("prune", "--all") == 0 and command("du") == 0
    assert capsys.readouterr().out.endswith("Reclaimable:\t0B\nTotal:\t\t0B\n")


def test_a_bad_output_fails_before_anything_runs(command, tmp_path, capsys):
    assert command("build", "-o", "type=oci,dest=x.tar,compression=lzma", "--progress=plain", state=hello()) == 1
    assert capsys.readouterr().err == "error: failed to solve: unsupported compression type lzma\n"
    assert not (tmp_path / "x.tar").exists()
