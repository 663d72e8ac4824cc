import pytest

from buildkit.cli.build import COMMAND, read_options
from buildkit.cli.flags import BadUsage, parse


def options(*arguments):
    return read_options(parse(arguments, COMMAND.flags)[0])


@pytest.mark.parametrize(
    ("flags", "request_id"),
    [
        (["--check"], "frontend.lint"),
        (["--print", "outline"], "frontend.outline"),
        (["--print", "targets"], "frontend.targets"),
        (["--print", "llb"], "frontend.convertllb"),
    ],
)
def test_a_question_is_asked_instead_of_a_build(flags, request_id, tmp_path):
    assert options(*flags, str(tmp_path)).frontend_attrs["requestid"] == request_id


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--check", "--print", "lint", "."], "give one"),
        (["--print", "outlin", "."], "expected one of outline"),
        (["--check"], "give a PATH or --frontend"),
    ],
)
def test_a_question_that_cannot_be_asked_is_refused(flags, told):
    with pytest.raises(BadUsage, match=told):
        options(*flags)


def test_who_reads_the_syntax_line_can_be_said(tmp_path):
    assert options("--syntax=forward", str(tmp_path)).frontend_attrs["syntax"] == "forward"
