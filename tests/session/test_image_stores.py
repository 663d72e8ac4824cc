"""Images that a daemon writes into a directory of its client (``tar=false``)."""

import base64
import io
import json

import pytest
from tests.kit.wires import borrowed

from buildkit.api import content_pb2 as pb
from buildkit.client.imagedirs import name_image
from buildkit.core.digest import sha256
from buildkit.core.errors import BuildkitError, Corrupt, FailedPrecondition, InvalidInput
from buildkit.oci.layout import Layout
from buildkit.oci.spec import OCI_MANIFEST, Descriptor
from buildkit.session import headers
from buildkit.session.outputs import Destination, Destinations
from buildkit.session.remotestores import write_blob
from buildkit.session.session import Session

BLOBS = {sha256(content): content for content in (b"", b"small", b"large" * 700_000)}


def described(digest, content):
    return Descriptor("application/octet-stream", digest, len(content))


def lender(*directories):
    return Session.new(outputs=Destinations([Destination(directory=str(one), image=True) for one in directories]))


@pytest.mark.row("A169", "E2")
async def test_blobs_arrive_in_the_layout_and_those_that_are_there_stay(tmp_path):
    blobs = [described(digest, content) for digest, content in BLOBS.items()]
    async with borrowed(lender(tmp_path / "image"), tmp_path) as session:
        assert session.outputs.directory("0") is None
        for _ in range(2):
            await session.outputs.store("0", blobs, lambda digest: io.BytesIO(BLOBS[digest]))
    layout = Layout(tmp_path / "image")
    assert {digest: layout.open(digest).read() for digest in BLOBS} == BLOBS
    assert sorted(one.name for one in layout.root.iterdir()) == ["blobs", "index.json", "oci-layout"]


async def test_a_blob_that_is_another_one_is_refused_and_leaves_nothing(tmp_path):
    wrong = described(sha256(b"other"), b"small")
    async with borrowed(lender(tmp_path / "image"), tmp_path) as session:
        with pytest.raises(Corrupt, match=f"content for {wrong.digest} has digest"):
            await session.outputs.store("0", [wrong], lambda digest: io.BytesIO(b"small"))
    assert list((tmp_path / "image" / "blobs" / "sha256").iterdir()) == []


async def test_only_the_store_for_images_is_written(tmp_path):
    async with borrowed(lender(tmp_path / "image"), tmp_path) as session:
        with pytest.raises(BuildkitError, match="unknown store other"):
            await write_blob(session.outputs._channel, "other", described(*next(iter(BLOBS.items()))), io.BytesIO())


async def test_writes_that_leave_gaps_or_end_early_are_refused(tmp_path):
    async with borrowed(lender(tmp_path / "image"), tmp_path) as session:
        for action, fields, text in (
            (pb.WRITE, {"offset": 5, "data": b"x"}, "written at 5, expected at 0"),
            (pb.COMMIT, {"total": 9}, "0 of 9 bytes came"),
            (pb.STAT, {"expected": "sha256:../../x"}, "invalid digest"),
        ):
            call = session.outputs._channel.call(headers.CONTENT_WRITE, {headers.STORE: [headers.EXPORT]})
            call.send_all([pb.WriteContentRequest(action=action, ref="r", **fields).SerializeToString()])
            with pytest.raises(InvalidInput, match=text):
                await call.receive()


async def test_a_client_without_a_place_for_images_takes_none(tmp_path):
    files = Session.new(outputs=Destinations([Destination(directory=str(tmp_path))]))
    async with borrowed(files, tmp_path) as session:
        with pytest.raises(FailedPrecondition, match="exporter 0: the client's session takes no images"):
            await session.outputs.store("0", [], io.BytesIO)


def test_there_is_one_place_for_an_image():
    with pytest.raises(InvalidInput, match="no more than one image directory"):
        lender("a", "b").outputs.image_directory()


def test_the_image_is_named_in_the_index_once_it_is_there(tmp_path):
    outputs = lender(tmp_path).outputs
    root = Descriptor(OCI_MANIFEST, sha256(b"root"), 4)
    response = {"containerimage.descriptor": base64.b64encode(json.dumps(root.to_json()).encode()).decode()}
    name_image(outputs, response)
    name_image(outputs, {**response, "image.name": "docker.io/a/b:1,r:5/c:2"})
    layout = Layout(tmp_path)
    assert [layout.find(name).digest for name in ("latest", "docker.io/a/b:1", "r:5/c:2", "1")] == [root.digest] * 4
    with pytest.raises(Corrupt, match="descriptor of the image"):
        name_image(outputs, {"containerimage.descriptor": "!"})
