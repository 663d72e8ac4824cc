"""Which OCI runtime works here: found by running a container of one instruction, and remembered until the next boot."""

from __future__ import annotations

import base64
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from buildkit.core.errors import FailedPrecondition
from buildkit.core.platform import host_platform
from buildkit.core.values import dataclass
from buildkit.executor import seccomp, tiny
from buildkit.executor.executor import Process
from buildkit.executor.settings import RUNTIMES
from buildkit.executor.spec import Place, make_spec
from buildkit.executor.user import Identity

_BPF_ANNOTATION = "run.oci.seccomp_bpf_data"
_OF_SERVICES = frozenset(("NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID"))
_REFUSED = 41
"""What the probe ends with when the filter refuses its call."""

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Runtime:
    """A runtime that has run a container here. ``compiled``: it takes the system call filter as BPF."""

    path: str
    compiled: bool

    def command(self, state: Path, log: Path, *words: str, log_format: str = "text") -> list[str]:
        """The argument vector of a call. What a runtime says of a program it cannot start is for the user to read."""
        return [self.path, "--root", str(state), "--log", str(log), "--log-format", log_format, *words]


@dataclass(frozen=True, slots=True)
class Filter:
    """The system call filter in the form that the runtime takes: a part of the spec, or an annotation."""

    seccomp: dict[str, object] | None
    annotations: dict[str, str] | None


def make_filter(directory: Path, *, compiled: bool) -> Filter | None:
    """The default filter; None when it cannot be had in compiled form."""
    architecture = host_platform().architecture
    if not os.path.exists("/proc/sys/kernel/seccomp/actions_avail"):
        return None if compiled else Filter(None, None)
    if not compiled:
        return Filter(seccomp.spec_of(architecture), None)
    if architecture not in tiny.FILTERED:
        return None
    program = seccomp.cached_program(directory, architecture)
    if program is None:
        return None
    return Filter(None, {_BPF_ANNOTATION: base64.b64encode(program).decode("ascii")})


def runtime_environ(directory: Path) -> dict[str, str]:
    """This process's variables without those that make a runtime carry a service manager's sockets inside.

    Runtimes that copy themselves do it in ``directory``, the bundle's, with which goes what a kill left.
    """
    environ = {name: value for name, value in os.environ.items() if name not in _OF_SERVICES}
    return environ | {"_LIBCONTAINER_STATEDIR": str(directory.absolute())}


class Probe:
    """Tries the runtimes of this machine in a directory of its own."""

    def __init__(self, directory: Path, candidates: Sequence[str] = RUNTIMES) -> None:
        self._directory = directory
        self._found = tuple(path for name in candidates if (path := shutil.which(name)) is not None)
        self._candidates = tuple(candidates)
        self._remembered = directory / "runtime.json"
        self._key = self._make_key()

    def recall(self) -> Runtime | None:
        """What an earlier process found out since this machine started, if the programs are the same."""
        try:
            known = json.loads(self._remembered.read_bytes())
        except (OSError, ValueError):
            return None
        if not isinstance(known, dict) or known.get("key") != self._key:
            return None
        return Runtime(str(known["path"]), bool(known["compiled"]))

    def find(self) -> Runtime:
        """Try each candidate, with the compiled filter first; called inside of the enclosure.

        Raises `FailedPrecondition` with what each of them said.
        """
        complaints: list[str] = []
        for candidate in self._attempts():
            complaint = self._try(candidate)
            if complaint is None:
                self._remember(candidate)
                return candidate
            complaints.append(f"{os.path.basename(candidate.path)}: {complaint}")
        if not complaints:
            raise FailedPrecondition(
                f"no container runtime found: install one of {', '.join(self._candidates)} or add it to PATH"
            )
        raise FailedPrecondition("no container runtime works here: " + "; ".join(dict.fromkeys(complaints)))

    def _attempts(self) -> Iterator[Runtime]:
        for path in self._found:
            if os.path.basename(path) == "crun":
                yield Runtime(path, compiled=True)
            yield Runtime(path, compiled=False)

    def _try(self, runtime: Runtime) -> str | None:
        """Run the filter probe in a container; None when it behaved, else what went wrong."""
        filter = make_filter(self._directory, compiled=runtime.compiled)
        if filter is None:
            return "no compiled system call filter"
        architecture = host_platform().architecture
        filtered = architecture in tiny.FILTERED and (filter.seccomp or filter.annotations) is not None
        program = tiny.ask_filter(architecture) if filtered else tiny.exit_zero(architecture)
        bundle = self._directory / f"probe-{os.getpid()}"
        shutil.rmtree(bundle, ignore_errors=True)
        root = bundle / "rootfs"
        root.mkdir(parents=True)
        try:
            (root / "probe").write_bytes(program)
            (root / "probe").chmod(0o755)
            (bundle / "empty").touch()
            place = Place(
                bundle.name,
                str(root),
                str(bundle / "empty"),
                str(bundle / "empty"),
                cgroup_namespace=has_cgroup_namespace(),
                seccomp=filter.seccomp,
                annotations=filter.annotations,
            )
            process = Process(("/probe",), ("PATH=/",))
            (bundle / "config.json").write_text(json.dumps(make_spec(process, Identity(0, 0), (), place)))
            return self._call(runtime, bundle, _REFUSED if filtered else 0)
        finally:
            shutil.rmtree(bundle, ignore_errors=True)

    def _call(self, runtime: Runtime, bundle: Path, wanted: int) -> str | None:
        log = bundle / "log.json"
        state = self._directory / "runtime"
        command = runtime.command(state, log, "run", "--bundle", str(bundle), bundle.name, log_format="json")
        pid = os.posix_spawn(
            command[0],
            command,
            runtime_environ(bundle),
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(bundle / "output"), os.O_WRONLY | os.O_CREAT, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
        )
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        said = "; ".join(read_complaints(log))
        if code == wanted and not said:
            return None
        if not said:
            said = (bundle / "output").read_text(errors="replace").strip()
        return said or f"the probe ended with {code} in place of {wanted}: the system call filter is not in force"

    def _make_key(self) -> list[object]:
        key: list[object] = [_BOOT_ID.read_text().strip() if _BOOT_ID.exists() else ""]
        for path in self._found:
            status = os.stat(path)
            key.append([path, status.st_mtime_ns, status.st_size])
        return key

    def _remember(self, runtime: Runtime) -> None:
        scratch = self._remembered.with_suffix(f".{os.getpid()}.tmp")
        scratch.write_text(json.dumps({"key": self._key, "path": runtime.path, "compiled": runtime.compiled}))
        scratch.replace(self._remembered)


def has_cgroup_namespace() -> bool:
    """Whether containers get a cgroup namespace: on the unified hierarchy alone."""
    return os.path.exists("/sys/fs/cgroup/cgroup.subtree_control")


def read_complaints(log: Path) -> list[str]:
    """Error messages that a runtime wrote into its log, oldest first."""
    try:
        lines = log.read_bytes().splitlines()
    except OSError:
        return []
    messages: list[str] = []
    for line in lines:
        try:
            entry: Any = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and entry.get("level") == "error":
            messages.append(str(entry.get("msg", "")))
    return messages
