"""Which platforms run on this machine: its own, older ones of its kind, and those that the kernel can emulate."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from buildkit.core.errors import Unsupported
from buildkit.core.platform import Platform, format_platform, host_platform, normalize, rank
from buildkit.core.values import replace

EMULATOR_PREFIX = "buildkit-qemu-"
_QEMU_NAMES = {"arm64": "aarch64", "amd64": "x86_64", "386": "i386"}
_OTHERS = ("arm64", "riscv64", "ppc64", "ppc64le", "s390x", "386", "mips64le", "mips64", "loong64", "arm")
"""In the order in which BuildKit lists them."""

_LEVELS = {
    "v2": "cx16 lahf_lm popcnt sse4_1 sse4_2 ssse3",
    "v3": "avx avx2 bmi1 bmi2 f16c fma abm movbe xsave",
    "v4": "avx512f avx512bw avx512cd avx512dq avx512vl",
}
"""What each level of amd64 adds, in the words of /proc/cpuinfo."""


def levels_of(flags: Iterable[str]) -> list[str]:
    """The levels of amd64 above the first that a processor with these flags has."""
    have = set(flags)
    found: list[str] = []
    for level, needed in _LEVELS.items():
        if not have.issuperset(needed.split()):
            break
        found.append(level)
    return found


def runs_here(architecture: str, root: Path) -> bool:
    """Whether a container can execute programs of ``architecture``: asked of the kernel, in the empty root ``root``.

    That directory is made, and removed afterwards; after a kill it is used again.
    """
    from buildkit.executor import tiny

    places = (*os.get_exec_path(), "/usr/sbin", "/sbin")
    chroot = next((path for place in places if os.access(path := f"{place}/chroot", os.X_OK)), None)
    if chroot is None or os.geteuid() != 0:
        return False
    program = root / "check"
    root.mkdir(0o700, exist_ok=True)
    try:
        program.unlink(missing_ok=True)
        program.write_bytes(tiny.exit_zero(architecture))
        program.chmod(0o500)
        quiet = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1, 2)]
        pid = os.posix_spawn(chroot, ["chroot", str(root), "/check"], {}, file_actions=quiet)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    finally:
        program.unlink(missing_ok=True)
        root.rmdir()


class Platforms:
    """Asks once, when someone wants to know."""

    def __init__(
        self,
        only: Sequence[Platform] = (),
        *,
        host: Platform | None = None,
        probe: Callable[[str], bool],
        cpuinfo: Path = Path("/proc/cpuinfo"),
    ) -> None:
        """``only`` is what the worker was configured to offer, in place of what is found.

        ``probe`` tells whether an architecture `runs_here`; one call at a time.
        """
        self.host = host or host_platform()
        self._only = tuple(normalize(platform) for platform in only)
        self._probe = probe
        self._cpuinfo = cpuinfo
        self._lock = threading.Lock()
        self._found: tuple[Platform, ...] | None = None

    @property
    def first(self) -> Platform:
        """The first of `all`, at no cost."""
        return self._only[0] if self._only else self.host

    def all(self) -> tuple[Platform, ...]:
        """Every platform that a worker offers, its own first. Blocks for some milliseconds the first time."""
        return self._only or self._runnable()

    def runs(self, platform: Platform) -> bool:
        """Whether processes of ``platform`` run here without help of ours."""
        if rank(platform, self.host) is not None and platform.architecture == self.host.architecture:
            return True
        return any(rank(platform, mine) is not None for mine in self._runnable())

    def emulator(self, platform: Platform) -> str | None:
        """The program to start processes of ``platform`` with; None when they run without, or none is installed.

        Raises `Unsupported` for a level of amd64 that no emulator has.
        """
        wanted = normalize(platform)
        if self.runs(wanted):
            return None
        if wanted.architecture == "amd64" and wanted.variant not in ("", "v2"):
            have = ", ".join(format_platform(mine) for mine in self._runnable() if mine.architecture == "amd64")
            raise Unsupported(
                f"no support for running processes with {format_platform(wanted)} platform, supported: {have}"
            )
        import shutil

        return shutil.which(EMULATOR_PREFIX + _QEMU_NAMES.get(wanted.architecture, wanted.architecture))

    def _runnable(self) -> tuple[Platform, ...]:
        with self._lock:
            if self._found is None:
                self._found = tuple(self._find())
            return self._found

    def _find(self) -> list[Platform]:
        found = [self.host]
        if self.host.os != "linux":
            return found
        if self.host.architecture == "amd64":
            found += [Platform("linux", "amd64", level) for level in levels_of(self._flags())]
        elif self._probe("amd64"):
            found.append(Platform("linux", "amd64"))
        for architecture in _OTHERS:
            if architecture == self.host.architecture:
                continue
            if self._probe(architecture):
                found.append(normalize(Platform("linux", architecture)))
                if architecture == "arm":
                    found.append(Platform("linux", "arm", "v6"))
        if self.host.architecture == "arm" and self.host.variant == "v7":
            found.append(replace(self.host, variant="v6"))
        return found

    def _flags(self) -> list[str]:
        try:
            text = self._cpuinfo.read_text(errors="replace")
        except OSError:
            return []
        lines = (line.partition(":") for line in text.splitlines())
        return next((words.split() for key, _, words in lines if key.strip() == "flags"), [])
