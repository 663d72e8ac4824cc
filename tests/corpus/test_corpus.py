"""The corpus as tests: reading every file (quick), a sample of whole builds, and all of them (slow)."""

import pytest
from tests.kit.corpus.compare import chosen, differences
from tests.kit.corpus.files import Absent, open_corpus
from tests.kit.corpus.forms import read_text, shown
from tests.kit.corpus.ours import make, read_word

READING = ("syntax", "check", "parse", "instructions")


@pytest.fixture(scope="module")
def corpus():
    try:
        return open_corpus()
    except Absent as absent:
        pytest.skip(str(absent))


def wrong(corpus, ids):
    """The keys that differ in cases that we did not choose."""
    out = {}
    for id in ids:
        case = corpus.case(id)
        ours = make(case, corpus.meta)
        found = differences(case, ours)
        if chosen(case, found, ours, lambda content, case=case: make(case.with_content(content), corpus.meta)) is None:
            out[id] = [difference.key for difference in found]
    return out


@pytest.mark.row("D1", "D2", "D3", "D7", "D8", "D11", "D17", "D18", "D19")
def test_every_file_is_read_alike(corpus):
    for id in corpus.ids():
        case = corpus.case(id)
        ours = shown(read_text(case.content))
        for key in READING:
            if not case.unstable.get(key):
                assert ours.get(key) == case.expected.get(key), (id, key)


@pytest.mark.row("D31", "D32", "D33")
def test_every_word_is_read_alike(corpus):
    shell = corpus.shell_cases()
    for case in shell["cases"]:
        expected = {key: value for key, value in case.items() if key not in ("word", "mode", "escape")}
        if "words" in expected:
            expected["words"] = expected["words"] or []
        assert read_word(shell["env"], case) == expected, case


def test_a_sample_of_the_corpus_builds_alike(corpus):
    assert wrong(corpus, corpus.ids()[::40]) == {}


@pytest.mark.slow
def test_the_whole_corpus_builds_alike(corpus):
    assert wrong(corpus, corpus.ids()) == {}
