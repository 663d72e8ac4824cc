import pytest

from buildkit.core.goquote import quote


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ('/bin/sh -c echo "x"\n', r'"/bin/sh -c echo \"x\"\n"'),
        ("a\\b\x00\x7f\t", r'"a\\b\x00\x7f\t"'),
        ("é日", '"é日"'),
        ("\u200b\U000e0001\udcff", r'"\u200b\U000e0001\xff"'),
        ("\xa0", r'"\u00a0"'),
    ],
)
def test_text_is_quoted_as_go_quotes_it(text, quoted):
    assert quote(text) == quoted
