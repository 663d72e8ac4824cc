import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.kit.dockerfiles import fault, findings, instruction, program

from buildkit.frontend.dockerfile.location import DockerfileError


def refusal(line):
    return fault(f"FROM scratch\n{line}\n")[0].removeprefix("dockerfile parse error on line 2: ")


@pytest.mark.row("D1")
def test_keywords_are_read_in_any_case():
    assert instruction("wOrKdIr /a").path == "/a"


@pytest.mark.row("D1", "D20")
def test_an_unknown_keyword_names_the_nearest():
    message, places = fault("FROM a\nWORKDR x\n")
    assert message == "dockerfile parse error on line 2: unknown instruction: WORKDR (did you mean WORKDIR?)"
    assert places == [(2, 2)]


@pytest.mark.row("D17", "D20")
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("COPY --form=x a b", "unknown flag: --form (did you mean from?)"),
        ("COPY --from=x --from=y a b", "duplicate flag specified: --from"),
        ("COPY --chown a b", "missing a value on flag: --chown"),
        ("COPY --link= a b", "missing a value on flag: --link"),
        ("COPY --link=maybe a b", "expecting boolean value for flag --link, not: maybe"),
    ],
)
def test_wrong_flags_are_refused(line, message):
    assert refusal(line) == message


@pytest.mark.row("D50")
def test_from_has_a_base_a_name_and_a_platform():
    origin = program("FROM --platform=linux/arm64 alpine AS Final").stages[0].origin
    assert (origin.base, origin.name, origin.platform) == ("alpine", "final", "linux/arm64")


@pytest.mark.row("D50")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("FROM a AS 1x", "name can't start with a number or contain symbols"),
        ("FROM a b", "FROM requires either one or three arguments"),
        ("FROM", "FROM requires either one or three arguments"),
    ],
)
def test_from_refuses(text, message):
    assert message in fault(text)[0]


@pytest.mark.row("D19", "D80", "D104", "D105", "D107", "D109", "D110", "D112")
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("ENV =x", "ENV names can not be blank"),
        ("ENV a=b c", 'Syntax error - can\'t find = in "c". Must be of the form: name=value'),
        ("LABEL", "LABEL requires at least one argument"),
        (
            "COPY a",
            "COPY requires at least two arguments, but only one was provided. Destination could not be determined",
        ),
        ("EXPOSE", "EXPOSE requires at least one argument"),
        ('VOLUME ["a", " "]', "VOLUME specified can not be an empty string"),
        ("SHELL sh -c", "SHELL requires the arguments to be in JSON form"),
        ("SHELL []", "SHELL requires at least one argument"),
        ("HEALTHCHECK NONE x", "HEALTHCHECK NONE takes no arguments"),
        ("HEALTHCHECK CMD", "Missing command after HEALTHCHECK CMD"),
        ("HEALTHCHECK X y", 'Unknown type "X" in HEALTHCHECK (try CMD)'),
        ("HEALTHCHECK --interval=1us CMD x", 'Interval "interval" cannot be less than 1ms'),
        ("HEALTHCHECK --timeout=5 CMD x", 'time: missing unit in duration "5"'),
        ("HEALTHCHECK --timeout=5é CMD x", r'time: unknown unit "\xc3\x83\xc2\xa9" in duration "5\xc3\x83\xc2\xa9"'),
        ("HEALTHCHECK --retries=-1 CMD x", "--retries cannot be negative (-1)"),
        ("ONBUILD ONBUILD RUN x", "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"),
        ("ONBUILD FROM x", "FROM isn't allowed as an ONBUILD trigger"),
        ("ONBUILD", "ONBUILD requires at least one argument"),
        ("ARG =x", "ARG names can not be blank"),
        ("RUN --network=bridge x", 'invalid network mode "bridge"'),
        ("RUN --security=x y", 'security "x" is not valid'),
        ("RUN --mount=from=$x y", "'from' doesn't support variable expansion, define alias stage instead"),
        ("COPY a <<E", "COPY cannot accept a heredoc as a destination"),
    ],
)
def test_instructions_refuse(line, message):
    assert refusal(f"{line}\nE" if "<<E" in line else line) == message


@pytest.mark.row("D60", "D106")
def test_commands_have_a_shell_form_and_an_exec_form():
    shell, plain = instruction("RUN echo  hi").command, instruction('CMD ["echo", "hi"]').command
    assert (shell.arguments, shell.for_shell) == (("echo  hi",), True)
    assert (plain.arguments, plain.for_shell) == (("echo", "hi"), False)


@pytest.mark.row("D15")
def test_copy_makes_files_of_heredocs():
    copy = instruction('COPY a <<X <<"Y" /d/\n1\nX\n2\nY')
    assert copy.sources == ("a",)
    assert [(f.path, f.content, f.expand) for f in copy.files] == [("X", "1\n", True), ("Y", "2\n", False)]


@pytest.mark.row("D110")
def test_onbuild_keeps_its_heredocs():
    assert instruction("ONBUILD RUN <<E\nx\nE").expression == "RUN <<E\nx\nE"


@pytest.mark.row("D109")
def test_healthcheck_times_are_nanoseconds():
    check = instruction("HEALTHCHECK --interval=1m30s --retries=3 --start-period=.5s CMD x").check
    assert (check.test, check.interval, check.retries) == (("CMD-SHELL", "x"), 90_000_000_000, 3)
    assert check.start_period == 500_000_000


@pytest.mark.row("D112")
def test_comments_above_describe_args_and_stages():
    found = program("# v the version\nARG v w=1\n# s a stage\nFROM a AS s")
    assert [(a.key, a.value, a.description) for a in found.global_args[0].definitions] == [
        ("v", None, "the version"),
        ("w", "1", ""),
    ]
    assert found.stages[0].origin.description == "a stage"


@pytest.mark.row("D30")
def test_expansion_gives_a_new_instruction():
    copy = instruction("COPY --chown=a b c")
    assert copy.expand(str.upper).sources == ("B",)
    assert copy.sources == ("b",)


def rules(text):
    return [(f.rule.name, f.message) for f in findings(text)]


@pytest.mark.row("D190")
def test_stage_names_should_be_lowercase():
    assert rules("FROM a AS Bc") == [("StageNameCasing", "Stage name 'Bc' should be lowercase")]


@pytest.mark.row("D191")
def test_as_should_be_written_like_from():
    assert rules("FROM a as b") == [("FromAsCasing", "'as' and 'FROM' keywords' casing do not match")]


@pytest.mark.row("D197")
def test_maintainer_is_deprecated():
    assert rules("FROM a\nMAINTAINER me")[0][0] == "MaintainerDeprecated"


@pytest.mark.row("D212")
def test_a_comment_above_an_instruction_skips_checks_there():
    assert rules("FROM a\n# check=skip=MaintainerDeprecated\nMAINTAINER me") == []


@pytest.mark.row("D209", "D212")
def test_descriptions_are_checked_when_asked_for():
    text = "# about it\nARG v\nFROM a"
    assert rules(text) == []
    assert rules("# check=experimental=all\n" + text) == []
    commented = "# check=experimental=InvalidDefinitionDescription\n# about it\nARG v\nFROM a"
    assert rules("# x\n\n" + commented)[0][1] == "Comment for ARG should follow the format: `# v <description>`"


KEYWORDS = st.sampled_from("add arg cmd copy env expose from healthcheck label onbuild run shell user volume x".split())
RESTS = st.text(st.sampled_from(" ab=-\"[],'$<\\1\xa0\udc85"), max_size=25)


@given(st.lists(st.tuples(KEYWORDS, RESTS), max_size=4))
def test_any_instruction_is_accepted_or_refused(parts):
    try:
        program("FROM a\n" + "\n".join(f"{keyword} {rest}" for keyword, rest in parts))
    except DockerfileError as error:
        assert error.locations
