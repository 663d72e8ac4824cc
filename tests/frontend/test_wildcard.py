import re

from hypothesis import given
from hypothesis import strategies as st

from buildkit.frontend.dockerfile import wildcard

PATTERNS = st.text(st.sampled_from("*?ab\n"), max_size=7)
VALUES = st.text(st.sampled_from("aab\n"), max_size=12)


def regex(pattern, star):
    return re.compile("".join({"*": star, "?": "."}.get(c, re.escape(c)) for c in pattern))


@given(PATTERNS, VALUES)
def test_removing_a_prefix_agrees_with_regular_expressions(pattern, value):
    for longest, star in ((True, ".*"), (False, ".*?")):
        match = regex(pattern, star).match(value)
        assert wildcard.remove_prefix(pattern, value, longest=longest) == (value[match.end() :] if match else value)


@given(PATTERNS, VALUES)
def test_replacing_agrees_with_regular_expressions(pattern, value):
    compiled = regex(pattern, ".*")
    assert wildcard.replace_first(pattern, value, "X") == compiled.sub("X", value, count=1)
    spans = [m.span() for m in compiled.finditer(value)]
    assert list(wildcard.Pattern(pattern).finditer(value))[:1] == spans[:1]


def test_an_empty_match_right_after_another_is_not_replaced():
    assert wildcard.replace_all("*", "abc", "x", limit=1000) == "x"


def test_dollars_in_the_replacement_refer_to_the_match():
    assert wildcard.replace_all("b", "abc", "[$0|$$|$other|${0}]", limit=1000) == "a[b|$||b]c"
