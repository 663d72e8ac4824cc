import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.kit.dockerfiles import fault

from buildkit.frontend.dockerfile.directives import find_directive, find_syntax
from buildkit.frontend.dockerfile.location import DockerfileError
from buildkit.frontend.dockerfile.parser import decode, parse


def nodes(text):
    return parse(text).nodes


@pytest.mark.row("D2", "D3")
def test_continued_lines_are_joined_without_comments_between_them():
    (node,) = nodes("RUN a \\\n  # note\n  b \\  \n\n c\n")
    assert (node.arguments, node.start_line, node.end_line) == (("a   b  c",), 1, 5)


@pytest.mark.row("D2")
def test_an_empty_line_in_a_continuation_is_remembered():
    found = parse("RUN a \\\n\n b\n").empty_continuations
    assert [(c.line, c.text) for c in found] == [(3, "RUN a  b")]


@pytest.mark.row("D4", "D7")
def test_the_escape_directive_changes_continuations():
    dockerfile = parse("# Escape = `\nRUN a `\n b\\\n")
    assert (dockerfile.escape, dockerfile.nodes[0].arguments) == ("`", ("a  b\\",))


@pytest.mark.row("D4", "D7")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# escape=x\nFROM a", "invalid escape token 'x' does not match ` or \\"),
        ("# escape=`\n# escape=`\nFROM a", "only one escape parser directive can be used"),
    ],
)
def test_wrong_directives_are_refused(text, message):
    assert fault(text)[0] == message


@pytest.mark.row("D7")
def test_a_directive_after_a_comment_is_a_comment():
    assert parse("# hello\n# escape=`\nFROM a").escape == "\\"


@pytest.mark.row("D5")
@pytest.mark.parametrize(
    ("text", "image", "line"),
    [
        ("# syntax=a/b:1 x\nFROM a", "a/b:1", 1),
        ("\ufeff#!/bin/x\n# syntax = a/b:1\n", "a/b:1", 2),
        ("// syntax=a/b:1\n", "a/b:1", 1),
        (json.dumps({"syntax": "a/b:1"}), "a/b:1", 0),
    ],
)
def test_the_frontend_asked_for_is_found_in_every_form(text, image, line):
    found = find_syntax(text)
    assert (found.first_word, found.location[0].start_line) == (image, line)


def test_directives_are_not_found_below_instructions():
    assert find_syntax("FROM a\n# syntax=b\n") is None
    assert find_directive("check", "# syntax=a\n# check=skip=all\n").value == "skip=all"


@pytest.mark.row("D8", "D9", "D16")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# nothing\n", ("file with no instructions", [(1, 1)])),
        ("RUN x\n", ("no build stage in current context", [(1, 1)])),
        ("FROM a\nRUN <<E\nx\n", ("unterminated heredoc", [(2, 3)])),
        ("FROM a\nRUN " + "x" * 65536 + "\n", ("dockerfile line greater than max allowed size of 65535", [(1, 1)])),
        ("FROM a\nCOPY [1, 2]\n", ("when using JSON array syntax, arrays must be comprised of strings only", [(2, 2)])),
        ("FROM a\nENV x\n", ("ENV must have two arguments", [(2, 2)])),
    ],
)
def test_texts_that_are_no_dockerfile(text, expected):
    assert fault(text) == expected


@pytest.mark.row("D10")
def test_byte_order_mark_and_carriage_returns_are_dropped():
    assert [n.arguments for n in nodes("\ufeffFROM a\r\nRUN b \\\r\n c\r\n")] == [("a",), ("b  c",)]


@pytest.mark.row("D11", "D12")
def test_heredocs_are_read_in_order():
    (node,) = nodes("RUN 3<<A <<-'B' cat\na\nA\n\tb\n\tB\n")
    assert [(h.name, h.descriptor, h.expand, h.content, h.chomped) for h in node.heredocs] == [
        ("A", 3, True, "a\n", "a\n"),
        ("B", 0, False, "\tb\n", "b\n"),
    ]
    assert node.end_line == 5


@pytest.mark.row("D11")
def test_only_run_copy_and_add_have_heredocs():
    assert [len(n.heredocs) for n in nodes('CMD <<E\nONBUILD COPY <<E /\nx\nE\nRUN ["<<E"]\n')] == [0, 1, 0]


@pytest.mark.row("D17")
def test_flags_stand_before_the_arguments():
    (node,) = nodes('COPY --a=1 "--b=2 3" -- --c d\n')[:1]
    assert (node.flags, node.arguments) == (("--a=1",), ('"--b=2', '3"', "--", "--c", "d"))
    assert nodes("RUN --x='y z' --\\w -- --v")[0].flags == ("--x=y z", "--w")


@pytest.mark.row("D18")
def test_broken_json_is_taken_as_plain_text():
    assert nodes('RUN ["a", b]')[0].arguments == ('["a", b]',)


@pytest.mark.row("D19")
def test_pairs_are_words_or_the_old_form():
    assert nodes('ENV a=1 b="2 3" c=\\ 4')[0].arguments == ("a", "1", "=", "b", '"2 3"', "=", "c", "\\ 4", "=")
    assert nodes("ENV a 1 = 2")[0].arguments == ("a", "1 = 2", "")


def test_the_dump_shows_the_tree():
    text = 'FROM --platform=x a\nONBUILD RUN ["b"]\n'
    assert parse(text).dump() == '(from ["--platform=x"] "a")\n(onbuild (run "b"))'


@pytest.mark.parametrize("line", ["ONBUILD " * 8000, "RUN " + "[" * 60000, 'CMD ["a", ' + '{"b":' * 10000])
def test_deep_nesting_is_no_crash(line):
    assert fault(line)[0]


PIECES = [b"FROM a", b"RUN <<E", b"E", b"# c", b"#", b"", b"\\", b" x \\", b"COPY --from=b", b"ENV a=b", b"ONBUILD "]
PIECES += [b"\xff\xfe", b"# escape=`", b"`", b"RUN [", b'"', b"'", b"\t\r", b"HEALTHCHECK \x85 CMD", b"\xc2\xa0"]
LINES = st.lists(st.sampled_from(PIECES), max_size=12)


@given(LINES, st.sampled_from([b"\n", b"\r\n", b" ", b""]))
def test_any_text_is_parsed_or_refused_with_a_line(pieces, between):
    try:
        parse(decode(between.join(pieces)))
    except DockerfileError as error:
        assert error.locations


@given(st.binary(max_size=200))
def test_any_bytes_are_parsed_or_refused(content):
    try:
        parse(decode(content)).dump()
    except DockerfileError:
        pass
