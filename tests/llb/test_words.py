"""Command lines become words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildkit import llb
from buildkit.core.errors import InvalidInput
from buildkit.llb.hosts import parse_ip
from buildkit.llb.words import split_words


@pytest.mark.row("L202")
@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("", ()),
        (" \t\r\n", ()),
        ("# nothing", ()),
        (r"a\ b c", ("a b", "c")),
        ("a''b \"\"", ("ab", "")),
        (r'sh -c "echo \$HOME \n"', ("sh", "-c", "echo $HOME n")),
        (r"'a\b'", (r"a\b",)),
        ("a#b # c\nd", ("a#b", "d")),
        ("''# no comment", ("#", "no", "comment")),
        ('"a\nb"', ("a\nb",)),
    ],
)
def test_words_of_a_command(command, words):
    assert split_words(command) == words


@pytest.mark.parametrize(
    ("command", "reason"), [("a 'b", "' is not closed"), ('"\\"', '" is not closed'), ("a \\", "ends it")]
)
def test_a_command_that_does_not_end_is_refused(command, reason):
    with pytest.raises(InvalidInput, match=reason):
        split_words(command)


@given(st.lists(st.text(min_size=1)))
def test_quoted_words_come_back(words):
    quoted = ('"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"' for word in words)
    assert split_words(" ".join(quoted)) == tuple(words)


@given(st.text(alphabet="ab'\"\\ #\n"))
def test_any_command_is_split_or_refused(command):
    try:
        assert all(isinstance(word, str) for word in split_words(command))
    except InvalidInput as error:
        assert "can not be split" in str(error)


@pytest.mark.row("L83")
@pytest.mark.parametrize(
    ("text", "address"), [("10.0.0.1", "10.0.0.1"), ("2001:DB8:0::1", "2001:db8::1"), ("::ffff:1.2.3.4", "1.2.3.4")]
)
def test_addresses_have_one_spelling(text, address):
    assert parse_ip(text) == address


@pytest.mark.parametrize("text", ["", "host", "1.2.3", "01.2.3.4", "fe80::1%eth0", "1.2.3.4/8"])
def test_what_is_no_address_is_refused(text):
    with pytest.raises(InvalidInput, match="failed to parse IP"):
        llb.scratch().extra_host("h", text)
