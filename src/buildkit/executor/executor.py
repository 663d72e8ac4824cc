"""What to run, as values, and the one call that runs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias

from buildkit.core.errors import ExitError
from buildkit.core.values import dataclass, field
from buildkit.fs.mount import Mount

if TYPE_CHECKING:
    from buildkit.executor.cdi import Edits
    from buildkit.executor.interaction import Interaction


@dataclass(frozen=True, slots=True)
class Secret:
    """A file that never touches a disk: its bytes and who may read them."""

    content: bytes = field(repr=False)
    uid: int = 0
    gid: int = 0
    mode: int = 0o400


Source: TypeAlias = str | Secret | Sequence[Mount]
"""A file or directory that exists, a secret, or mounts that make a directory when stacked in order."""

Output: TypeAlias = Callable[[int, bytes], None]
"""Takes what the process writes as it comes: stream 1 is stdout, 2 is stderr. Called on the event loop."""

DEFAULT_HOSTNAME = "buildkitsandbox"


@dataclass(frozen=True, slots=True)
class Attachment:
    """A tree or file seen at ``destination`` inside of the container."""

    destination: str
    source: Source
    selector: str = ""
    """The part of the source to show: a path inside of it, resolved without leaving it."""
    readonly: bool = False
    options: tuple[str, ...] = ()
    """More mount options as the OCI runtime spells them (``nodev``, ``nosuid``, ``noexec``)."""


@dataclass(frozen=True, slots=True)
class Ulimit:
    """A resource limit of the process: a name such as ``nofile``; -1 is unlimited."""

    name: str
    soft: int
    hard: int


@dataclass(frozen=True, slots=True)
class Resources:
    """Limits of the container's cgroup; 0 and "" are "not limited". Memory in bytes, times in microseconds."""

    memory: int = 0
    memory_swap: int = 0
    cpu_shares: int = 0
    cpu_period: int = 0
    cpu_quota: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""


@dataclass(frozen=True, slots=True)
class Process:
    """The process, and what surrounds it. Environment entries are ``NAME=VALUE``, in order."""

    args: tuple[str, ...]
    env: tuple[str, ...] = ()
    cwd: str = "/"
    user: str = ""
    """``name``, ``uid``, ``name:group`` or ``uid:gid``, looked up in the container's own files."""
    hostname: str = ""
    network: str = ""
    """``host``, ``none``, or "" for what this executor was configured with."""
    insecure: bool = False
    ulimits: tuple[Ulimit, ...] = ()
    resources: Resources = Resources()
    extra_hosts: tuple[tuple[str, str], ...] = ()
    """Pairs of host name and IP address."""
    cgroup_parent: str = ""
    valid_exit_codes: tuple[int, ...] = ()
    """The exit codes that are no failure; () means 0 alone."""
    tty: bool = False
    remove_stubs_recursive: bool = False
    trace_parent: str = ""
    """The span that the process's own spans are children of, as W3C Trace Context writes it."""
    devices: Edits | None = None
    """What the devices that it was given change; see `buildkit.executor.devices.Devices.edits_of`."""


@dataclass(frozen=True, slots=True)
class Container:
    """One process on one root."""

    root: Source
    process: Process
    mounts: tuple[Attachment, ...] = ()
    readonly_root: bool = False
    id: str = ""
    """A name for it; made up when empty."""


@dataclass(frozen=True, slots=True)
class Command:
    """A further process of a container that runs; what is empty is as for the container's own."""

    args: tuple[str, ...]
    env: tuple[str, ...] = ()
    cwd: str = ""
    user: str = ""
    tty: bool = False
    valid_exit_codes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Usage:
    """What a run cost: seconds of processor time and wall seconds, the runtime's included; bytes."""

    user_time: float
    system_time: float
    wall_time: float
    exit_code: int
    memory_peak: int | None = None
    """None when the run was over before anyone looked."""
    received: int | None = None
    """Through a network of its own; None on the host's and without one."""
    sent: int | None = None
    samples: tuple[Mapping[str, float], ...] = ()
    """What it used when, oldest first; see `buildkit.executor.sampling.Sample`."""


class Failed(ExitError):
    """A process ended with a code that is not valid; ``usage`` is what it cost until then."""

    def __init__(self, usage: Usage, *, oom: bool = False) -> None:
        code = usage.exit_code
        reason = "cannot allocate memory" if oom else f"exit code: {code}"
        super().__init__(reason, code=code, signal=code - 128 if 128 < code <= 192 else 0, oom=oom)
        self.usage = usage


class Executor(Protocol):
    """Runs containers."""

    async def run(self, container: Container, output: Output, interaction: Interaction | None = None) -> Usage:
        """Run to the end.

        Raises `Failed` when the process ends with a code that is not valid;
        cancelling kills every process of the container at once and waits until they are gone.
        """

    async def execute(
        self, container_id: str, command: Command, output: Output, interaction: Interaction | None = None
    ) -> Usage:
        """Run a further process in a container that runs or is about to, to its end.

        Raises `Failed` like `run`, and `NotFound` or `FailedPrecondition` for a container that is not there
        or has ended; cancelling kills this process alone.
        """
