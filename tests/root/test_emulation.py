"""Steps for other platforms: refused with what would help, run by what the kernel knows, run by an emulator in PATH."""

import os
import subprocess
from functools import partial

import pytest

from buildkit.core.platform import parse_platform
from buildkit.executor import tiny
from buildkit.worker.platforms import Platforms, runs_here

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("binfmt")]

DOCKERFILE = 'FROM scratch\nADD --chmod=755 program /program\nRUN ["/program", "word"]\n'
MAGIC = "".join(f"\\x{byte:02x}" for byte in tiny.exit_zero("s390x")[:20])
STARTS_ITS_ARGUMENTS = "488b7c2410 488d742410 488b0424 488d54c410 b83b000000 0f05 bf7f000000 b83c000000 0f05"


@pytest.fixture
def registered(tmp_path):
    """The kernel starts programs of s390x with one that ends well."""
    folder = tmp_path / "binfmt"
    folder.mkdir()
    interpreter = tmp_path / "interpreter"
    interpreter.write_bytes(tiny.exit_zero("amd64"))
    interpreter.chmod(0o755)
    subprocess.run(["mount", "-t", "binfmt_misc", "binfmt_misc", folder], check=True)
    try:
        (folder / "register").write_text(f":pybuildkit-test:M::{MAGIC}::{interpreter}:F")
        try:
            yield
        finally:
            (folder / "pybuildkit-test").write_text("-1")
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.row("L108")
def test_a_step_for_a_platform_that_does_not_run_here_says_what_would_help(project):
    project.put("program", tiny.exit_zero("s390x"))
    failure = project.fail(DOCKERFILE, "--platform", "linux/s390x")
    assert "exit code: 1 (linux/s390x does not run here: no emulator for it is installed; qemu-user-static" in failure


@pytest.mark.row("L108", "X71")
def test_what_the_kernel_starts_through_an_interpreter_runs(project, tmp_path, registered):
    project.put("program", tiny.exit_zero("s390x"))
    assert parse_platform("linux/s390x") in Platforms(probe=partial(runs_here, root=tmp_path / "platforms")).all()
    project.build(DOCKERFILE, "--platform", "linux/s390x")


@pytest.mark.row("L108", "X71")
def test_an_emulator_in_path_starts_the_processes_of_its_platform(project, tmp_path, monkeypatch):
    emulator = tmp_path / "bin/buildkit-qemu-s390x"
    emulator.parent.mkdir()
    emulator.write_bytes(tiny._elf("amd64", bytes.fromhex(STARTS_ITS_ARGUMENTS)))
    emulator.chmod(0o755)
    monkeypatch.setenv("PATH", f"{emulator.parent}{os.pathsep}{os.environ['PATH']}")
    dockerfile = "FROM --platform=linux/s390x base\nRUN /bin/busybox ls -l /dev/.buildkit_qemu_emulator > /out\n"
    assert "-rwxr-xr-x" in project.text(dockerfile.replace("RUN", 'SHELL ["/bin/sh", "-c"]\nRUN'))
