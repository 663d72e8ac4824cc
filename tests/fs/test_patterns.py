from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildkit.core.errors import InvalidInput
from buildkit.fs import patterns
from buildkit.fs.goregex import BadRegex, compile_go
from buildkit.fs.patterns import PatternMatcher, parse_ignore
from buildkit.fs.wildcard import clean, has_wildcard, match

NAMES = st.sampled_from(["a", "b", "ab", "a.b", ".a", "c"])
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
PIECES = st.sampled_from(["a", "b", "c", "/", "*", "**", "?", ".", "[a-b]", "/**/", "**/", "/*"])
PATTERNS = st.tuples(st.sampled_from(["", "!"]), st.lists(PIECES, min_size=1, max_size=5)).map(
    lambda pair: pair[0] + "".join(pair[1])
)


@pytest.mark.parametrize(
    ("patterns", "path", "wanted"),
    [
        (["foo"], "foo", True),
        (["foo"], "sub/foo", False),
        (["foo"], "foo/below/deep", True),
        (["foo/"], "foo", True),
        (["*.go"], "a.go", True),
        (["*.go"], "sub/a.go", False),
        (["**/*.go"], "a.go", True),
        (["**/*.go"], "sub/deep/a.go", True),
        (["**/foo"], "foo", True),
        (["**/foo"], "xfoo", False),
        (["**foo"], "xfoo", True),
        (["a/**"], "a", False),
        (["a/**"], "a/b", True),
        (["a**b"], "a/x/b", True),
        (["*", "!a"], "a/b", False),
        (["*", "!a"], "a", False),
        (["a", "!a/b", "a/b/c"], "a/b", False),
        (["a", "!a/b", "a/b/c"], "a/b/d", False),
        (["a", "!a/b", "a/b/c"], "a/b/c", True),
        (["a\\*"], "a*", True),
        (["a\\*"], "ab", False),
        (["[a-c]?"], "b/", False),
        (["[^a]"], "b", True),
        (["a.b"], "axb", False),
        (["  a  "], "a", True),
        (["a/./b/../c"], "a/c", True),
        (["*[[:digit:]]"], "x7", True),
        (["*\\d"], "x7", True),
        (["a|b*"], "xb1", True),
        (["a|b*"], "ab/", True),
        (["a|*b"], "xxb", True),
        (["**"], "anything/at/all", True),
        ([], "a", False),
    ],
)
@pytest.mark.row("D125", "L127")
def test_patterns_match_as_moby_does(patterns: list[str], path: str, wanted: bool) -> None:
    assert PatternMatcher(patterns).matches(path) is wanted


@given(st.lists(PATTERNS, max_size=4), PATHS)
def test_a_walk_that_carries_states_agrees_with_looking_at_whole_paths(patterns: list[str], path: str) -> None:
    try:
        matcher = PatternMatcher(patterns)
        whole = matcher.matches(path)
    except InvalidInput:
        return
    state: tuple[bool, ...] = ()
    names = path.split("/")
    if matcher.has_exceptions:
        return
    for depth in range(len(names)):
        matched, state = matcher.matches_below("/".join(names[: depth + 1]), state)
    assert matched is whole


@given(PATHS, PATHS)
def test_what_lies_below_a_matched_directory_matches_too(pattern: str, below: str) -> None:
    assert PatternMatcher([pattern]).matches(f"{pattern}/{below}")


@given(st.lists(PATTERNS, max_size=4), PATHS, NAMES)
def test_a_last_exception_wins_over_everything_before_it(patterns: list[str], path: str, extra: str) -> None:
    try:
        assert not PatternMatcher([*patterns, f"!{path}"]).matches(path)
    except InvalidInput:
        return


@pytest.mark.parametrize("bad", ["[", "[a", "a\\", "[]a]", "[-a]", "[a-]"])
def test_bad_syntax_is_refused_with_the_pattern(bad: str) -> None:
    with pytest.raises(InvalidInput, match="syntax error in pattern"):
        PatternMatcher([bad]).matches("a")


def test_a_lone_exclamation_mark_is_refused() -> None:
    with pytest.raises(InvalidInput, match='illegal exclusion pattern: "!"'):
        PatternMatcher(["!"])


def test_a_reversed_range_is_an_error_only_when_it_is_reached() -> None:
    assert PatternMatcher(["a", "[b-a]"]).matches("a")
    with pytest.raises(InvalidInput):
        PatternMatcher(["a", "[b-a]"]).matches("b")


@pytest.mark.row("D125")
def test_an_ignore_file_is_read_line_by_line() -> None:
    text = "\ufeff# comment\n\n  /abs/path/  \r\nfoo/../bar\n!  /keep \n #not a comment\n!\n/\n"
    assert parse_ignore(text) == ["abs/path", "bar", "!keep", "#not a comment", "!", "/"]


def test_an_endless_ignore_line_is_refused_by_number() -> None:
    with pytest.raises(InvalidInput, match="line 2: too long"):
        parse_ignore("a\n" + "b" * 70_000)


@pytest.mark.parametrize(
    ("pattern", "path", "wanted"),
    [
        ("*", "a", True),
        ("*", "a/b", False),
        ("a/*/c", "a/b/c", True),
        ("?", "/", False),
        ("[^a]", "/", True),
        ("*[^a]x*c", "bx/xc", False),
        ("a*", "a\n", True),
        ("", "", True),
        ("", "a", False),
        ("\\[a", "[a", True),
    ],
)
@pytest.mark.row("L125")
def test_wildcards_match_as_in_go(pattern: str, path: str, wanted: bool) -> None:
    assert match(pattern, path) is wanted


def test_a_bad_wildcard_is_refused_once_the_part_before_it_matched() -> None:
    assert not match("a/*[", "b/c")
    with pytest.raises(InvalidInput):
        match("a/*[", "a/c")


def test_wildcard_characters_count_unless_escaped() -> None:
    assert has_wildcard("a*") and has_wildcard("[") and not has_wildcard("a\\*")


def test_cleaning_makes_one_leading_slash() -> None:
    assert [clean(path) for path in ("", "//a", "a//b/.", "/../a", "../a")] == [".", "/a", "a/b", "/a", "../a"]


GLOBS = st.lists(
    st.sampled_from(["a", "b", "*", "**", "/", "**/", "/**/", "?", "[ab]", "[^a]", "[.-0]", "\\*"]), max_size=9
)


@settings(max_examples=2000, deadline=None)
@given(GLOBS.map("".join), st.text("ab/*.", max_size=10))
def test_what_takes_nothing_back_matches_the_same(pattern, path):
    kind, expression = patterns._translate(pattern)
    if kind == "regex":
        try:
            plain = compile_go(expression)
        except BadRegex:
            return
        quick = re.compile(patterns._without_backtracking(plain.pattern), plain.flags)
        assert bool(quick.search(path)) == bool(plain.search(path))


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("*a" * 100 + "b", "a" * 5000),
        ("*[ab]" * 100 + "c", "ab" * 2000),
        ("**/a/" * 60 + "**/b", "a/" * 2000 + "c"),
        ("**/a*[ab]*/" * 30 + "**/*b*c", "aab/" * 1000 + "bbb"),
    ],
    ids=["stars", "classes", "double stars", "all of them"],
)
def test_stars_of_every_kind_take_no_time(pattern, path):
    assert not PatternMatcher([pattern]).matches_below(path, (False,))[0]


def test_many_stars_take_no_time():
    assert not PatternMatcher(["*a" * 100 + "b"]).matches("a" * 5000)
    assert PatternMatcher(["*a" * 100 + "b"]).matches("a" * 5000 + "b")
