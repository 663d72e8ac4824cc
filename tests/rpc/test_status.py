"""Errors as BuildKit's daemon writes them; the bytes here are what it sent, spaces of its JSON writer apart."""

import json

import pytest
from google.rpc.status_pb2 import Status
from hypothesis import given
from hypothesis import strategies as st

from buildkit.api import ops_pb2 as pb
from buildkit.core.errors import (
    BuildkitError,
    ExitError,
    FrontendDetail,
    MaterialsDetail,
    NotFound,
    Range,
    SolveDetail,
    SourceDetail,
    SubrequestDetail,
    VertexDetail,
)
from buildkit.rpc import status

URL = "github.com/moby/buildkit/"


def written(error):
    """Code, message and details as texts."""
    found = status.to_status(error)
    return found.code, found.message, [(d.type_url.removeprefix(URL), d.value.decode()) for d in found.details]


@pytest.mark.row("A60", "A61", "A65")
def test_a_failed_process():
    message = 'process "sh -c echo out; echo e1 >&2; exit 7" did not complete successfully: exit code: 7'
    digest = "sha256:4c6885f4cd59725a1f8248f99e1fe04b8eabb925aa34a5e856241c539eb890ea"
    error = ExitError(message, code=7, details=(VertexDetail(digest),))
    assert written(error) == (
        2,
        message,
        [("errdefs.Vertex+json", f'{{"digest":"{digest}"}}'), ("gatewayapi.ExitMessage+json", '{"Code":7}')],
    )


@pytest.mark.row("A60", "A61", "A67")
def test_details_come_outermost_first():
    source = pb.SourceOp(identifier="https://127.0.0.1:1/x.tgz", attrs={"http.filename": "context"})
    platform = pb.Platform(Architecture="amd64", OS="linux")
    op = pb.Op(source=source, platform=platform, constraints=pb.WorkerConstraints()).SerializeToString()
    error = BuildkitError("no").detailed(VertexDetail("sha256:d5"), SolveDetail((), (), op))
    error.detailed(FrontendDetail("dockerfile.v0"))
    assert written(error)[2] == [
        ("errdefs.Frontend+json", '{"name":"dockerfile.v0"}'),
        (
            "errdefs.Solve+json",
            '{"op":{"source":{"identifier":"https://127.0.0.1:1/x.tgz","attrs":{"http.filename":"context"}},'
            '"platform":{"Architecture":"amd64","OS":"linux"},"constraints":{}}}',
        ),
        ("errdefs.Vertex+json", '{"digest":"sha256:d5"}'),
    ]


@pytest.mark.row("A60", "A61")
def test_a_place_in_a_file():
    digest = "sha256:a6b10aa259028e02ee7a72dd6b48d4917fc1b3898e33880e09452e907025723c"
    caps = {"source.local": True, "source.local.followpaths": True}
    definition = pb.Definition(
        metadata={
            digest: pb.OpMetadata(description={"llb.customname": "[internal] load <x>"}, caps=caps),
            "sha256:0f": pb.OpMetadata(caps={"platform": True, "constraints": True}),
        },
        Source=pb.Source(locations={digest: pb.Locations()}),
        **{"def": [b"\x5a\x00"]},
    )
    place = SourceDetail("Bad", b"FROM scratch\nFOO <bar>\n", "Dockerfile", (Range(2, 0, 2, 0),))
    place = SourceDetail(place.filename, place.content, place.language, place.ranges, definition.SerializeToString())
    assert written(BuildkitError("x").detailed(place))[2] == [
        (
            "errdefs.Source+json",
            '{"info":{"filename":"Bad","data":"RlJPTSBzY3JhdGNoCkZPTyA8YmFyPgo=","definition":{"def":["WgA="],'
            '"metadata":{"sha256:0f":{"caps":{"constraints":true,"platform":true}},'
            f'"{digest}":{{"description":{{"llb.customname":"[internal] load \\u003cx\\u003e"}},'
            '"caps":{"source.local":true,"source.local.followpaths":true}}},'
            f'"Source":{{"locations":{{"{digest}":{{}}}}}}}},"language":"Dockerfile"}},'
            '"ranges":[{"start":{"line":2},"end":{"line":2}}]}',
        )
    ]


@pytest.mark.row("A61")
def test_an_unknown_subrequest():
    error = BuildkitError("unsupported request frontend.nope").detailed(SubrequestDetail("frontend.nope"))
    assert written(error)[2] == [("errdefs.Subrequest+json", '{"name":"frontend.nope"}')]


@pytest.mark.row("A62")
@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BuildkitError("x"), 2),
        (NotFound("x"), 5),
        (TimeoutError("x"), 4),
        (OSError(28, "full"), 8),
        (ExitError("x", code=137, oom=True), 8),
        (RuntimeError("x"), 2),
    ],
)
def test_codes(error, code):
    assert status.to_status(error).code == code


def test_an_error_is_the_same_after_a_journey():
    op = pb.Op(file=pb.FileOp(actions=[pb.FileAction(rm=pb.FileActionRm(path="/x"))])).SerializeToString()
    definition = pb.Definition(**{"def": [op]}).SerializeToString()
    details = (
        VertexDetail("sha256:1"),
        SolveDetail(("a", ""), ("", "b"), op, 1),
        SourceDetail("f", b"\xff\n", "", (Range(1, 2, 3, 4),), definition),
        FrontendDetail("gateway.v0", "image"),
    )
    for error in (NotFound("gone", details=details), ExitError("exit", code=3, details=details)):
        found = status.unpack(status.to_status(error).SerializeToString())
        assert (type(found), str(found), found.details) == (type(error), str(error), error.details)


@given(st.binary(max_size=200))
def test_a_broken_status_is_nothing_but_a_value_error(packed):
    try:
        assert isinstance(status.unpack(packed), BuildkitError)
    except ValueError:
        pass


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["info", "ranges", "op", "file",
        "inputIDs", "Code", "definition", "data", "start", "line", "digest", "name", "index"]), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(st.sampled_from(["errdefs.Source", "errdefs.Vertex", "errdefs.Solve", "gatewayapi.ExitMessage", "x"]), JSON)
def test_details_of_any_form_do_no_harm(kind, content):
    packed = Status(code=2, message="m")
    packed.details.add(type_url=f"{URL}{kind}+json", value=json.dumps(content).encode())
    try:
        assert isinstance(status.unpack(packed.SerializeToString()), BuildkitError)
    except ValueError:
        pass


@given(st.text(), st.integers(0, 100))
def test_messages_survive_and_cuts_leave_no_half_letters(text, limit):
    text = text.encode("utf-8", "replace").decode()
    assert status.decode_message(status.encode_message(text)) == text
    cut = status.encode_message(text, limit)
    assert len(cut) <= limit
    assert b"%" not in cut[-2:] or cut[-3:-2] == b"%"


def test_details_are_bounded_by_what_the_peer_takes():
    from buildkit.rpc.server import _trailers_of

    error = BuildkitError("x" * 100).detailed(SourceDetail("f", bytes(50_000), "", ()))
    names = [name for name, _ in _trailers_of(error, 1 << 20)]
    assert b"grpc-status-details-bin" in names
    assert b"grpc-status-details-bin" not in [name for name, _ in _trailers_of(error, 16_384)]


def test_errors_of_the_system_are_told_in_our_words():
    found = status.to_status(FileNotFoundError(2, "No such file or directory", "/x/y"))
    assert (found.code, found.message) == (2, "/x/y: no such file or directory")


def test_incomplete_materials_are_told_by_name():
    error = BuildkitError("provenance materials are incomplete").detailed(MaterialsDetail(("a", "")))
    [packed] = status.to_status(error).details
    assert packed.type_url.endswith("errdefs.ProvenanceMaterialsIncomplete+json")
    told = [{"name": "a", "reason": "local_source"}, {"reason": "local_source"}]
    assert json.loads(packed.value) == {"incomplete": told}
