from __future__ import annotations

import struct

import pytest

from buildkit.core.platform import host_platform
from buildkit.executor import seccomp
from buildkit.executor.seccomp import cached_program, compile_rules, default_rules

ALLOW, ERRNO_EPERM, ERRNO_ENOSYS = 0x7FFF0000, 0x50001, 0x50026
AUDIT_ARCH_X86_64 = 0xC000003E


def run_filter(program: bytes, call: int, *arguments: int) -> int:
    """What a BPF program says of a system call on amd64."""
    packet = struct.pack("<IIQ6Q", call, AUDIT_ARCH_X86_64, 0, *(*arguments, *[0] * (6 - len(arguments))))
    at, register = 0, 0
    tests = {0x10: int.__eq__, 0x20: int.__gt__, 0x30: int.__ge__, 0x40: lambda a, b: bool(a & b)}
    while True:
        code, true, false, k = struct.unpack_from("<HBBI", program, at * 8)
        at += 1
        if code == 0x20:
            register = struct.unpack_from("<I", packet, k)[0]
        elif code == 0x54:
            register &= k
        elif code == 0x05:
            at += k
        elif code & 7 == 5:
            at += true if tests[code & 0xF0](register, k) else false
        elif code == 0x06:
            return k
        else:
            raise AssertionError(hex(code))


@pytest.fixture(scope="module")
def program():
    if host_platform().architecture != "amd64":
        pytest.skip("numbers of amd64")
    made = compile_rules("amd64")
    if made is None:
        pytest.skip("no libseccomp")
    return made


@pytest.mark.row("X9")
@pytest.mark.parametrize(
    ("call", "arguments", "verdict"),
    [
        (0, (), ALLOW),  # read
        (165, (), ERRNO_EPERM),  # mount
        (272, (), ERRNO_EPERM),  # unshare
        (435, (), ERRNO_ENOSYS),  # clone3
        (56, (0x11,), ALLOW),  # clone of a plain process
        (56, (0x20000000,), ERRNO_EPERM),  # clone into a process namespace
        (135, (8,), ALLOW),  # personality
        (135, (1,), ERRNO_EPERM),
        (41, (2,), ALLOW),  # socket of AF_INET
        (41, (38,), ERRNO_EPERM),  # AF_ALG
        (41, (39,), ALLOW),
        (41, (40,), ERRNO_EPERM),  # AF_VSOCK
        (161, (), ALLOW),  # chroot
    ],
)
def test_the_compiled_filter_decides_as_the_profile_says(program, call, arguments, verdict):
    assert run_filter(program, call, *arguments) == verdict


def test_the_compiled_filter_is_as_long_as_the_one_runtimes_make(program):
    assert len(program) == 1001 * 8


def test_the_filter_is_compiled_once(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(seccomp, "compile_rules", lambda architecture: calls.append(architecture) or b"program")
    assert [cached_program(tmp_path, "amd64") for _ in range(2)] == [b"program"] * 2
    assert calls == ["amd64"]


def test_other_architectures_have_their_own_calls():
    names = {
        architecture: {n for rule in default_rules(architecture) for n in rule.names}
        for architecture in ("amd64", "arm64")
    }
    assert "arch_prctl" in names["amd64"] - names["arm64"]
    assert "cacheflush" in names["arm64"] - names["amd64"]
    assert all(" " not in name for found in names.values() for name in found)
