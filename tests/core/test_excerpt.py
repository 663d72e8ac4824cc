import pytest

from buildkit.core.errors import Range, SourceDetail
from buildkit.core.excerpt import excerpt

TEXT = b"FROM base\nRUN --moutn=type=cache true\n\tCOPY --from=tols /a /b\nFORM x\n"


def shown(line, message="", start=0, end=0):
    place = SourceDetail("Dockerfile", TEXT, "Dockerfile", (Range(line, start, line, end),))
    return excerpt(place, message).splitlines()


@pytest.mark.parametrize(
    ("line", "message", "word"),
    [
        (2, "unknown flag: --moutn (did you mean mount?)", "--moutn"),
        (2, "unknown flag: moutn (did you mean mount?)", "moutn"),
        (4, "dockerfile parse error on line 4: unknown instruction: FORM (did you mean FROM?)", "FORM"),
        (3, 'failed to calculate checksum of ref x: "/a": not found', "/a"),
        (3, "invalid from flag value tols: not found, no stage: tols", "tols"),
    ],
)
def test_the_word_that_the_message_names_is_pointed_at(line, message, word):
    lines = shown(line, message)
    at = next(i for i, text in enumerate(lines) if ">>>" in text)
    marked, carets = lines[at], lines[at + 1]
    begin = marked.index(word)
    assert carets.expandtabs(1)[begin:].rstrip() == "^" * len(word)


def test_known_characters_are_pointed_at():
    lines = shown(1, start=5, end=8)
    assert next(text for text in lines if "^" in text).endswith("     ^^^^")


def test_without_a_word_in_the_line_whole_lines_are_marked():
    lines = shown(2, "process did not complete successfully: exit code: 1")
    assert lines[0] == "Dockerfile:2"
    assert not any("^" in text for text in lines)
