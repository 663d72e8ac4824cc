from __future__ import annotations

import ctypes
import shutil
import subprocess

import pytest

from buildkit.core.platform import host_platform
from buildkit.executor import tiny

QEMU = {"amd64": "x86_64", "386": "i386", "arm64": "aarch64", "loong64": "loongarch64"}


def run(path, program, *before):
    path.write_bytes(program)
    path.chmod(0o755)
    return subprocess.run([*before, str(path)], check=False).returncode


def test_a_program_for_this_machine_ends_with_zero(tmp_path):
    assert run(tmp_path / "p", tiny.exit_zero(host_platform().architecture)) == 0


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_programs_for_other_machines_end_with_zero_under_emulation(tmp_path, architecture):
    emulator = shutil.which(f"qemu-{QEMU.get(architecture, architecture)}-static")
    if emulator is None:
        pytest.skip("no emulator")
    assert run(tmp_path / "p", tiny.exit_zero(architecture), emulator) == 0


def test_the_filter_is_asked_by_a_call_that_costs_nothing_without_one(tmp_path):
    if host_platform().architecture not in tiny.FILTERED:
        pytest.skip("no such program")
    expected = ctypes.get_errno() if ctypes.CDLL(None, use_errno=True).unshare(0) else 0
    assert run(tmp_path / "p", tiny.ask_filter(host_platform().architecture)) == 40 + expected
