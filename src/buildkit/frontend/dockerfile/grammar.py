"""Nodes to instructions: which arguments and flags each keyword takes, and the checks that need no more than that."""

from __future__ import annotations

import re
from collections.abc import Callable

from buildkit.core.goquote import quote
from buildkit.frontend.dockerfile import commandgrammar, rules
from buildkit.frontend.dockerfile.arguments import basics, no_flags, one_argument, some_arguments
from buildkit.frontend.dockerfile.flags import Flags
from buildkit.frontend.dockerfile.gotext import equal_fold, lower, trim_space, upper
from buildkit.frontend.dockerfile.heredoc import find_heredoc
from buildkit.frontend.dockerfile.instructions import (
    Add,
    Arg,
    ArgDefinition,
    Command,
    Copy,
    Env,
    Expose,
    From,
    InlineFile,
    KeyValue,
    Label,
    Maintainer,
    Onbuild,
    Program,
    Stage,
    Stopsignal,
    User,
    Volume,
    Workdir,
)
from buildkit.frontend.dockerfile.linter import Linter
from buildkit.frontend.dockerfile.location import DockerfileError
from buildkit.frontend.dockerfile.parser import Dockerfile, Node
from buildkit.frontend.dockerfile.suggest import suggestion

_STAGE_NAME = re.compile(r"[a-z][a-z0-9\-_.]*\Z")
_ONBUILD = re.compile(r"[\t\n\f\r ]*ONBUILD[\t\n\f\r ]*", re.IGNORECASE | re.ASCII)


def parse_program(dockerfile: Dockerfile, linter: Linter) -> Program:
    """The instructions of a file, by stage; raises `DockerfileError`."""
    global_args: list[Arg] = []
    stages: list[tuple[From, list[Command]]] = []
    for node in dockerfile.nodes:
        try:
            instruction = parse_instruction(node, linter)
        except DockerfileError as error:
            raise error.prefixed(f"dockerfile parse error on line {node.start_line}: ") from None
        if isinstance(instruction, From):
            stages.append((instruction, []))
        elif stages:
            stages[-1][1].append(instruction)
        elif isinstance(instruction, Arg):
            global_args.append(instruction)
        else:
            raise DockerfileError("no build stage in current context", node.location)
    return Program(tuple(global_args), tuple(Stage(origin, tuple(commands)) for origin, commands in stages))


def parse_instruction(node: Node, linter: Linter) -> Command | From:
    """One instruction; raises `DockerfileError` with its lines."""
    parse = _KEYWORDS.get(lower(node.keyword))
    try:
        if parse is None:
            near = suggestion(node.keyword, map(upper, _KEYWORDS), case_sensitive=False)
            raise DockerfileError(f"unknown instruction: {node.keyword}{near}")
        return parse(node, linter.for_comments(node.comments))
    except DockerfileError as error:
        raise error.at(node.location) from None


def _pairs(node: Node) -> tuple[KeyValue, ...]:
    no_flags(node)
    words = some_arguments(node)
    pairs: list[KeyValue] = []
    for key, value, separator in zip(words[::3], words[1::3], words[2::3], strict=True):
        if not key:
            raise DockerfileError(f"{upper(node.keyword)} names can not be blank")
        pairs.append(KeyValue(key, value, legacy=not separator))
    return tuple(pairs)


def _env(node: Node, linter: Linter) -> Env:
    return Env(_pairs(node), **basics(node))


def _label(node: Node, linter: Linter) -> Label:
    return Label(_pairs(node), **basics(node))


def _maintainer(node: Node, linter: Linter) -> Maintainer:
    linter.run(rules.MAINTAINER_DEPRECATED, node.location, rules.maintainer_deprecated())
    name = one_argument(node)
    no_flags(node)
    return Maintainer(name, **basics(node))


def _add(node: Node, linter: Linter) -> Add:
    _need_destination(node)
    flags = Flags(
        node.flags,
        texts=("chown", "chmod", "checksum"),
        switches=("link", "keep-git-dir", "unpack"),
        lists=("exclude",),
    )
    sources, files = _sources(node)
    return Add(
        sources,
        node.arguments[-1],
        files,
        chown=flags.text("chown"),
        chmod=flags.text("chmod"),
        checksum=flags.text("checksum"),
        link=flags.switch("link") or False,
        excludes=flags.texts("exclude"),
        keep_git_dir=flags.switch("keep-git-dir"),
        unpack=flags.switch("unpack"),
        **basics(node),
    )


def _copy(node: Node, linter: Linter) -> Copy:
    _need_destination(node)
    flags = Flags(node.flags, texts=("chown", "from", "chmod"), switches=("link", "parents"), lists=("exclude",))
    sources, files = _sources(node)
    return Copy(
        sources,
        node.arguments[-1],
        files,
        source_stage=flags.text("from"),
        chown=flags.text("chown"),
        chmod=flags.text("chmod"),
        link=flags.switch("link") or False,
        excludes=flags.texts("exclude"),
        parents=flags.switch("parents") or False,
        **basics(node),
    )


def _need_destination(node: Node) -> None:
    if len(node.arguments) < 2:
        raise DockerfileError(
            f"{upper(node.keyword)} requires at least two arguments, but only one was provided. "
            "Destination could not be determined"
        )


def _sources(node: Node) -> tuple[tuple[str, ...], tuple[InlineFile, ...]]:
    if find_heredoc(node.arguments[-1]):
        raise DockerfileError(f"{upper(node.keyword)} cannot accept a heredoc as a destination")
    contents = {heredoc.name: heredoc for heredoc in node.heredocs}
    sources: list[str] = []
    files: list[InlineFile] = []
    for word in node.arguments[:-1]:
        heredoc = find_heredoc(word)
        if heredoc is None:
            sources.append(word)
            continue
        known = contents.get(heredoc.name, heredoc)
        files.append(InlineFile(heredoc.name, heredoc.filled(known.content).chomped, heredoc.expand))
    return tuple(sources), tuple(files)


def _from(node: Node, linter: Linter) -> From:
    words = node.arguments
    if len(words) == 3 and words[2] != lower(words[2]):
        linter.run(rules.STAGE_NAME_CASING, node.location, rules.stage_name_casing(words[2]))
    if len(words) >= 3 and not _same_casing(node.keyword, words[1]):
        linter.run(rules.FROM_AS_CASING, node.location, rules.from_as_casing(node.keyword, words[1]))
    name = _stage_name(words)
    flags = Flags(node.flags, texts=("platform",))
    description = _description(node.comments, name)
    if name:
        _check_description("FROM", [name], node, linter)
    return From(words[0], name, flags.text("platform"), description, **basics(node))


def _same_casing(from_word: str, as_word: str) -> bool:
    if from_word == lower(from_word):
        return as_word == lower(as_word)
    return from_word != upper(from_word) or as_word == upper(as_word)


def _stage_name(words: tuple[str, ...]) -> str:
    if len(words) == 3 and equal_fold(words[1], "as"):
        name = lower(words[2])
        if not _STAGE_NAME.match(name):
            shown = quote(words[2])
            raise DockerfileError(
                f"invalid name for build stage: {shown}, name can't start with a number or contain symbols"
            )
        return name
    if len(words) != 1:
        raise DockerfileError("FROM requires either one or three arguments")
    return ""


def _onbuild(node: Node, linter: Linter) -> Onbuild:
    if node.trigger is None:
        raise DockerfileError("ONBUILD requires at least one argument")
    no_flags(node)
    keyword = upper(trim_space(node.trigger.keyword))
    if keyword == "ONBUILD":
        raise DockerfileError("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
    if keyword in ("MAINTAINER", "FROM"):
        raise DockerfileError(f"{keyword} isn't allowed as an ONBUILD trigger")
    match = _ONBUILD.match(node.original)
    pieces = [node.original[match.end() :] if match else node.original]
    for heredoc in node.heredocs:
        pieces += ("\n", heredoc.content, heredoc.name)
    return Onbuild("".join(pieces), **basics(node))


def _workdir(node: Node, linter: Linter) -> Workdir:
    path = one_argument(node)
    no_flags(node)
    return Workdir(path, **basics(node))


def _user(node: Node, linter: Linter) -> User:
    user = one_argument(node)
    no_flags(node)
    return User(user, **basics(node))


def _stopsignal(node: Node, linter: Linter) -> Stopsignal:
    return Stopsignal(one_argument(node), **basics(node))


def _expose(node: Node, linter: Linter) -> Expose:
    ports = some_arguments(node)
    no_flags(node)
    return Expose(tuple(sorted(ports, key=lambda port: port.encode("utf-8", "surrogateescape"))), **basics(node))


def _volume(node: Node, linter: Linter) -> Volume:
    words = some_arguments(node)
    no_flags(node)
    paths = tuple(map(trim_space, words))
    if "" in paths:
        raise DockerfileError("VOLUME specified can not be an empty string")
    return Volume(paths, **basics(node))


def _arg(node: Node, linter: Linter) -> Arg:
    definitions: list[ArgDefinition] = []
    for word in some_arguments(node):
        key, equals, value = word.partition("=")
        if equals and not key:
            raise DockerfileError("ARG names can not be blank")
        definitions.append(ArgDefinition(key, value if equals else None, _description(node.comments, key)))
    _check_description("ARG", [definition.key for definition in definitions], node, linter)
    return Arg(tuple(definitions), **basics(node))


def _description(comments: tuple[str, ...], name: str) -> str:
    if name:
        for comment in comments:
            if comment.startswith(f"{name} "):
                return comment[len(name) + 1 :]
    return ""


def _check_description(keyword: str, names: list[str], node: Node, linter: Linter) -> None:
    if not node.comments or node.comments[-1].split(" ", 1)[0] in names:
        return
    shown = names[0] if len(names) == 1 else "<arg_key>"
    message = rules.invalid_definition_description(keyword, shown)
    linter.run(rules.INVALID_DEFINITION_DESCRIPTION, node.location, message)


_KEYWORDS: dict[str, Callable[[Node, Linter], Command | From]] = {
    "add": _add,
    "arg": _arg,
    "cmd": commandgrammar.parse_cmd,
    "copy": _copy,
    "entrypoint": commandgrammar.parse_entrypoint,
    "env": _env,
    "expose": _expose,
    "from": _from,
    "healthcheck": commandgrammar.parse_healthcheck,
    "label": _label,
    "maintainer": _maintainer,
    "onbuild": _onbuild,
    "run": commandgrammar.parse_run,
    "shell": commandgrammar.parse_shell,
    "stopsignal": _stopsignal,
    "user": _user,
    "volume": _volume,
    "workdir": _workdir,
}
