from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildkit.api import ops as pb
from buildkit.ops.gojson import encode


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (pb.Mount(), "{}"),
        (pb.Mount(dest="/", input=-1, readonly=True), '{"input":-1,"dest":"/","readonly":true}'),
        (pb.Mount(TmpfsOpt=pb.TmpfsOpt()), '{"TmpfsOpt":{}}'),
        (
            pb.Mount(mountType=pb.CACHE, cacheOpt=pb.CacheOpt(ID="a", sharing=pb.LOCKED)),
            '{"mountType":3,"cacheOpt":{"ID":"a","sharing":2}}',
        ),
        (pb.FileActionMkFile(path="/a", data=b"\x00\xff"), '{"path":"/a","data":"AP8="}'),
        (pb.SourceOp(identifier="x", attrs={"b": "1", "a": "2"}), '{"identifier":"x","attrs":{"a":"2","b":"1"}}'),
        (pb.ChownOpt(user=pb.UserOpt(byID=7)), '{"user":{"User":{"byId":7}}}'),
        (pb.ChownOpt(user=pb.UserOpt(byID=0)), '{"user":{"User":{}}}'),
        (
            pb.ChownOpt(group=pb.UserOpt(byName=pb.NamedUserOpt(name="n", input=1))),
            '{"group":{"User":{"byName":{"name":"n","input":1}}}}',
        ),
        (pb.MergeOp(inputs=[pb.MergeInput(), pb.MergeInput(input=1)]), '{"inputs":[{},{"input":1}]}'),
    ],
)
def test_messages_are_written_as_go_writes_its_structs(message, text):
    assert encode(message).decode() == text


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("<&>", r'"\u003c\u0026\u003e"'),
        ("\u2028\u2029", r'"\u2028\u2029"'),
        ("é\x7f", '"é\x7f"'),
        ('"\\/\n\r\t\b\f\x01', r'"\"\\/\n\r\t\b\f\u0001"'),
    ],
)
def test_strings_are_escaped_as_go_escapes_them(text, written):
    assert encode(text).decode() == written


def test_plain_values_keep_their_order_and_their_empty_parts():
    assert encode({"b": [], "a": "", "n": [[1, -1]]}) == b'{"b":[],"a":"","n":[[1,-1]]}'


@given(st.text(alphabet=st.characters(codec="utf-8")))
def test_what_is_written_can_be_read_back(text):
    assert json.loads(encode({"k": text})) == {"k": text}
