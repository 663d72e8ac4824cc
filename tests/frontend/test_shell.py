import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildkit.frontend.dockerfile.shell import ExpansionError, Lexer

VARIABLES = {"a": "foo", "b": "foo.bar.baz", "empty": "", "sp": "x y  z", "path": "/usr/local/lib:/usr/lib"}


def expand(word, **options):
    return Lexer(**options).expand(word, VARIABLES).text


@pytest.mark.row("D31")
@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("$a", "foo"),
        ("${a}x", "foox"),
        ("$ax", ""),
        (r"\$a", "$a"),
        ("'$a'", "$a"),
        ('"$a"', "foo"),
        (r'"\$a \n"', r"$a \n"),
        ("$", "$"),
        ("$-x", "x"),
        ("$12x", "x"),
    ],
)
def test_variables_quotes_and_escapes(word, text):
    assert expand(word) == text


@pytest.mark.row("D32")
@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("${none:-x}", "x"),
        ("${empty:-x}", "x"),
        ("${empty-x}", ""),
        ("${a:+x}", "x"),
        ("${empty:+x}", ""),
        ("${empty+x}", "x"),
        ("${a:?m}", "foo"),
        ("${b#*.}", "bar.baz"),
        ("${b##*.}", "baz"),
        ("${b%.*}", "foo.bar"),
        ("${b%%.*}", "foo"),
        ("${b/ba?/X}", "foo.X.baz"),
        ("${b//ba?/X}", "foo.X.X"),
        ("${path//:/ }", "/usr/local/lib /usr/lib"),
        (r"${path//\//_}", "_usr_local_lib:_usr_lib"),
        ("${none:-${a:-y}}", "foo"),
    ],
)
def test_modifiers(word, text):
    assert expand(word) == text


@pytest.mark.row("D33")
@pytest.mark.parametrize(
    ("word", "fault"),
    [
        ("${a", "unsupported modifier (\ufffd) in substitution"),
        ("${a:-x", "syntax error: missing '}'"),
        ("${}", "syntax error: bad substitution"),
        ("${a!x}", "unsupported modifier (!) in substitution"),
        ("${a:#x}", "unsupported modifier (:#) in substitution"),
        ("${none:?not given}", "none: not given"),
        ("${none?}", "none: is not allowed to be unset"),
        ("${empty:?}", "empty: is not allowed to be empty"),
        ("'x", "unexpected end of statement while looking for matching single-quote"),
        ('"x', "unexpected end of statement while looking for matching double-quote"),
        ("${a/x}", "syntax error: missing '/' in ${}"),
    ],
)
def test_faults_name_the_word(word, fault):
    with pytest.raises(ExpansionError, match=r"failed to process") as caught:
        expand(word)
    assert str(caught.value).endswith(f": {fault}")


def test_names_with_and_without_a_value_are_told_apart():
    found = Lexer().expand("$a${none}${empty:-$other}", VARIABLES)
    assert (found.matched, found.unmatched) == ({"a", "empty"}, {"none", "other"})


def test_values_outside_quotes_are_split_and_quoted_ones_are_not():
    assert Lexer().split("""1 $sp "$sp" '2 3'""", VARIABLES) == ["1", "x", "y", "z", "x y  z", "2 3"]


def test_the_escape_character_can_be_a_backtick():
    assert expand(r"`$a \$a", escape="`") == r"$a \foo"


def test_unset_variables_can_be_left_as_written():
    assert expand("$none ${none} ${none:-x} $a", keep_unset=True) == "$none ${none} ${none:-x} foo"


def test_a_pattern_with_many_stars_takes_linear_time():
    value = {"v": "a" * 200_000}
    assert Lexer().expand("${v//" + "*a" * 50 + "*b/x}", value).text == value["v"]


@pytest.mark.parametrize("word", ["$a" * 2000, "${a//x/$a}", "${a//x/$0$0$0$0$0$0$0$0}${a//x/yy}$a${a//x/$$0$a}"])
def test_variables_that_grow_without_end_are_refused(word):
    with pytest.raises(ExpansionError, match="more than 1048576 characters"):
        Lexer().expand(word, {"a": "x" * 2000})


def test_deeply_nested_variables_are_refused():
    with pytest.raises(ExpansionError, match="nested more than"):
        expand("${x:-" * 5000 + "}" * 5000)


WORDS = st.text(st.sampled_from("$${}}'\"\\`<:-+?#%/*ab \t\n_é\udcff"), max_size=40)


@given(WORDS, st.sampled_from("\\`"), st.booleans(), st.booleans(), st.booleans(), st.booleans())
def test_any_word_is_read_or_refused(word, escape, quotes, escapes, unset, plain):
    lexer = Lexer(escape, quotes, escapes, unset, plain)
    try:
        lexer.read(word, VARIABLES)
    except ExpansionError:
        pass


@given(st.text(st.characters(exclude_characters="'\"$<\\", exclude_categories=["Cs"]), max_size=40))
def test_a_word_without_special_characters_stays_as_it_is(word):
    assert Lexer().read(word, {}).text == word.removeprefix("\ufeff")
