"""Which of the words that exist is meant."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildkit.frontend.dockerfile.suggest import nearest


def edits(one, other):
    row = list(range(len(other) + 1))
    for index, letter in enumerate(one, 1):
        above, row = row, [index]
        for column, known in enumerate(other, 1):
            row.append(min(row[-1] + 1, above[column] + 1, above[column - 1] + (letter != known)))
    return row[-1]


WORDS = st.text("abc", max_size=8)


@given(WORDS, st.lists(WORDS, max_size=6))
def test_the_first_of_the_nearest_is_found(word, options):
    near = sorted((option for option in options if edits(word, option) < 3), key=lambda option: edits(word, option))
    assert nearest(word, options) == ("" if word in options or not near else near[0])


@pytest.mark.parametrize(("word", "found"), [("rnu", "run"), ("RNU", "RUN"), ("Rnu", "run"), ("run", "")])
def test_case_is_kept_where_it_does_not_count(word, found):
    assert nearest(word, ["RUN", "COPY"], case_sensitive=False) == found
