"""`State`: a filesystem in the making and the settings of the next command run on it. Immutable and chainable."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Unpack

from buildkit.core.platform import Platform, normalize, parse_platform
from buildkit.llb.constraints import NONE, Constraints, Options, constraints_of
from buildkit.llb.mount import Device, Mount, Proxy, Secret, Ssh
from buildkit.llb.settings import Network, Security, Settings
from buildkit.llb.vertex import Output

if TYPE_CHECKING:
    from buildkit.llb.definition import Definition
    from buildkit.llb.exec import ExecOp
    from buildkit.llb.file import FileAction


class State:
    """A filesystem (``output``, None when empty) with `Settings`. Every method returns a new state."""

    __slots__ = ("marshal_defaults", "output", "settings")

    def __init__(
        self, output: Output | None, settings: Settings | None = None, *, marshal_defaults: Constraints = NONE
    ) -> None:
        settings = settings or Settings()
        if output is not None and output.platform is not None:
            settings = settings._replace(platform=normalize(output.platform))
        self.output = output
        self.settings = settings
        self.marshal_defaults = marshal_defaults

    def __repr__(self) -> str:
        made_by = "scratch" if self.output is None else type(self.output.vertex).__name__
        return f"<State of {made_by}>"

    def env(self, key: str, value: str) -> State:
        """Set a variable."""
        return self._set(self.settings._replace(env=self.settings.env.set(key, value)))

    def dir(self, path: str) -> State:
        """Change the working directory; a relative path is below the present one."""
        return self._set(self.settings.in_dir(path))

    def user(self, name: str) -> State:
        """Run as ``user[:group]``, names or numbers."""
        return self._set(self.settings._replace(user=name))

    def hostname(self, name: str) -> State:
        """Name the containers."""
        return self._set(self.settings._replace(hostname=name))

    def network(self, mode: Network) -> State:
        """Choose the network of containers."""
        return self._set(self.settings._replace(network=mode))

    def security(self, mode: Security) -> State:
        """Choose the rights of containers."""
        return self._set(self.settings._replace(security=mode))

    def platform(self, platform: Platform | str) -> State:
        """Run on this platform, which may be text as in ``linux/arm64``."""
        found = parse_platform(platform) if isinstance(platform, str) else normalize(platform)
        return self._set(self.settings._replace(platform=found))

    def extra_host(self, name: str, address: str) -> State:
        """Add a line to ``/etc/hosts``; raises `InvalidInput` for what is no address."""
        from buildkit.llb.hosts import parse_ip

        host = (name, parse_ip(address))
        return self._set(self.settings._replace(extra_hosts=(*self.settings.extra_hosts, host)))

    def ulimit(self, name: str, soft: int, hard: int) -> State:
        """Set a resource limit such as ``nofile``."""
        return self._set(self.settings._replace(ulimits=(*self.settings.ulimits, (name, soft, hard))))

    def cgroup_parent(self, path: str) -> State:
        """Put containers below this control group."""
        return self._set(self.settings._replace(cgroup_parent=path))

    def with_(self, *changes: Callable[[State], State]) -> State:
        """Apply functions from state to state, in order."""
        state = self
        for change in changes:
            state = change(state)
        return state

    def reset(self, other: State) -> State:
        """This filesystem with the settings of ``other`` in the root directory."""
        platform = self.output.platform if self.output is not None else None
        settings = other.settings if platform is not None else other.settings._replace(dir="/")
        return State(self.output, settings)

    def with_output(self, output: Output | None) -> State:
        """Another filesystem with these settings."""
        return State(output, self.settings)

    def with_image_config(self, config: bytes | str | Mapping[str, object]) -> State:
        """Take environment, working directory and platform from an image config (OCI JSON)."""
        return self._set(self.settings.with_image_config(config))

    def run(
        self,
        args: str | Sequence[str],
        *,
        mounts: Sequence[Mount | Secret | Ssh] = (),
        devices: Sequence[Device] = (),
        proxy: Proxy | None = None,
        readonly_root: bool = False,
        valid_exit_codes: Sequence[int] | None = None,
        network: Network | None = None,
        security: Security | None = None,
        **options: Unpack[Options],
    ) -> Run:
        """Run a command (a string is split by `split_words`) on this filesystem."""
        from buildkit.llb.exec import ExecOp, Process
        from buildkit.llb.words import split_words

        argv = split_words(args) if isinstance(args, str) else tuple(args)
        settings = self.settings._replace(args=argv)
        if valid_exit_codes is not None:
            settings = settings._replace(valid_exit_codes=tuple(valid_exit_codes))
        if network is not None:
            settings = settings._replace(network=network)
        if security is not None:
            settings = settings._replace(security=security)
        process = Process(
            settings,
            tuple(m for m in mounts if isinstance(m, Mount)),
            tuple(m for m in mounts if isinstance(m, Secret)),
            tuple(m for m in mounts if isinstance(m, Ssh)),
            tuple(devices),
            proxy,
        )
        op = ExecOp(self.output, process, constraints_of(options), readonly_root=readonly_root)
        return Run(op.output_at("/"), self.settings, op)

    def file(self, action: FileAction, **options: Unpack[Options]) -> State:
        """Change files: see `copy`, `mkdir`, `mkfile`, `rm` and `symlink` of this package."""
        from buildkit.llb.file import FileOp

        return self.with_output(Output(FileOp(self, action, constraints_of(options))))

    def requires(self, id: str, *others: State, **options: Unpack[Options]) -> State:
        """The same filesystem, made only after ``others`` were."""
        from buildkit.llb.graph import PassthroughOp

        constraints = constraints_of(options)
        if not others:
            return self
        inputs = [s.output for s in (self, *others) if s.output is not None]
        kept = () if self.output is None else (0,)
        return self.with_output(Output(PassthroughOp(id, inputs, kept, constraints)))

    def with_marshal_defaults(self, **options: Unpack[Options]) -> State:
        """Constraints that `marshal` uses for this state unless told otherwise."""
        return State(self.output, self.settings, marshal_defaults=constraints_of(options))

    def marshal(
        self,
        *,
        known_caps: Sequence[str] | frozenset[str] | None = None,
        python_lines: bool = False,
        **options: Unpack[Options],
    ) -> Definition:
        """Write the graph down; raises `InvalidInput`.

        ``known_caps`` is what the daemon can do; ``python_lines`` adds the program's lines for errors to point at.
        """
        from buildkit.llb.marshal import marshal

        known = None if known_caps is None else frozenset(known_caps)
        return marshal(self.output, known, self.marshal_defaults, constraints_of(options), python_lines=python_lines)

    def to_dot(self) -> str:
        """The graph in the language of graphviz."""
        from buildkit.llb.dot import to_dot

        return to_dot(self.marshal())

    def _set(self, settings: Settings) -> State:
        state = State.__new__(State)
        state.output, state.settings, state.marshal_defaults = self.output, settings, NONE
        return state


class Run(State):
    """The root filesystem after a command, and what else it wrote."""

    __slots__ = ("_op",)

    def __init__(self, output: Output | None, settings: Settings, op: ExecOp) -> None:
        super().__init__(output, settings)
        self._op = op

    @property
    def root(self) -> State:
        """The root filesystem alone."""
        return State(self.output, self.settings)

    def mount(self, target: str, like: State | None = None) -> State:
        """What is mounted at ``target`` after the command, with the settings of ``like``; raises `InvalidInput`."""
        output = self._op.output_at(target)
        return State(output) if like is None else like.with_output(output)


def scratch() -> State:
    """The empty filesystem."""
    return State(None)
