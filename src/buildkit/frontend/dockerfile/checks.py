"""Build checks that need to know stages, arguments and base images."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from buildkit.core.errors import InvalidInput
from buildkit.core.platform import Platform, normalize
from buildkit.frontend.dockerfile import rules
from buildkit.frontend.dockerfile.globalargs import declare_args
from buildkit.frontend.dockerfile.gotext import lower, upper
from buildkit.frontend.dockerfile.instructions import Arg, Stage
from buildkit.frontend.dockerfile.linter import Linter
from buildkit.frontend.dockerfile.location import DockerfileError, Location
from buildkit.frontend.dockerfile.platformspec import format_full, parse_platform
from buildkit.frontend.dockerfile.shell import Expansion, Lexer
from buildkit.frontend.dockerfile.suggest import nearest
from buildkit.llb.env import Env
from buildkit.llb.paths import clean

if TYPE_CHECKING:
    from buildkit.fs.patterns import PatternMatcher

NOT_IN_ENV = frozenset({"BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"})
"""Arguments that never reach the environment of a step."""

_RESERVED = frozenset({"context", "scratch"})
_SECRET = re.compile(
    r"(?:_|^)(?:apikey|auth|credential|credentials|key|password|pword|passwd|secret|token)(?:_|$)", re.IGNORECASE
)
_PUBLIC = re.compile(r"(?:_|^)(?:public|file|version)(?:_|$)", re.IGNORECASE)


def check_stage_names(stages: Sequence[Stage], linter: Linter) -> None:
    """Names that are reserved or taken."""
    seen: set[str] = set()
    for stage in stages:
        if not stage.name:
            continue
        location = stage.origin.location
        if stage.name in _RESERVED:
            linter.run(rules.RESERVED_STAGE_NAME, location, rules.reserved_stage_name(stage.name))
        if stage.name in seen:
            linter.run(rules.DUPLICATE_STAGE_NAME, location, rules.duplicate_stage_name(stage.name))
        seen.add(stage.name)


def check_casing(stages: Sequence[Stage], linter: Linter) -> None:
    """Keywords in another case than most of the file's."""
    keywords = [
        (instruction.keyword, instruction.location)
        for stage in stages
        for instruction in (stage.origin, *stage.commands)
    ]
    balance = 0
    for keyword, _ in keywords:
        if keyword == lower(keyword):
            balance += 1
        elif keyword == upper(keyword):
            balance -= 1
    casing, convert = ("lowercase", lower) if balance > 0 else ("uppercase", upper)
    for keyword, location in keywords:
        if keyword != convert(keyword):
            message = rules.consistent_instruction_casing(keyword, casing)
            linter.run(rules.CONSISTENT_INSTRUCTION_CASING, location, message)


def check_default_bases(
    stages: Sequence[Stage], lexer: Lexer, variables: Env, args: Sequence[Arg], linter: Linter
) -> None:
    """Bases that are no image names unless a build argument is given."""
    from buildkit.oci.names import parse_reference

    try:
        variables, _ = declare_args(variables, lexer, args, {})
        for stage in stages:
            base = lexer.expand(stage.origin.base, variables).text
            try:
                parse_reference(base)
            except InvalidInput:
                message = rules.invalid_default_arg_in_from(stage.origin.base)
                linter.run(rules.INVALID_DEFAULT_ARG_IN_FROM, stage.origin.location, message)
    except DockerfileError:
        return


def check_from_args(known: Iterable[str], unmatched: Collection[str], location: Location, linter: Linter) -> None:
    """Variables in FROM that no ARG declares."""
    names = set(known) if unmatched else set()
    for name in sorted(unmatched):
        if name not in names:
            message = rules.undefined_arg_in_from(name, nearest(name, sorted(names)))
            linter.run(rules.UNDEFINED_ARG_IN_FROM, location, message)


def check_platform_flag(
    written: str, expansion: Expansion, stage: str, location: Location, variables: Mapping[str, str], linter: Linter
) -> None:
    """``FROM --platform`` that says the obvious, or something constant."""
    target = "TARGETPLATFORM"
    if expansion.matched == {target} and not expansion.unmatched and expansion.text == variables.get(target, ""):
        linter.run(rules.REDUNDANT_TARGET_PLATFORM, location, rules.redundant_target_platform(written))
    if expansion.matched or expansion.unmatched:
        return
    try:
        platform = parse_platform(expansion.text)
    except DockerfileError:
        return
    if platform.os not in stage and platform.architecture not in stage:
        message = rules.from_platform_flag_const_disallowed(expansion.text)
        linter.run(rules.FROM_PLATFORM_FLAG_CONST_DISALLOWED, location, message)


def check_base_platform(name: str, wanted: Platform, found: Platform, location: Location, linter: Linter) -> None:
    """A base image of another platform than asked for."""
    if (wanted.os, wanted.architecture) != (found.os, found.architecture):
        message = rules.invalid_base_image_platform(
            name, format_full(normalize(wanted)), format_full(_normalized(found))
        )
        linter.run(rules.INVALID_BASE_IMAGE_PLATFORM, location, message)


def _normalized(platform: Platform) -> Platform:
    return normalize(platform) if platform.os else normalize(Platform("linux", platform.architecture, platform.variant))


def check_variables(
    unmatched: Collection[str], declared: Collection[str], variables: Mapping[str, str], location: Location,
    linter: Linter,
) -> None:  # fmt: skip
    """Variables that nothing defines."""
    missing = [name for name in unmatched if name not in declared and name not in NOT_IN_ENV]
    for name in sorted(missing):
        message = rules.undefined_var(name, nearest(name, variables))
        linter.run(rules.UNDEFINED_VAR, location, message)


def check_secret_name(keyword: str, name: str, location: Location, linter: Linter) -> None:
    """A variable named like something that should not be in an image."""
    if _SECRET.search(name) and not _PUBLIC.search(name):
        message = rules.secrets_used_in_arg_or_env(keyword, name)
        linter.run(rules.SECRETS_USED_IN_ARG_OR_ENV, location, message)


def check_ignored_source(
    source: str, action: str, matcher: PatternMatcher | None, location: Location, linter: Linter
) -> None:
    """A copied file that ``.dockerignore`` hides; files are not looked at, so exceptions switch this off."""
    if matcher is None or matcher.has_exceptions:
        return
    path = clean(source)
    if path in (".", "/") and not {"*", "**", "**/*"} & {pattern.text for pattern in matcher.patterns}:
        return
    if matcher.matches(path):
        linter.run(rules.COPY_IGNORED_FILE, location, rules.copy_ignored_file(action, path))
