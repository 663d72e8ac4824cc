"""RUN: command line, here-documents, mounts, and what the client set for all steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from buildkit.core.values import dataclass, field
from buildkit.frontend.dockerfile import naming
from buildkit.frontend.dockerfile.conversion import Conversion
from buildkit.frontend.dockerfile.heredoc import Heredoc, find_heredoc
from buildkit.frontend.dockerfile.imageconfig import ImageConfig
from buildkit.frontend.dockerfile.instructions import ArgDefinition, Run
from buildkit.frontend.dockerfile.location import DockerfileError
from buildkit.frontend.dockerfile.mount import Mount
from buildkit.frontend.dockerfile.running_mounts import convert_mounts
from buildkit.frontend.dockerfile.shell import Lexer
from buildkit.frontend.dockerfile.stagebuild import StageBuild
from buildkit.llb import caps
from buildkit.llb import mount as llb
from buildkit.llb.constraints import Options
from buildkit.llb.file import mkfile
from buildkit.llb.paths import join
from buildkit.llb.settings import Network
from buildkit.llb.state import scratch

_PIPES = "/dev/pipes/"


@dataclass(slots=True)
class _Script:
    arguments: list[str]
    text: str
    """What clients show."""
    mounts: list[llb.Mount] = field(default_factory=list)


def shell_command(image: ImageConfig, arguments: Sequence[str]) -> list[str]:
    """A command line given to the shell of the image."""
    default = ["cmd", "/S", "/C"] if image.platform.os == "windows" else ["/bin/sh", "-c"]
    return [*(image.config.shell or default), " ".join(arguments)]


def convert_run(
    stage: StageBuild, command: Run, mounts: Sequence[Mount], sources: Sequence[StageBuild], conversion: Conversion
) -> None:
    """Add the step to the stage; raises `DockerfileError`."""
    stage.paths.add("/")
    script = _script(stage, command)
    arguments = script.arguments
    if command.command.for_shell:
        arguments = shell_command(stage.image, arguments)
    converted = [*script.mounts, *convert_mounts(stage, command, mounts, sources, conversion)]
    state, variables = stage.state, stage.state.settings.env
    settings = conversion.options
    if settings.supports(caps.EXEC_META_ULIMIT):
        for name, soft, hard in settings.ulimits:
            state = state.ulimit(name, soft, hard)
    devices: tuple[llb.Device, ...] = ()
    if settings.supports(caps.EXEC_META_CDI):
        if command.devices and not settings.labs:
            raise DockerfileError("device feature is only supported in Dockerfile frontend 1.14.0-labs or later")
        asked = (llb.Device(one.name, optional=not one.required) for one in command.devices)
        devices = (*settings.devices, *asked)
    for host, address in settings.extra_hosts:
        state = state.extra_host(host, address)
    if settings.shm_size > 0 and settings.supports(caps.EXEC_MOUNT_TMPFS_SIZE):
        converted.append(llb.tmpfs("/dev/shm", settings.shm_size))  # noqa: S108
    if settings.cgroup_parent and settings.supports(caps.EXEC_META_CGROUP_PARENT):
        state = state.cgroup_parent(settings.cgroup_parent)
    ran = state.run(
        arguments,
        mounts=converted,
        devices=devices,
        proxy=conversion.proxy,
        network=None if command.network == "default" else cast(Network, command.network),
        security="insecure" if command.security == "insecure" else "sandbox",
        **_options(stage, command, script, mounts, conversion),
    )
    stage.state = stage.state.with_output(ran.output)
    text = f"RUN {_history_text(arguments, stage.build_args, variables)} # buildkit"
    stage.image.commit(text, layer=True, epoch=stage.epoch)


def _options(
    stage: StageBuild, command: Run, script: _Script, mounts: Sequence[Mount], conversion: Conversion
) -> Options:
    settings = conversion.options
    lexer = Lexer(conversion.lexer.escape, keep_quotes=True, keep_unset=True)
    variables = stage.state.settings.env
    shown = variables
    for mount in mounts:
        if mount.type == "secret" and mount.env is not None:
            shown = shown.set(mount.env, "****")
    name = naming.with_upper_keyword(naming.expanded(lexer, script.text, shown))
    options: Options = {
        "description": {naming.COMMAND: command.text},
        "location": conversion.place(command.location),
        "name": stage.step_name(name, stage.state.settings.platform, variables),
    }
    if stage.ignore_cache:
        options["ignore_cache"] = True
    if settings.resources is not None and settings.supports(caps.EXEC_META_LINUX_RESOURCES):
        options["resources"] = settings.resources
    return options


def _script(stage: StageBuild, command: Run) -> _Script:
    arguments, files = list(command.command.arguments), command.command.files
    if not files:
        return _Script(arguments, command.text)
    if len(arguments) != 1 or not command.command.for_shell:
        raise DockerfileError(f"parsing produced an invalid run command: [{' '.join(arguments)}]")
    if find_heredoc(arguments[0]) is None:
        text = arguments[0] + "".join(f"\n{file.content}{file.name}" for file in files)
        return _Script([text], command.text)
    first = files[0]
    content = Heredoc(first.name, 0, False, first.chomp, first.content).chomped
    text = f"{command.text} ({naming.heredoc_summary(first.content)})"
    if stage.image.platform.os == "windows" or not content.startswith("#!"):
        return _Script([content], text)
    options: Options = {"name": naming.internal("preparing inline document")}
    if stage.platform is not None:
        options["platform"] = stage.platform
    inline = scratch().file(mkfile(first.name, content.encode(errors="surrogateescape"), 0o755), **options)
    return _Script([join(_PIPES, first.name)], text, [llb.bind(_PIPES, inline, path="/", readonly=True)])


def _history_text(arguments: Sequence[str], args: Sequence[ArgDefinition], variables: Mapping[str, str]) -> str:
    values: dict[str, str] = {}
    for arg in args:
        value = variables.get(arg.key)
        values[arg.key] = (arg.value or "") if value is None else value
    prefix = [f"|{len(values)}", *(f"{key}={value}" for key, value in values.items())] if values else []
    return " ".join([*prefix, *arguments])
