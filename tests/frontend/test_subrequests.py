import json

import pytest
from tests.kit.dockerfiles import program

from buildkit.core.errors import Range
from buildkit.frontend.dockerfile import rules, subrequests
from buildkit.frontend.dockerfile.linter import Finding
from buildkit.frontend.dockerfile.location import lines
from buildkit.frontend.dockerfile.outline import Outline, OutlineArg, OutlineNeed
from buildkit.frontend.dockerfile.tabular import align
from buildkit.llb.definition import SourceFile
from buildkit.llb.state import scratch


def document(result):
    return json.loads(result.metadata["result.json"])


def text(result):
    return result.metadata["result.txt"].decode()


@pytest.mark.row("D220")
def test_describe_lists_three_questions():
    assert [r["name"] for r in document(subrequests.describe())] == [
        "frontend.outline",
        "frontend.targets",
        "frontend.subrequests.describe",
    ]
    assert text(subrequests.describe()).splitlines()[1] == (
        "outline              1.0.0   List all parameters current build target supports"
    )


@pytest.mark.row("D222")
def test_targets_lists_stages():
    source = "# a first\nFROM --platform=p x AS a\nFROM y\n"
    found = subrequests.targets(program(source), source.encode())
    assert document(found)["targets"] == [
        {"name": "a", "description": "first", "base": "x", "platform": "p", "location": {"ranges": [at(2)]}},
        {"default": True, "base": "y", "location": {"ranges": [at(3)]}},
    ]
    assert text(found) == "TARGET    DESCRIPTION\na         first\n(default) \n"


def at(line):
    return {"start": {"line": line}, "end": {"line": line}}


@pytest.mark.row("D221")
def test_outline_has_a_table_for_each_kind():
    found = subrequests.outline(
        Outline("a", "first", (OutlineArg("V", "the version", "1", lines(2, 2)),), (OutlineNeed("s", required=True),)),
        b"FROM x",
    )
    assert document(found)["args"] == [
        {"name": "V", "description": "the version", "value": "1", "location": {"ranges": [at(2)]}}
    ]
    assert document(found)["secrets"] == [{"name": "s", "required": True}]
    assert text(found) == (
        "TARGET:      a\nDESCRIPTION: first\n\n"
        "BUILD ARG   VALUE   DESCRIPTION\nV           1       the version\n\n"
        "SECRET   REQUIRED\ns        true\n\n"
    )


@pytest.mark.row("D223")
def test_lint_shows_findings_in_the_order_of_lines_and_a_failure():
    file = SourceFile("Dockerfile", "Dockerfile", b"FROM a\nMAINTAINER x\nfrom b\n")
    findings = [
        Finding(rules.FROM_AS_CASING, "late", lines(3, 3)),
        Finding(rules.MAINTAINER_DEPRECATED, "early", lines(2, 2)),
    ]
    found = subrequests.lint(findings, subrequests.Failure("broken", lines(1, 1)), file)
    assert [w["detail"] for w in document(found)["warnings"]] == ["late", "early"]
    assert document(found)["buildError"] == {"message": "broken", "location": {"ranges": [at(1)]}}
    assert found.metadata["result.statuscode"] == b"1"
    assert text(found).index("early") < text(found).index("late")
    assert "   2 | >>> MAINTAINER x" in text(found)
    assert subrequests.lint([], None, file).metadata["result.statuscode"] == b"0"


@pytest.mark.row("D224")
def test_convertllb_gives_ops_by_digest():
    from buildkit.llb.source import image

    found = document(subrequests.convert(image("busybox").marshal()))
    (source,) = [op for op in found["def"].values() if "source" in op]
    assert source["source"]["identifier"] == "docker-image://docker.io/library/busybox:latest"
    assert document(subrequests.convert(scratch().marshal()))["def"] == {}


def test_places_of_one_fault_are_merged():
    places = [lines(5, 5), (Range(1, 0, 3, 0),), lines(2, 2)]
    assert [(r.start_line, r.end_line) for r in subrequests.merged(places)] == [(1, 3), (5, 5)]


def test_tabs_align_runs_of_lines_that_have_the_column():
    assert align("a\tb\nccc\td\nno tab\ne\tf\n", 1) == "a   b\nccc d\nno tab\ne f\n"
