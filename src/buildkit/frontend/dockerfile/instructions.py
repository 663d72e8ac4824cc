"""The instructions of a Dockerfile as values. ``expand`` gives the same instruction with its variables replaced.

Every instruction knows its keyword as written, its text (continuations joined), its lines and the comments above it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from buildkit.core.values import dataclass, replace
from buildkit.frontend.dockerfile.location import Location
from buildkit.frontend.dockerfile.mount import Device, Mount, parse_mount

Expander = Callable[[str], str]
"""Replaces the variables in one word; raises `DockerfileError`."""


@dataclass(frozen=True, slots=True)
class KeyValue:
    """One pair of ENV or LABEL; ``legacy`` when it was written ``key value``."""

    key: str
    value: str
    legacy: bool = False

    def __str__(self) -> str:
        return f"{self.key}={self.value}"


@dataclass(frozen=True, slots=True)
class ArgDefinition:
    """One name of ARG; ``value`` is None when it has no default. ``description`` comes from the comment above."""

    key: str
    value: str | None = None
    description: str = ""

    def __str__(self) -> str:
        return f"{self.key}={self.value or ''}"


@dataclass(frozen=True, slots=True)
class InlineFile:
    """A here-document that COPY or ADD makes a file of; its variables are replaced when ``expand``."""

    path: str
    content: str
    expand: bool


@dataclass(frozen=True, slots=True)
class ShellFile:
    """A here-document given to a command."""

    name: str
    content: str
    chomp: bool


@dataclass(frozen=True, slots=True)
class CommandLine:
    """Arguments to run as they are, or one script for the shell."""

    arguments: tuple[str, ...]
    for_shell: bool
    files: tuple[ShellFile, ...] = ()


@dataclass(frozen=True, slots=True)
class Healthcheck:
    """The check of an image: ``test`` as the image configuration wants it, times in nanoseconds, 0 for not given."""

    test: tuple[str, ...]
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """What every instruction has."""

    keyword: str = ""
    text: str = ""
    location: Location = ()
    comments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Env(Instruction):
    """ENV."""

    variables: tuple[KeyValue, ...]

    def expand(self, expander: Expander) -> Env:
        """Keys and values."""
        return replace(self, variables=_expand_pairs(self.variables, expander))


@dataclass(frozen=True, slots=True)
class Maintainer(Instruction):
    """MAINTAINER."""

    name: str


@dataclass(frozen=True, slots=True)
class Label(Instruction):
    """LABEL."""

    labels: tuple[KeyValue, ...]

    def expand(self, expander: Expander) -> Label:
        """Keys and values."""
        return replace(self, labels=_expand_pairs(self.labels, expander))


@dataclass(frozen=True, slots=True)
class Add(Instruction):
    """ADD. ``keep_git_dir`` and ``unpack`` are None when not given."""

    sources: tuple[str, ...]
    destination: str
    files: tuple[InlineFile, ...] = ()
    chown: str = ""
    chmod: str = ""
    checksum: str = ""
    link: bool = False
    excludes: tuple[str, ...] = ()
    keep_git_dir: bool | None = None
    unpack: bool | None = None

    def expand(self, expander: Expander) -> Add:
        """Owner, mode, checksum, sources, destination, in that order."""
        chown, chmod, checksum = expander(self.chown), expander(self.chmod), expander(self.checksum)
        sources = tuple(map(expander, self.sources))
        destination = expander(self.destination)
        return replace(self, chown=chown, chmod=chmod, checksum=checksum, sources=sources, destination=destination)

    def expand_files(self, expander: Expander) -> Add:
        """The text of here-documents, with an expander that leaves quotes alone."""
        return replace(self, files=_expand_files(self.files, expander))


@dataclass(frozen=True, slots=True)
class Copy(Instruction):
    """COPY. ``source_stage`` is what ``--from`` names."""

    sources: tuple[str, ...]
    destination: str
    files: tuple[InlineFile, ...] = ()
    source_stage: str = ""
    chown: str = ""
    chmod: str = ""
    link: bool = False
    excludes: tuple[str, ...] = ()
    parents: bool = False

    def expand(self, expander: Expander) -> Copy:
        """Owner, mode, sources, destination, in that order."""
        chown, chmod = expander(self.chown), expander(self.chmod)
        sources = tuple(map(expander, self.sources))
        return replace(self, chown=chown, chmod=chmod, sources=sources, destination=expander(self.destination))

    def expand_files(self, expander: Expander) -> Copy:
        """The text of here-documents, with an expander that leaves quotes alone."""
        return replace(self, files=_expand_files(self.files, expander))


@dataclass(frozen=True, slots=True)
class Onbuild(Instruction):
    """ONBUILD; ``expression`` is the instruction to run later, here-documents included."""

    expression: str


@dataclass(frozen=True, slots=True)
class Workdir(Instruction):
    """WORKDIR."""

    path: str

    def expand(self, expander: Expander) -> Workdir:
        """The path."""
        return replace(self, path=expander(self.path))


@dataclass(frozen=True, slots=True)
class Run(Instruction):
    """RUN. ``mounts`` are the values of ``--mount`` as written: their variables are known only later."""

    command: CommandLine
    mounts: tuple[str, ...] = ()
    mount_stages: tuple[str, ...] = ()
    """For each mount, what its ``from`` names, or ``""``."""
    devices: tuple[Device, ...] = ()
    network: str = "default"
    security: str = "sandbox"
    flags: tuple[str, ...] = ()
    """Names of the flags given."""

    def parse_mounts(self, expander: Expander) -> tuple[Mount, ...]:
        """The mounts with variables replaced; raises `DockerfileError`."""
        return tuple(parse_mount(text, expander) for text in self.mounts)


@dataclass(frozen=True, slots=True)
class Cmd(Instruction):
    """CMD."""

    command: CommandLine


@dataclass(frozen=True, slots=True)
class HealthcheckInstruction(Instruction):
    """HEALTHCHECK."""

    check: Healthcheck


@dataclass(frozen=True, slots=True)
class Entrypoint(Instruction):
    """ENTRYPOINT."""

    command: CommandLine


@dataclass(frozen=True, slots=True)
class Expose(Instruction):
    """EXPOSE; ``ports`` are sorted and may hold variables."""

    ports: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class User(Instruction):
    """USER."""

    user: str

    def expand(self, expander: Expander) -> User:
        """The user."""
        return replace(self, user=expander(self.user))


@dataclass(frozen=True, slots=True)
class Volume(Instruction):
    """VOLUME."""

    paths: tuple[str, ...]

    def expand(self, expander: Expander) -> Volume:
        """The paths."""
        return replace(self, paths=tuple(map(expander, self.paths)))


@dataclass(frozen=True, slots=True)
class Stopsignal(Instruction):
    """STOPSIGNAL."""

    signal: str

    def expand(self, expander: Expander) -> Stopsignal:
        """The signal."""
        return replace(self, signal=expander(self.signal))


@dataclass(frozen=True, slots=True)
class Arg(Instruction):
    """ARG."""

    definitions: tuple[ArgDefinition, ...]

    def expand(self, expander: Expander) -> Arg:
        """Names and defaults."""
        expanded = []
        for definition in self.definitions:
            key = expander(definition.key)
            value = None if definition.value is None else expander(definition.value)
            expanded.append(replace(definition, key=key, value=value))
        return replace(self, definitions=tuple(expanded))


@dataclass(frozen=True, slots=True)
class Shell(Instruction):
    """SHELL."""

    arguments: tuple[str, ...]


Command: TypeAlias = (
    Env
    | Maintainer
    | Label
    | Add
    | Copy
    | Onbuild
    | Workdir
    | Run
    | Cmd
    | HealthcheckInstruction
    | Entrypoint
    | Expose
    | User
    | Volume
    | Stopsignal
    | Arg
    | Shell
)
"""Every instruction but FROM."""


@dataclass(frozen=True, slots=True)
class From(Instruction):
    """FROM. ``name`` is in lower case, ``description`` comes from the comment above."""

    base: str
    name: str = ""
    platform: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class Stage:
    """A FROM and the instructions up to the next one."""

    origin: From
    commands: tuple[Command, ...] = ()

    @property
    def name(self) -> str:
        """Its name in lower case; empty if it has none."""
        return self.origin.name


@dataclass(frozen=True, slots=True)
class Program:
    """A whole file: the ARGs before the first FROM, then the stages."""

    global_args: tuple[Arg, ...]
    stages: tuple[Stage, ...]


def _expand_pairs(pairs: tuple[KeyValue, ...], expander: Expander) -> tuple[KeyValue, ...]:
    return tuple(replace(pair, key=expander(pair.key), value=expander(pair.value)) for pair in pairs)


def _expand_files(files: tuple[InlineFile, ...], expander: Expander) -> tuple[InlineFile, ...]:
    return tuple(replace(f, content=expander(f.content)) if f.expand else f for f in files)
