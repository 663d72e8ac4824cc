from __future__ import annotations

import pytest
from google.protobuf.message import DecodeError as GoogleError
from hypothesis import given, settings
from hypothesis import strategies as st

from buildkit.api import ops, ops_pb2
from buildkit.core import wire

NAMES = sorted(ops._MESSAGES)
TEXT = st.text(max_size=5)
SCALARS = {
    "text": TEXT,
    "bytes": st.binary(max_size=5),
    "bool": st.booleans(),
    "int32": st.integers(-(2**31), 2**31 - 1),
    "enum": st.integers(0, 3),
    "int64": st.integers(-(2**63), 2**63 - 1),
    "uint32": st.integers(0, 2**32 - 1),
    "uint64": st.integers(0, 2**64 - 1),
}


@st.composite
def contents(draw, kind, depth=3):
    """The fields of a message as plain values; parts of messages as dictionaries."""
    found = {}
    fields = list(getattr(ops, kind).fields.values())
    chosen = draw(st.lists(st.sampled_from(fields), max_size=4, unique_by=lambda one: one.oneof or one.name))
    for field in chosen:
        if field.is_message and not depth:
            continue
        one = contents(field.kind, depth - 1) if field.is_message else SCALARS[field.kind]
        if field.is_map:
            found[field.name] = draw(st.dictionaries(TEXT, one, max_size=2))
        else:
            found[field.name] = draw(st.lists(one, max_size=2) if field.repeated else one)
    return found


def fill(message, kind, values):
    """Set fields in the way that this project does, of either implementation."""
    for name, value in values.items():
        field = getattr(ops, kind).fields[name]
        place = getattr(message, name)
        if field.is_map and field.is_message:
            for key, one in value.items():
                fill(place[key], field.kind, one)
        elif field.is_map:
            place.update(value)
        elif field.repeated and field.is_message:
            for one in value:
                fill(place.add(), field.kind, one)
        elif field.repeated:
            place.extend(value)
        elif field.is_message:
            place.SetInParent()
            fill(place, field.kind, value)
        else:
            setattr(message, name, value)
    return message


CASES = st.sampled_from(NAMES).flatmap(lambda kind: st.tuples(st.just(kind), contents(kind)))


@given(CASES)
def test_messages_are_read_and_written_as_googles_are(case):
    kind, values = case
    mine, theirs = fill(getattr(ops, kind)(), kind, values), fill(getattr(ops_pb2, kind)(), kind, values)
    assert getattr(ops_pb2, kind).FromString(mine.SerializeToString()) == theirs
    assert getattr(ops, kind).FromString(theirs.SerializeToString()) == mine
    assert_same(mine, theirs)


def assert_same(mine, theirs):
    for field in mine.fields.values():
        here, there = getattr(mine, field.name), getattr(theirs, field.name)
        if not field.repeated and (field.is_message or field.oneof):
            assert mine.HasField(field.name) == theirs.HasField(field.name)
        if field.oneof:
            assert mine.WhichOneof(field.oneof) == theirs.WhichOneof(field.oneof)
        if field.is_map:
            assert here.keys() == there.keys()
            for key in list(here):
                assert_same(here[key], there[key]) if field.is_message else None
                assert field.is_message or here[key] == there[key]
        elif field.repeated:
            assert len(here) == len(there)
            for one, other in zip(here, there, strict=True):
                assert_same(one, other) if field.is_message else None
                assert field.is_message or one == other
        elif field.is_message:
            if mine.HasField(field.name):
                assert_same(here, there)
        else:
            assert here == there


@settings(max_examples=300)
@given(CASES, st.data())
def test_damaged_bytes_are_refused_where_google_refuses_them(case, data):
    kind, values = case
    content = bytearray(fill(getattr(ops_pb2, kind)(), kind, values).SerializeToString())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content)))
        content[at : at + data.draw(st.integers(0, 1))] = data.draw(st.binary(max_size=2))
    try:
        theirs = getattr(ops_pb2, kind).FromString(bytes(content))
    except GoogleError:
        theirs = None
    try:
        mine = getattr(ops, kind).FromString(bytes(content))
    except ops.DecodeError:
        mine = None
    assert (mine is None) == (theirs is None)
    if mine is not None:
        assert_same(mine, theirs)
        assert getattr(ops_pb2, kind).FromString(mine.SerializeToString()) == theirs


def test_what_nobody_knows_is_kept_and_comes_last():
    content = b"\xfa\x07\x03new" + ops.Input(digest="d").SerializeToString()
    assert ops.Input.FromString(content).SerializeToString() == content[6:] + content[:6]


def test_reading_a_part_does_not_set_it_but_setting_something_in_it_does():
    op = ops.Op()
    assert op.exec.meta.cwd == "" and not op.HasField("exec")
    op.exec.meta.args.append("true")
    assert op.WhichOneof("op") == "exec" and op.exec.HasField("meta")


def test_setting_one_part_of_a_oneof_forgets_the_others():
    op = ops.Op()
    op.exec.meta.cwd = "/"
    op.source.identifier = "local://x"
    assert (op.WhichOneof("op"), op.HasField("exec"), op.exec.meta.cwd) == ("source", False, "")


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [("Input", "index", 2**63), ("Location", "sourceIndex", 2**31), ("Input", "digest", 7), ("Input", "index", "1")],
)
def test_values_that_do_not_fit_are_refused(kind, field, value):
    for implementation in (ops, ops_pb2):
        with pytest.raises((TypeError, ValueError)):
            setattr(getattr(implementation, kind)(), field, value)


def test_a_message_that_is_nested_too_deeply_is_refused():
    content = b""
    for _ in range(50):  # an info with a definition with a source with an info
        source = wire.field(2, content)
        content = wire.field(3, wire.field(3, source))
    with pytest.raises(ops.DecodeError):
        ops.SourceInfo.FromString(content)
    with pytest.raises(GoogleError):
        ops_pb2.SourceInfo.FromString(content)
