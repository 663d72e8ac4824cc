"""Each instruction's effect on its stage: on the filesystem, on the settings, on the image's config."""

from __future__ import annotations

from buildkit.core.platform import Platform
from buildkit.core.values import replace
from buildkit.frontend.dockerfile import instructions as dockerfile
from buildkit.frontend.dockerfile import naming, ospath, rules
from buildkit.frontend.dockerfile.checks import NOT_IN_ENV, check_secret_name
from buildkit.frontend.dockerfile.conversion import Conversion
from buildkit.frontend.dockerfile.copying import convert_add, convert_copy
from buildkit.frontend.dockerfile.exposing import parse_ports
from buildkit.frontend.dockerfile.globalargs import ArgUse
from buildkit.frontend.dockerfile.gotext import quote_list
from buildkit.frontend.dockerfile.healthtext import healthcheck_text
from buildkit.frontend.dockerfile.location import DockerfileError
from buildkit.frontend.dockerfile.running import convert_run, shell_command
from buildkit.frontend.dockerfile.shell import Lexer
from buildkit.frontend.dockerfile.signals import check_signal
from buildkit.frontend.dockerfile.stagebuild import Bound, StageBuild
from buildkit.llb.file import mkdir, parse_owner

_FILE_LEXER = Lexer(plain_quotes=True)
_NANOSECONDS = 1_000_000_000


def dispatch(stage: StageBuild, bound: Bound, conversion: Conversion) -> None:
    """Apply one instruction; raises `DockerfileError` without its place."""
    stage.in_trigger = bound.onbuild
    command = bound.command
    conversion = conversion.for_command(command)
    expand = conversion.expander(stage, command)
    if isinstance(command, dockerfile.Run):
        convert_run(stage, command, command.parse_mounts(expand), bound.sources, conversion)
    elif isinstance(command, dockerfile.Copy):
        copy = command.expand(expand).expand_files(conversion.expander(stage, command, _FILE_LEXER))
        convert_copy(stage, copy, bound.sources, conversion)
    elif isinstance(command, dockerfile.Add):
        add = command.expand(expand).expand_files(conversion.expander(stage, command, _FILE_LEXER))
        convert_add(stage, add, conversion)
    elif isinstance(command, dockerfile.Env):
        _env(stage, command.expand(expand), conversion)
    elif isinstance(command, dockerfile.Arg):
        _arg(stage, command, conversion)
    elif isinstance(command, dockerfile.Label):
        _label(stage, command.expand(expand), conversion)
    elif isinstance(command, dockerfile.Workdir):
        _workdir(stage, command.expand(expand), conversion)
    elif isinstance(command, dockerfile.User):
        user = command.expand(expand).user
        set_user(stage, user)
        _commit(stage, f"USER {user}")
    elif isinstance(command, dockerfile.Cmd | dockerfile.Entrypoint):
        _start(stage, command, conversion)
    elif isinstance(command, dockerfile.Expose):
        _expose(stage, command, conversion)
    elif isinstance(command, dockerfile.Volume):
        _volume(stage, command.expand(expand))
    else:
        _dispatch_rest(stage, command, conversion)


def _dispatch_rest(stage: StageBuild, command: dockerfile.Command, conversion: Conversion) -> None:
    config = stage.image.config
    if isinstance(command, dockerfile.HealthcheckInstruction):
        _only_once(stage, command, conversion)
        config.healthcheck = command.check
        _commit(stage, f"HEALTHCHECK {healthcheck_text(command.check)}")
    elif isinstance(command, dockerfile.Stopsignal):
        signal = command.expand(conversion.expander(stage, command)).signal
        check_signal(signal)
        config.stop_signal = signal
        _commit(stage, f"STOPSIGNAL {signal}")
    elif isinstance(command, dockerfile.Shell):
        config.shell = list(command.arguments)
        _commit(stage, f"SHELL [{' '.join(command.arguments)}]")
    elif isinstance(command, dockerfile.Maintainer):
        stage.image.author = command.name
        _commit(stage, f"MAINTAINER {command.name}")
    elif isinstance(command, dockerfile.Onbuild):
        config.onbuild.append(command.expression)


def _commit(stage: StageBuild, text: str, *, layer: bool = False) -> None:
    stage.image.commit(text, layer=layer, epoch=stage.epoch)


def _only_once(stage: StageBuild, command: dockerfile.Command, conversion: Conversion) -> None:
    kind = type(command).__name__
    earlier = stage.used_once.get(kind)
    if earlier is not None:
        message = rules.multiple_instructions_disallowed(command.keyword)
        conversion.linter.run(rules.MULTIPLE_INSTRUCTIONS_DISALLOWED, earlier, message)
    stage.used_once[kind] = command.location


def _warn_legacy(pair: dockerfile.KeyValue, command: dockerfile.Env | dockerfile.Label, conversion: Conversion) -> None:
    if pair.legacy:
        message = rules.legacy_key_value_format(command.keyword)
        conversion.linter.run(rules.LEGACY_KEY_VALUE_FORMAT, command.location, message)


def _env(stage: StageBuild, command: dockerfile.Env, conversion: Conversion) -> None:
    for pair in command.variables:
        _warn_legacy(pair, command, conversion)
        check_secret_name("ENV", pair.key, command.location, conversion.linter)
        stage.state = stage.state.env(pair.key, pair.value)
        stage.image.config.set_env(pair.key, pair.value)
    _commit(stage, " ".join(["ENV", *map(str, command.variables)]))


def _label(stage: StageBuild, command: dockerfile.Label, conversion: Conversion) -> None:
    for pair in command.labels:
        _warn_legacy(pair, command, conversion)
        stage.image.config.labels[pair.key] = pair.value
    _commit(stage, " ".join(["LABEL", *map(str, command.labels)]))


def _arg(stage: StageBuild, command: dockerfile.Arg, conversion: Conversion) -> None:
    shown: list[str] = []
    for definition in command.definitions:
        key = definition.key
        check_secret_name("ARG", key, command.location, conversion.linter)
        value = conversion.options.build_args.get(key)
        inherited = False
        if value is None and definition.value is None:
            value = conversion.global_args.get(key)
            inherited = value is not None
        elif value is None and definition.value is not None:
            value = conversion.expander(stage, command)(definition.value)
        definition = replace(definition, value=value)
        if value is not None and key not in NOT_IN_ENV:
            stage.state = stage.state.env(key, value)
        if not inherited:
            stage.usage.args[key] = ArgUse(definition, command.location, value or "")
        stage.usage.used.add(key)
        stage.declare(definition)
        shown.append(key if value is None else f"{key}={value}")
    _commit(stage, "ARG " + " ".join(shown))


def _workdir(stage: StageBuild, command: dockerfile.Workdir, conversion: Conversion) -> None:
    platform = stage.platform or conversion.target_platform
    if not stage.workdir_set and not ospath.is_absolute(command.path, platform.os):
        message = rules.workdir_relative_path(command.path)
        conversion.linter.run(rules.WORKDIR_RELATIVE_PATH, command.location, message)
    stage.workdir_set = True
    path = set_workdir(stage, command.path, platform)
    if path != "/":
        user = stage.image.config.user
        action = mkdir(
            path,
            0o755,
            parents=True,
            owner=parse_owner(user) if user else None,
            created=None if stage.epoch is None else stage.epoch * _NANOSECONDS,
        )
        variables = stage.state.settings.env
        text = naming.with_upper_keyword(naming.expanded(conversion.lexer, command.text, variables))
        stage.state = stage.state.file(
            action,
            name=stage.step_name(text, platform, variables),
            location=conversion.place(command.location),
            platform=platform,
        )
    _commit(stage, f"WORKDIR {path}", layer=path != "/")


def set_workdir(stage: StageBuild, path: str, platform: Platform) -> str:
    """Change the directory of state and config; returns it with slashes. Raises `DockerfileError`."""
    config = stage.image.config
    try:
        config.working_dir = ospath.normalized_workdir(config.working_dir, path, platform.os)
    except DockerfileError as error:
        raise error.prefixed("normalizing workdir: ") from None
    slashed = ospath.to_slash(config.working_dir, platform.os)
    stage.state = stage.state.dir(slashed)
    return slashed


def set_user(stage: StageBuild, user: str) -> None:
    """Change the user of state and config."""
    stage.state = stage.state.user(user)
    stage.image.config.user = user


def _start(stage: StageBuild, command: dockerfile.Cmd | dockerfile.Entrypoint, conversion: Conversion) -> None:
    _only_once(stage, command, conversion)
    config = stage.image.config
    arguments = list(command.command.arguments)
    if command.command.for_shell:
        if not config.shell:
            message = rules.json_args_recommended(command.keyword)
            conversion.linter.run(rules.JSON_ARGS_RECOMMENDED, command.location, message)
        arguments = shell_command(stage.image, arguments)
    if isinstance(command, dockerfile.Cmd):
        config.cmd = arguments
        config.args_escaped = True
        _commit(stage, f"CMD {quote_list(arguments)}")
        return
    config.entrypoint = arguments
    if "Cmd" not in stage.used_once:
        config.cmd = []
    _commit(stage, f"ENTRYPOINT {quote_list(arguments)}")


def _expose(stage: StageBuild, command: dockerfile.Expose, conversion: Conversion) -> None:
    variables = stage.state.settings.env
    words = [word for port in command.ports for word in conversion.lexer.split(port, variables)]
    ports = parse_ports(words, command.location, conversion.linter)
    stage.image.config.exposed_ports.update(ports)
    _commit(stage, f"EXPOSE [{' '.join(ports)}]")


def _volume(stage: StageBuild, command: dockerfile.Volume) -> None:
    if "" in command.paths:
        raise DockerfileError("VOLUME specified can not be an empty string")
    stage.image.config.volumes.update(command.paths)
    _commit(stage, f"VOLUME [{' '.join(command.paths)}]")
