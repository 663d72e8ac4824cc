import pytest

from buildkit.frontend.dockerfile import rules
from buildkit.frontend.dockerfile.linter import CheckOptions, Linter, parse_check_options
from buildkit.frontend.dockerfile.location import DockerfileError


@pytest.mark.row("D6", "D212")
@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("", CheckOptions()),
        ("skip=A, B;error=true", CheckOptions(frozenset("AB"), fail=True)),
        ("skip=all", CheckOptions(skip_all=True)),
        ("experimental=all;skip=A", CheckOptions(frozenset("A"), experimental_all=True)),
    ],
)
def test_check_options(text, options):
    assert parse_check_options(text) == options


@pytest.mark.row("D212")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x", 'invalid check option "x"'),
        ("x=1", 'invalid check option "x"'),
        ("error=7", 'failed to parse check option "error=7": strconv.ParseBool: parsing "7": invalid syntax'),
    ],
)
def test_wrong_check_options_are_refused(text, message):
    with pytest.raises(DockerfileError) as caught:
        parse_check_options(text)
    assert str(caught.value) == message


@pytest.mark.row("D178")
def test_findings_fail_the_build_when_asked_to():
    linter = Linter(CheckOptions(fail=True), lambda finding: None)
    linter.check()
    linter.run(rules.UNDEFINED_VAR, (), "x")
    linter.run(rules.UNDEFINED_VAR, (), "y")
    with pytest.raises(DockerfileError, match=r"rules: UndefinedVar$"):
        linter.check()


@pytest.mark.row("D6")
def test_skipped_rules_are_silent_and_do_not_fail():
    linter = Linter(parse_check_options("skip=UndefinedVar;error=true"), lambda finding: pytest.fail("reported"))
    linter.run(rules.UNDEFINED_VAR, (), "x")
    linter.check()
