"""``SOURCE_DATE_EPOCH``: a number, or the name of something whose time is meant."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from buildkit.core.goquote import quote
from buildkit.frontend.dockerfile.gotext import equal_fold, parse_int
from buildkit.frontend.dockerfile.instructions import Add, Arg, Program, Stage
from buildkit.frontend.dockerfile.location import DockerfileError
from buildkit.frontend.dockerfile.options import ConvertOptions
from buildkit.frontend.dockerfile.remote import find_git_source, git_state, http_state, is_http
from buildkit.frontend.dockerfile.shell import Lexer
from buildkit.frontend.dockerfile.stagebuild import SCRATCH
from buildkit.llb.env import Env
from buildkit.llb.state import State

NAME = "SOURCE_DATE_EPOCH"
_ONE_ADD = "SOURCE_DATE_EPOCH stage must contain exactly one remote ADD"


class _Source(NamedTuple):
    state: State
    log_name: str


async def resolve_epoch(
    value: str, options: ConvertOptions, program: Program, variables: Env, lexer: Lexer
) -> int | None:
    """Seconds since 1970, or None when there is nothing that tells; raises `DockerfileError`."""
    if not value:
        return None
    try:
        return parse_int(value)
    except ValueError:
        found = await _find_source(value, options, program, variables, lexer)
    if found is None or options.source_time is None:
        return None
    return await options.source_time(found.state, found.log_name)


def with_epoch(args: Mapping[str, str], value: str) -> dict[str, str]:
    """Build arguments or variables that have the name, with what it means instead."""
    out = dict(args)
    if NAME in out:
        if value:
            out[NAME] = value
        else:
            del out[NAME]
    return out


async def _find_source(
    value: str, options: ConvertOptions, program: Program, variables: Env, lexer: Lexer
) -> _Source | None:
    inputs = options.inputs
    if value == "context":
        if inputs is None:
            return None
        return _Source(await inputs.main_context(()), "[internal] resolve main build context metadata")
    if inputs is not None:
        context = inputs.find_named_context(value)
        if context is not None:
            loaded = await context.load()
            return _Source(loaded.state, f"[internal] resolve {NAME} named context {value}")
    for stage in program.stages:
        if equal_fold(stage.name, value):
            try:
                state = _state_of(stage, options.build_args, variables.unset(NAME), lexer)
            except DockerfileError as error:
                raise error.at(stage.origin.location) from None
            return _Source(state, f"[internal] resolve {NAME} source stage {stage.name}")
    raise DockerfileError(f"invalid {NAME}: {value}")


def _state_of(stage: Stage, build_args: Mapping[str, str], variables: Env, lexer: Lexer) -> State:
    base = stage.origin.base
    try:
        expanded = lexer.expand(base, variables).text
    except DockerfileError as error:
        raise error.prefixed(f"failed to process source stage base name {quote(base)}: ") from None
    if expanded != SCRATCH:
        raise DockerfileError(f"{NAME} stage must use FROM scratch")
    found: State | None = None
    for command in stage.commands:
        if isinstance(command, Arg):
            for definition in command.definitions:
                value = build_args.get(definition.key)
                if value is None and definition.value is not None:
                    value = lexer.expand(definition.value, variables).text
                variables = variables if value is None else variables.set(definition.key, value)
        elif isinstance(command, Add):
            if found is not None:
                raise DockerfileError(_ONE_ADD)
            found = _added(command, variables, lexer)
        else:
            raise DockerfileError(
                f"{NAME} stage does not meet source-only requirements: unsupported {command.keyword} instruction"
            )
    if found is None:
        raise DockerfileError(_ONE_ADD)
    return found


def _added(command: Add, variables: Env, lexer: Lexer) -> State:
    if command.files or len(command.sources) != 1:
        raise DockerfileError(_ONE_ADD + " source")
    source = lexer.expand(command.sources[0], variables).text
    checksum = lexer.expand(command.checksum, variables).text if command.checksum else ""
    if is_http(source):
        return http_state(source, checksum)[0]
    found = find_git_source(source)
    if found is None:
        raise DockerfileError(f"{NAME} stage source must be a single HTTP(S) or Git ADD")
    keep = bool(command.keep_git_dir or found.keep_git_dir)
    return git_state(found, keep_git_dir=keep, checksum=checksum or found.checksum)
