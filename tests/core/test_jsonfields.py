from __future__ import annotations

import pytest

from buildkit.core.errors import InvalidInput
from buildkit.core.jsonfields import parse_fields

WRONG = {
    "text": ["1", "[]", "{}", "true"],
    "number": ['"1"', "1.5", "true", "[]"],
    "flag": ["1", '"true"', "[]"],
    "texts": ['"a"', "{}", "1", "[1]", '["a", ["b"]]'],
    "names": ['"a"', "[]", "1"],
    "pairs": ['"a"', "[]", '{"a": 1}', '{"a": {}}'],
    "within": ['"a"', "[]", "1", "false", '""'],
    "each": ['"a"', "{}", "[1]", '["a"]'],
}


@pytest.mark.parametrize(("kind", "value"), [(kind, value) for kind, values in WRONG.items() for value in values])
def test_a_field_of_another_type_is_refused_by_its_name(kind, value):
    fields = parse_fields(f'{{"Field": {value}}}', "the thing")
    with pytest.raises(InvalidInput, match="the thing: Field "):
        getattr(fields, kind)("Field")


@pytest.mark.parametrize("kind", WRONG)
@pytest.mark.parametrize("document", ["{}", '{"Field": null}'])
def test_a_field_that_is_not_there_or_null_is_nothing(kind, document):
    found = getattr(parse_fields(document, "it"), kind)("Field")
    assert found("any") is None if kind == "within" else not found


def test_fields_are_read_by_their_types_and_without_regard_to_case():
    fields = parse_fields('{"A": "x", "b": 2, "C": true, "d": ["p", null], "E": {"k": {}}, "f": {"k": "v"}}', "it")
    assert (fields.text("a"), fields.number("B"), fields.flag("c"), fields.texts("D")) == ("x", 2, True, ["p", ""])
    assert (fields.names("e"), fields.pairs("F")) == ({"k"}, {"k": "v"})


def test_what_is_not_utf_8_is_replaced():
    fields = parse_fields('{"a": "x\\ud800", "b": ["\\udcff"], "c": {"\\udfff": "\\ud900"}}', "it")
    assert (fields.text("a"), fields.texts("b"), fields.pairs("c")) == ("x\ufffd", ["\ufffd"], {"\ufffd": "\ufffd"})


@pytest.mark.parametrize("content", ["", "[", "[" * 200_000, b"\xff\xfe", '{"a": ', "1", "null", "[]"])
def test_what_is_no_object_is_refused(content):
    with pytest.raises(InvalidInput, match=r"^it"):
        parse_fields(content, "it")
