"""Questions about a Dockerfile instead of a build: outline, targets, lint, describe, convertllb.

Answers are metadata of an empty result: ``result.json``, for people ``result.txt``, and ``version``.
"""

from __future__ import annotations

from collections.abc import Sequence

from buildkit.core.errors import Range, SourceDetail
from buildkit.core.excerpt import excerpt
from buildkit.core.gojson import go_json_indented
from buildkit.core.result import Result
from buildkit.core.values import dataclass, replace
from buildkit.frontend.dockerfile.gotext import replace_invalid
from buildkit.frontend.dockerfile.instructions import Program
from buildkit.frontend.dockerfile.linter import Finding
from buildkit.frontend.dockerfile.location import Location
from buildkit.frontend.dockerfile.outline import Outline, OutlineNeed
from buildkit.frontend.dockerfile.tabular import align
from buildkit.frontend.frontend import FrontendResult
from buildkit.llb.definition import Definition, SourceFile
from buildkit.llb.metadata import OpMetadata

OUTLINE = "frontend.outline"
TARGETS = "frontend.targets"
LINT = "frontend.lint"
CONVERT = "frontend.convertllb"
DESCRIBE = "frontend.subrequests.describe"

_Json = dict[str, object]


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a file that was checked cannot be built, and where."""

    message: str
    ranges: tuple[Range, ...] = ()


def answer(version: str, **parts: bytes) -> FrontendResult:
    """A result with nothing but metadata; ``json`` and ``txt`` become ``result.json`` and ``result.txt``."""
    metadata = {f"result.{name}": value for name, value in parts.items()}
    return Result({}, single=True, metadata=metadata | {"version": version.encode()})


def describe() -> FrontendResult:
    """Which questions can be asked (lint and convertllb answer too, but are not listed)."""
    listed = [
        _request(OUTLINE, "List all parameters current build target supports", [("target", "Target build stage")]),
        _request(TARGETS, "List all targets current build supports", []),
        _request(DESCRIBE, "List available subrequest types", None),
    ]
    rows = ["NAME\tVERSION\tDESCRIPTION\n"]
    rows += (f"{str(r['name']).removeprefix('frontend.')}\t{r['version']}\t{r['description']}\n" for r in listed)
    return answer("1.0.0", json=_document(listed), txt=_text(align("".join(rows), 1)))


def _request(name: str, description: str, options: Sequence[tuple[str, str]] | None) -> _Json:
    return {
        "name": name,
        "version": "1.0.0",
        "type": "rpc",
        "description": description,
        "opts": None if options is None else [{"name": n, "description": d} for n, d in options],
        "inputs": None,
        "metadata": [{"name": n, "description": ""} for n in ("result.json", "result.txt")],
        "refs": None,
    }


def targets(program: Program, content: bytes) -> FrontendResult:
    """The stages; the last one is the default."""
    listed: list[_Json] = []
    rows = ["TARGET\tDESCRIPTION\n"]
    for number, stage in enumerate(program.stages, 1):
        origin, default = stage.origin, number == len(program.stages)
        listed.append(
            _present(
                name=origin.name,
                default=default,
                description=origin.description,
                base=origin.base,
                platform=origin.platform,
                location=location_json(origin.location),
            )
        )
        name = " ".join(filter(None, (origin.name, "(default)" if default else "")))
        rows.append(f"{name}\t{origin.description}\n")
    text = _text(align("".join(rows), 1))
    return answer("1.0.0", json=_document({"targets": listed or None, "sources": [content]}), txt=text)


def outline(found: Outline, content: bytes) -> FrontendResult:
    """What can be set for a target."""
    document = _present(
        name=found.name,
        description=found.description,
        args=[
            _present(
                required=("name",),
                name=a.name,
                description=a.description,
                value=a.value,
                location=location_json(a.location),
            )
            for a in found.args
        ],
        secrets=[_need(need) for need in found.secrets],
        ssh=[_need(need) for need in found.agents],
        sources=[content],
    )
    return answer("1.0.0", json=_document(document), txt=_text(_outline_text(found)))


def _need(need: OutlineNeed) -> _Json:
    return _present(required=("name",), name=need.name, required_=need.required, location=location_json(need.location))


def _outline_text(found: Outline) -> str:
    tables: list[str] = []
    if found.name or found.description:
        table = f"TARGET:\t{found.name or '(default)'}\n"
        if found.description:
            table += f"DESCRIPTION:\t{found.description}\n"
        tables.append(align(table, 1))
    if found.args:
        rows = (f"{a.name}\t{a.value}\t{a.description}\n" for a in found.args)
        tables.append(align("BUILD ARG\tVALUE\tDESCRIPTION\n" + "".join(rows), 3))
    for title, needs in (("SECRET", found.secrets), ("SSH", found.agents)):
        if needs:
            rows = (f"{n.name}\t{'true' if n.required else ''}\n" for n in needs)
            tables.append(align(f"{title}\tREQUIRED\n" + "".join(rows), 3))
    return "".join(f"{table}\n" for table in tables)


def lint(findings: Sequence[Finding], failure: Failure | None, file: SourceFile) -> FrontendResult:
    """What the checks found, and why the build would fail."""
    document: _Json = {
        "warnings": [_warning(finding) for finding in findings] or None,
        "sources": [source_json(file)],
    }
    if failure is not None:
        document["buildError"] = {
            "message": failure.message,
            "location": location_json(failure.ranges) or {},
        }
    broken = bool(findings) or failure is not None
    text = "".join(_warning_text(finding, file) for finding in sorted(findings, key=_first_line))
    return answer("1.0.0", json=_document(document), txt=_text(text), statuscode=b"1" if broken else b"0")


def _warning(finding: Finding) -> _Json:
    return _present(
        required=("ruleName", "location"),
        ruleName=finding.rule.name,
        description=finding.rule.description,
        url=finding.rule.url,
        detail=finding.message,
        location=location_json(finding.location) or {},
    )


def _first_line(finding: Finding) -> tuple[int, str]:
    return (finding.location[0].start_line, "") if finding.location else (-1, finding.rule.name)


def _warning_text(finding: Finding, file: SourceFile) -> str:
    title = f"\nWARNING: {finding.rule.name}" + (f" - {finding.rule.url}" if finding.rule.url else "")
    shown = excerpt(SourceDetail(file.filename, file.content, file.language, finding.location))
    return f"{title}\n{finding.message}\n{shown}"


def convert(definition: Definition) -> FrontendResult:
    """The definition as JSON: ops by digest, their metadata, and where they come from."""
    from google.protobuf.json_format import MessageToDict

    from buildkit.api import ops_pb2 as pb
    from buildkit.core.digest import sha256

    ops = {sha256(op): MessageToDict(pb.Op.FromString(op)) for op in definition.ops}
    source = _sources_json(definition)
    metadata = {digest: metadata_json(m) for digest, m in definition.metadata.items()}
    document = {"def": dict(sorted(ops.items())), "metadata": dict(sorted(metadata.items())), "source": source}
    return answer("0.1.0", json=_document(document))


def _sources_json(definition: Definition) -> _Json:
    """``pb.Source`` as JSON: which op comes from which lines of which file."""
    if definition.source is None:
        return {}
    from google.protobuf.json_format import MessageToDict

    from buildkit.api import ops_pb2 as pb

    found: _Json = MessageToDict(pb.Source.FromString(definition.source.to_bytes()))
    return found


def metadata_json(metadata: OpMetadata) -> _Json:
    """``pb.OpMetadata`` in Go's JSON."""
    group, limits = metadata.progress_group, metadata.resources
    return _present(
        ignore_cache=metadata.ignore_cache,
        description=dict(sorted(metadata.description.items())),
        export_cache=None if metadata.export_cache is None else _present(Value=metadata.export_cache),
        caps=dict(sorted(metadata.caps.items())),
        progress_group=None if group is None else _present(id=group.id, name=group.name, weak=group.weak),
        linux_resources=None
        if limits is None
        else _present(
            memory=limits.memory,
            memorySwap=limits.memory_swap,
            cpuShares=limits.cpu_shares,
            cpuPeriod=limits.cpu_period,
            cpuQuota=limits.cpu_quota,
            cpusetCpus=limits.cpuset_cpus,
            cpusetMems=limits.cpuset_mems,
        ),
    )


def source_json(file: SourceFile) -> _Json:
    """``pb.SourceInfo`` in Go's JSON."""
    definition = file.definition
    return _present(
        filename=file.filename,
        data=file.content,
        definition=None
        if definition is None
        else _present(
            def_=list(definition.ops),
            metadata={digest: metadata_json(m) for digest, m in sorted(definition.metadata.items())},
            Source=_sources_json(definition),
        ),
        language=file.language,
    )


def location_json(location: Location) -> _Json | None:
    """``pb.Location`` in Go's JSON; None for no place."""
    if not location:
        return None
    return {
        "ranges": [
            {
                "start": _present(line=r.start_line, character=r.start_character),
                "end": _present(line=r.end_line, character=r.end_character),
            }
            for r in location
        ]
    }


def merged(locations: Sequence[Location]) -> Location:
    """Places of one fault as one, without what lies inside another of them."""
    out: list[Range] = []
    for one in sorted((r for location in locations for r in location), key=lambda r: (r.start_line, -r.end_line)):
        if out and one.start_line <= out[-1].end_line:
            last = out[-1]
            if one.end_line > last.end_line:
                out[-1] = replace(last, end_line=one.end_line, end_character=one.end_character)
        else:
            out.append(one)
    return tuple(out)


def _present(*, required: Sequence[str] = (), **fields: object) -> _Json:
    """The fields that are not empty; ``required`` ones always. A trailing underscore frees a name."""
    return {key.rstrip("_"): value for key, value in fields.items() if value or key in required}


def _document(value: object) -> bytes:
    return go_json_indented(value).encode()


def _text(text: str) -> bytes:
    return replace_invalid(text).encode()
