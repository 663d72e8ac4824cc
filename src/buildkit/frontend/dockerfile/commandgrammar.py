"""Instructions that say what to run: RUN, CMD, ENTRYPOINT, HEALTHCHECK and SHELL."""

from __future__ import annotations

from buildkit.core.goquote import quote
from buildkit.frontend.dockerfile.arguments import basics, no_flags, some_arguments
from buildkit.frontend.dockerfile.flags import Flags
from buildkit.frontend.dockerfile.gotext import parse_duration, parse_int, upper
from buildkit.frontend.dockerfile.instructions import (
    Cmd,
    CommandLine,
    Entrypoint,
    Healthcheck,
    HealthcheckInstruction,
    Run,
    Shell,
    ShellFile,
)
from buildkit.frontend.dockerfile.linter import Linter
from buildkit.frontend.dockerfile.location import DockerfileError
from buildkit.frontend.dockerfile.mount import parse_device, source_stage_of
from buildkit.frontend.dockerfile.parser import Node

_NETWORKS = frozenset(("default", "none", "host"))
_SECURITIES = frozenset(("sandbox", "insecure"))
_MILLISECOND = 1_000_000


def _command_line(node: Node) -> CommandLine:
    files = tuple(ShellFile(h.name, h.content, h.chomp) for h in node.heredocs)
    return CommandLine(_shell_arguments(node.arguments, node.json), not node.json, files)


def _shell_arguments(words: tuple[str, ...], json: bool) -> tuple[str, ...]:
    return words if json or not words else (" ".join(words),)


def parse_run(node: Node, linter: Linter) -> Run:
    """RUN."""
    flags = Flags(node.flags, texts=("network", "security"), lists=("device", "mount"))
    command = _command_line(node)
    devices = tuple(map(parse_device, flags.texts("device")))
    stages = tuple(map(source_stage_of, flags.texts("mount")))
    network, security = flags.text("network", "default"), flags.text("security", "sandbox")
    if network not in _NETWORKS:
        raise DockerfileError(f"invalid network mode {quote(network)}")
    if security not in _SECURITIES:
        raise DockerfileError(f"security {quote(security)} is not valid")
    return Run(
        command,
        mounts=flags.texts("mount"),
        mount_stages=stages,
        devices=devices,
        network=network,
        security=security,
        flags=flags.used,
        **basics(node),
    )


def parse_cmd(node: Node, linter: Linter) -> Cmd:
    """CMD."""
    no_flags(node)
    return Cmd(_command_line(node), **basics(node))


def parse_entrypoint(node: Node, linter: Linter) -> Entrypoint:
    """ENTRYPOINT."""
    no_flags(node)
    return Entrypoint(_command_line(node), **basics(node))


def parse_healthcheck(node: Node, linter: Linter) -> HealthcheckInstruction:
    """HEALTHCHECK."""
    kind, *rest = some_arguments(node)
    kind = upper(kind)
    if kind == "NONE":
        if rest:
            raise DockerfileError("HEALTHCHECK NONE takes no arguments")
        return HealthcheckInstruction(Healthcheck((kind,)), **basics(node))
    flags = Flags(node.flags, texts=("interval", "timeout", "start-period", "start-interval", "retries"))
    if kind != "CMD":
        raise DockerfileError(f"Unknown type {_go_string(kind)} in HEALTHCHECK (try CMD)")
    command = _shell_arguments(tuple(rest), node.json)
    if not command:
        raise DockerfileError("Missing command after HEALTHCHECK CMD")
    check = Healthcheck(
        ("CMD" if node.json else "CMD-SHELL", *command),
        interval=_interval(flags, "interval"),
        timeout=_interval(flags, "timeout"),
        start_period=_interval(flags, "start-period"),
        start_interval=_interval(flags, "start-interval"),
        retries=_retries(flags),
    )
    return HealthcheckInstruction(check, **basics(node))


def _go_string(text: str) -> str:
    """``%#v`` of a string."""
    return f"`{text}`" if '"' in text and "`" not in text and text.isprintable() else quote(text)


def _interval(flags: Flags, name: str) -> int:
    try:
        value = parse_duration(text) if (text := flags.text(name)) else 0
    except ValueError as error:
        raise DockerfileError(str(error)) from None
    if value and value < _MILLISECOND:
        raise DockerfileError(f'Interval "{name}" cannot be less than 1ms')
    return value


def _retries(flags: Flags) -> int:
    try:
        value = parse_int(text, 32) if (text := flags.text("retries")) else 0
    except ValueError as error:
        raise DockerfileError(str(error)) from None
    if value < 0:
        raise DockerfileError(f"--retries cannot be negative ({value})")
    return value


def parse_shell(node: Node, linter: Linter) -> Shell:
    """SHELL."""
    no_flags(node)
    words = some_arguments(node)
    if not node.json:
        raise DockerfileError("SHELL requires the arguments to be in JSON form")
    return Shell(words, **basics(node))
