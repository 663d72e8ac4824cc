from __future__ import annotations

import pytest

from buildkit.core.errors import Unsupported
from buildkit.core.platform import Platform, host_platform, parse_platform
from buildkit.worker.platforms import Platforms, levels_of, runs_here

HOST = Platform("linux", "amd64")
V2 = "cx16 lahf_lm popcnt sse4_1 sse4_2 ssse3"
V3 = V2 + " avx avx2 bmi1 bmi2 f16c fma abm movbe xsave"


@pytest.fixture
def made(tmp_path):
    """Platforms of a machine with these processor flags, where these architectures can be executed."""

    def make(*runnable, flags=V2, only=(), host=HOST):
        (tmp_path / "cpuinfo").write_text(f"processor : 0\nflags\t\t: {flags}\n")
        return Platforms(only, host=host, probe=runnable.__contains__, cpuinfo=tmp_path / "cpuinfo")

    return make


@pytest.mark.row("B71")
@pytest.mark.parametrize(
    ("flags", "levels"),
    [
        ("", []),
        (V2, ["v2"]),
        (V3, ["v2", "v3"]),
        (V3 + " avx512f avx512bw avx512cd avx512dq avx512vl", ["v2", "v3", "v4"]),
        ("avx2", []),
    ],
)
def test_levels_of_amd64_follow_the_processors_flags(flags, levels):
    assert levels_of(flags.split()) == levels


@pytest.mark.row("B70", "B71")
def test_platforms_are_listed_in_buildkits_order(made):
    found = [str(platform) for platform in made("386", "arm64", "arm").all()]
    assert found == ["linux/amd64", "linux/amd64/v2", "linux/arm64", "linux/386", "linux/arm/v7", "linux/arm/v6"]


def test_configured_platforms_are_listed_in_place_of_found_ones(made):
    assert made(only=(Platform("linux", "aarch64"),)).all() == (Platform("linux", "arm64"),)


def test_nobody_is_asked_about_the_machines_own_platform(made, monkeypatch):
    platforms = made()
    monkeypatch.setattr(platforms, "_runnable", lambda: pytest.fail("asked"))
    assert platforms.runs(HOST)
    assert platforms.emulator(HOST) is None


@pytest.mark.row("L108", "X71")
def test_an_emulator_is_looked_for_where_the_kernel_has_none(made, tmp_path, monkeypatch):
    emulator = tmp_path / "buildkit-qemu-aarch64"
    emulator.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert made().emulator(parse_platform("linux/arm64")) == str(emulator)
    assert made("arm64").emulator(parse_platform("linux/arm64")) is None
    assert made().emulator(parse_platform("linux/s390x")) is None


@pytest.mark.row("X71")
def test_levels_that_the_processor_lacks_are_refused_by_name(made):
    with pytest.raises(
        Unsupported,
        match="no support for running processes with linux/amd64/v3 platform, supported: linux/amd64, linux/amd64/v2",
    ):
        made().emulator(parse_platform("linux/amd64/v3"))
    assert made(flags=V3).emulator(parse_platform("linux/amd64/v3")) is None


@pytest.mark.root
def test_the_kernel_is_asked_by_running_a_program_even_where_a_killed_process_did(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    (root / "check").write_bytes(b"of a process that was killed")
    assert runs_here(host_platform().architecture, root)
    assert not runs_here("mips64", root)
    assert not root.exists()
