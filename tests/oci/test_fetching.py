"""What servers may answer to those who fetch a blob or document, whole or the rest of it."""

from __future__ import annotations

from io import BytesIO

import pytest

from buildkit.core.digest import sha256
from buildkit.core.errors import Corrupt, NotFound, Unavailable
from buildkit.oci import spec
from buildkit.oci.http1 import Answer
from buildkit.oci.names import parse_reference
from buildkit.oci.registry import Access, Memory, Registry
from buildkit.oci.spec import Descriptor
from buildkit.oci.transport import Response, Transport

CONTENT = bytes(range(256)) * 8
REFERENCE = parse_reference("host/app:1")
BLOB = Descriptor("application/octet-stream", sha256(CONTENT), len(CONTENT))


class Line:
    """A connection to nobody."""

    sock = None

    def close(self) -> None:
        """Nothing to close."""


class Script(Access):
    """Gives one answer after the other; ``asked`` are methods and ranges."""

    def __init__(self, *answers: bytes) -> None:
        async def no_pause(seconds: float) -> None:
            return None

        super().__init__(Registry(pause=no_pause), None)
        self._answers = list(answers)
        self.asked: list[tuple[str, str]] = []

    async def send(self, endpoint, method, reference, path, *, headers=None, **more):  # type: ignore[override]
        self.asked.append((method, (headers or {}).get("Range", "")))
        raw = Answer(Line(), BytesIO(self._answers.pop(0)), method)  # type: ignore[arg-type]
        return Response(Transport(), ("http", "host", 80, None), Line(), raw, "http://host/x")  # type: ignore[arg-type]


def answer(status: int, body: bytes = b"", **headers: str) -> bytes:
    given = {"Content_Length": str(len(body)), **headers}
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in given.items())
    return f"HTTP/1.1 {status} X\r\n{lines}\r\n".encode() + body


def begun(count: int) -> Memory:
    sink = Memory()
    sink.write(CONTENT[:count])
    return sink


async def test_a_rest_is_asked_for_and_appended():
    script, sink = Script(answer(206, CONTENT[100:], Content_Range="bytes 100-2047/2048")), begun(100)
    await script.fetch(REFERENCE, BLOB, sink)
    assert sink.content == CONTENT and script.asked == [("GET", "bytes=100-")]


async def test_a_server_that_ignores_ranges_has_its_beginning_skipped():
    script, sink = Script(answer(200, CONTENT)), begun(100)
    await script.fetch(REFERENCE, BLOB, sink)
    assert sink.content == CONTENT


@pytest.mark.parametrize("stated", ["bytes 0-2047/2048", "bytes 1000-2047/2048", "bytes 10-2047/2048", ""])
async def test_a_server_that_sends_another_range_is_read_anew(stated):
    script, sink = Script(answer(206, CONTENT, Content_Range=stated), answer(200, CONTENT)), begun(100)
    await script.fetch(REFERENCE, BLOB, sink)
    assert sink.content == CONTENT and script.asked == [("GET", "bytes=100-"), ("GET", "")]


async def test_a_server_that_refuses_the_range_is_read_anew():
    script, sink = Script(answer(416), answer(200, CONTENT)), begun(100)
    await script.fetch(REFERENCE, BLOB, sink)
    assert sink.content == CONTENT and script.asked == [("GET", "bytes=100-"), ("GET", "")]


@pytest.mark.parametrize("body", [CONTENT + b"x", CONTENT[:-1], b""])
async def test_a_whole_answer_of_another_length_is_refused_before_it_is_read(body):
    sink = Memory()
    with pytest.raises(Corrupt, match=f"has {len(body)} bytes, expected 2048"):
        await Script(answer(200, body)).fetch(REFERENCE, BLOB, sink)
    assert sink.offset == 0


async def test_no_more_is_taken_than_was_announced():
    sink = Memory()
    endless = answer(200, CONTENT * 3, Content_Length="0").replace(b"Content-Length: 0\r\n", b"")
    await Script(endless).fetch(REFERENCE, BLOB, sink)
    assert sink.content == CONTENT


async def test_what_is_whole_is_not_asked_for():
    script = Script()
    await script.fetch(REFERENCE, BLOB, begun(len(CONTENT)))
    assert script.asked == []


async def test_a_short_answer_says_how_far_it_got():
    answers = [answer(206, b"", Content_Range="bytes 100-2047/2048")] * 9
    with pytest.raises(Unavailable, match="connection closed after 100 of 2048 bytes"):
        await Script(*answers).fetch(REFERENCE, BLOB, begun(100))


async def test_a_document_that_is_too_long_is_not_even_asked_for():
    script = Script()
    large = Descriptor(spec.OCI_MANIFEST, BLOB.digest, spec.MANIFEST_SIZE_LIMIT + 1)
    with pytest.raises(Corrupt, match=f"rejecting {spec.MANIFEST_SIZE_LIMIT + 1} byte document"):
        await script.read(REFERENCE, large)
    assert script.asked == []


async def test_a_document_of_other_content_is_refused():
    other = Descriptor(spec.OCI_MANIFEST, sha256(b"x"), len(CONTENT))
    with pytest.raises(Corrupt, match="content has digest"):
        await Script(answer(200, CONTENT)).read(REFERENCE, other)


def head(size: int, **more: str) -> bytes:
    stated = {"Docker_Content_Digest": BLOB.digest, "Content_Type": spec.OCI_MANIFEST, **more}
    return answer(200, b"", **{"Content_Length": str(size), **stated})


async def test_a_tag_whose_manifest_is_too_long_is_rejected():
    most = spec.MANIFEST_SIZE_LIMIT
    assert (await Script(head(most)).resolve(REFERENCE)).size == most
    with pytest.raises(NotFound, match=f"rejecting {most + 1} byte manifest"):
        await Script(head(most + 1)).resolve(REFERENCE)


@pytest.mark.parametrize("text", ["sha256:xyz", "../../etc/passwd", "md5:" + "0" * 32])
async def test_a_stated_digest_that_is_none_is_refused(text):
    with pytest.raises(Corrupt, match="in header not a valid digest"):
        await Script(head(5, Docker_Content_Digest=text)).resolve(REFERENCE)


async def test_a_manifest_that_is_not_the_one_asked_for_is_refused():
    asked = parse_reference(f"host/app@{sha256(b'other')}")
    bare = answer(200, b"", Content_Length="0").replace(b"Content-Length: 0\r\n", b"")
    with pytest.raises(Corrupt, match="sent content with digest"):
        await Script(bare, answer(200, b"{}", Content_Type=spec.OCI_MANIFEST)).resolve(asked)


async def test_a_blob_whose_size_nobody_says_is_refused():
    bare = answer(200, b"", Content_Length="0").replace(b"Content-Length: 0\r\n", b"")
    with pytest.raises(Corrupt, match="does not say how large"):
        await Script(bare).blob_size(REFERENCE, BLOB.digest)
