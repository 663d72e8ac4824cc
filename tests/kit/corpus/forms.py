"""Our values in the form in which the corpus writes them down."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from buildkit.api import ops_pb2 as pb
from buildkit.core.digest import sha256
from buildkit.core.errors import BuildkitError, Range, SourceDetail
from buildkit.core.values import replace
from buildkit.frontend.dockerfile import instructions as i
from buildkit.frontend.dockerfile.directives import find_directive, find_syntax
from buildkit.frontend.dockerfile.grammar import parse_program
from buildkit.frontend.dockerfile.linter import Finding, Linter
from buildkit.frontend.dockerfile.location import DockerfileError
from buildkit.frontend.dockerfile.parser import Dockerfile, Node, decode, parse
from buildkit.frontend.frontend import Warning
from buildkit.llb.definition import Definition

_SURROGATES = re.compile("[\ud800-\udfff]")
_EMPTY_LINE = "Empty continuation lines will become errors in a future release"
_EMPTY_LINE_URL = "https://docs.docker.com/go/dockerfile/rule/no-empty-continuation/"
_TYPES = {"HealthcheckInstruction": "HealthCheckCommand", "Stopsignal": "StopSignalCommand"}

Form = dict[str, Any]


def shown(value: Any) -> Any:
    """Text that is not UTF-8 as JSON shows it."""
    if isinstance(value, str):
        return value if value.isascii() else _SURROGATES.sub("\ufffd", value)
    if isinstance(value, Mapping):
        return {shown(key): shown(item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [shown(item) for item in value]
    return value


def place(ranges: Iterable[Range]) -> Any:
    """First and last line when only whole lines are meant."""
    found = list(ranges)
    if not found:
        return None
    if any(r.start_character or r.end_character for r in found):
        return {"ranges": [[r.start_line, r.start_character, r.end_line, r.end_character] for r in found]}
    return [found[0].start_line, found[-1].end_line]


def failure(error: BuildkitError, *, sources: bool = False) -> Form:
    """An error's text and places."""
    form: Form = {"text": str(error)}
    if isinstance(error, DockerfileError) and error.locations:
        form["locations"] = [place(location) for location in error.locations]
    found = [place(detail.ranges) for detail in error.details if isinstance(detail, SourceDetail)]
    if sources and found:
        form["sources"] = found
    return form


def read_text(content: bytes) -> Form:
    """Directives, parse tree and instructions of a file."""
    text = decode(content)
    form: Form = {}
    if syntax := find_syntax(text):
        form["syntax"] = {"ref": syntax.first_word, "cmdline": syntax.value, "location": place(syntax.location)}
    if check := find_directive("check", text):
        form["check"] = {"value": check.first_word, "cmdline": check.value, "location": place(check.location)}
    try:
        dockerfile = parse(text)
    except DockerfileError as error:
        return form | {"parse": {"error": failure(error)}}
    form["parse"] = _tree(dockerfile)
    try:
        form["instructions"] = _program(parse_program(dockerfile, Linter()))
    except DockerfileError as error:
        form["instructions"] = {"error": failure(error)}
    return form


def _tree(dockerfile: Dockerfile) -> Form:
    nodes = dockerfile.nodes
    warnings = [
        {
            "short": f"Empty continuation line found in: {found.text}",
            "detail": [_EMPTY_LINE],
            "url": _EMPTY_LINE_URL,
            "location": [found.line, found.line],
        }
        for found in dockerfile.empty_continuations
    ]
    children = [_node(node) for node in nodes]
    return {
        "escape": dockerfile.escape,
        "dump": dockerfile.dump(),
        "ast": {"value": "", "lines": [nodes[0].start_line, nodes[-1].end_line], "children": children},
        "warnings": warnings or None,
    }


def _node(node: Node) -> Form:
    following: list[Form] = [{"value": argument} for argument in node.arguments]
    if node.trigger is not None:
        following = [{"value": "", "children": [_node(node.trigger)]}]
    heredocs = [
        {
            "Name": h.name,
            "FileDescriptor": h.descriptor,
            "Expand": h.expand,
            "Chomp": h.chomp,
            "Content": h.content,
        }
        for h in node.heredocs
    ]
    optional = {
        "original": node.original,
        "flags": list(node.flags),
        "attributes": {"json": True} if node.json else None,
        "lines": [node.start_line, node.end_line] if node.start_line else None,
        "prev_comment": list(node.comments),
        "heredocs": heredocs,
        "next": following,
    }
    return {"value": node.keyword} | {key: value for key, value in optional.items() if value}


def _program(program: i.Program) -> Form:
    stages = []
    for stage in program.stages:
        origin = stage.origin
        form: Form = {
            "base": origin.base,
            "name": origin.name,
            "platform": origin.platform,
            "orig_cmd": origin.keyword,
            "source": origin.text,
            "location": place(origin.location),
            "commands": [_command(command) for command in stage.commands] or None,
        }
        if origin.comments:
            form["comments"] = list(origin.comments)
        if origin.description:
            form["doc_comment"] = origin.description
        stages.append(form)
    return {"meta_args": [_command(arg) for arg in program.global_args] or None, "stages": stages or None}


def _command(command: i.Command) -> Form:
    kind = type(command).__name__
    form: Form = {
        "name": command.keyword,
        "location": place(command.location),
        "string": command.text,
        "type": _TYPES.get(kind, f"{kind}Command"),
        "fields": _fields(command),
    }
    if command.comments:
        form["comments"] = list(command.comments)
    if isinstance(command, i.Run):
        form |= {"network": command.network, "security": command.security}
        if command.mounts:
            form["mount_count"] = len(command.mounts)
        if command.devices:
            form["devices"] = [{"Name": d.name, "Required": d.required} for d in command.devices]
    return form


def _fields(command: i.Command) -> Form:
    match command:
        case i.Env():
            return {"Env": _pairs(command.variables)}
        case i.Label():
            return {"Labels": _pairs(command.labels)}
        case i.Maintainer():
            return {"Maintainer": command.name}
        case i.Add():
            return _copied(command) | {
                "Checksum": command.checksum,
                "KeepGitDir": command.keep_git_dir,
                "Unpack": command.unpack,
            }
        case i.Copy():
            return _copied(command) | {"From": command.source_stage, "Parents": command.parents}
        case i.Onbuild():
            return {"Expression": command.expression}
        case i.Workdir():
            return {"Path": command.path}
        case i.Run():
            return _command_line(command.command) | {"FlagsUsed": sorted(command.flags)}
        case i.Cmd():
            return _command_line(command.command)
        case i.Entrypoint():
            line = _command_line(command.command)
            return line | {"CmdLine": line["CmdLine"] or None}
        case i.HealthcheckInstruction():
            return {"Health": _check(command.check)}
        case i.Expose():
            return {"Ports": list(command.ports)}
        case i.User():
            return {"User": command.user}
        case i.Volume():
            return {"Volumes": list(command.paths)}
        case i.Stopsignal():
            return {"Signal": command.signal}
        case i.Arg():
            return {
                "Args": [{"Key": d.key, "Value": d.value, "DocComment": d.description} for d in command.definitions]
            }
        case i.Shell():
            return {"Shell": list(command.arguments)}


def _pairs(pairs: Iterable[i.KeyValue]) -> list[Form]:
    return [{"Key": pair.key, "Value": pair.value, "NoDelim": pair.legacy} for pair in pairs]


def _copied(command: i.Add | i.Copy) -> Form:
    files = [{"Path": file.path, "Data": file.content, "Expand": file.expand} for file in command.files]
    return {
        "Chmod": command.chmod,
        "Chown": command.chown,
        "DestPath": command.destination,
        "ExcludePatterns": list(command.excludes) or None,
        "Link": command.link,
        "SourceContents": files or None,
        "SourcePaths": list(command.sources) or None,
    }


def _command_line(line: i.CommandLine) -> Form:
    files = [{"Name": file.name, "Data": file.content, "Chomp": file.chomp} for file in line.files]
    return {"CmdLine": list(line.arguments), "PrependShell": line.for_shell, "Files": files or None}


def _check(check: i.Healthcheck) -> Form:
    fields = {
        "Test": list(check.test),
        "Interval": check.interval,
        "Timeout": check.timeout,
        "StartPeriod": check.start_period,
        "StartInterval": check.start_interval,
        "Retries": check.retries,
    }
    return {key: value for key, value in fields.items() if value}


def definition(found: Definition) -> Form:
    """Digests of all ops in order, their kinds, and the hash of the whole with progress groups renumbered."""
    digests = [sha256(op) for op in found.ops]
    content = _renumbered(found, digests).to_bytes()
    return {
        "ops": digests,
        "kinds": [_kind(op) for op in found.ops],
        "head": found.head,
        "llb_sha256": hashlib.sha256(content).hexdigest(),
        "llb_size": len(content),
    }


def _renumbered(found: Definition, digests: Sequence[str]) -> Definition:
    names: dict[str, str] = {}
    metadata = dict(found.metadata)
    for digest in digests:
        entry = metadata.get(digest)
        if entry is not None and entry.progress_group is not None:
            group = entry.progress_group
            name = names.setdefault(group.id, f"pg-{len(names) + 1}")
            metadata[digest] = replace(entry, progress_group=replace(group, id=name))
    return replace(found, metadata=metadata)


def _kind(content: bytes) -> str:
    op = pb.Op.FromString(content)
    kind = op.WhichOneof("op")
    if kind == "source":
        return f"source:{op.source.identifier.partition('://')[0]}"
    return kind or "return"


def finding(found: Finding) -> Form:
    """A finding as the conversion reports it."""
    form: Form = {"rule": found.rule.name, "msg": found.message, "location": place(found.location)}
    return form | ({"url": found.rule.url} if found.rule.url else {})


def warning(found: Warning) -> Form:
    """A warning as the client gets it."""
    form: Form = {
        "vertex": found.vertex,
        "msg": found.message,
        "level": found.level,
        "detail": list(found.detail),
        "range": place(found.ranges or ()),
    }
    return form | ({"url": found.url} if found.url else {})


def in_runs(warnings: list[Form]) -> list[Form]:
    """Consecutive warnings of one rule and place sorted, since their order is random in the original."""
    out: list[Form] = []
    run: list[Form] = []
    for one in warnings:
        if run and _group(run[-1]) != _group(one):
            out += sorted(run, key=_text)
            run = []
        run.append(one)
    return out + sorted(run, key=_text)


def _group(warning: Form) -> tuple[object, ...]:
    rule = warning.get("rule") or str(warning.get("msg")).partition(":")[0]
    return rule, json.dumps(warning.get("location", warning.get("range")))


def _text(form: Form) -> str:
    return json.dumps(form, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
