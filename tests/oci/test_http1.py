from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildkit.oci.http1 import Answer, Connection, Disconnected, ProtocolError


class Sent:
    """Stands for a socket."""

    def __init__(self):
        self.closed = False
        self.content = b""

    def sendall(self, content):
        self.content += content

    def close(self):
        self.closed = True


def answer(content, method="GET"):
    connection = Connection(("127.0.0.1", 1), timeout=1)
    connection.sock = Sent()
    return Answer(connection, io.BytesIO(content), method), connection


def test_a_body_of_known_length_leaves_the_connection_open():
    found, connection = answer(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX: 1\r\nx: 2\r\n\r\nabcNEXT")
    assert (found.status, found.reason, found.read(99), found.isclosed()) == (200, "OK", b"abc", True)
    assert found.get_all("X") == ["1", "2"] and connection.sock is not None


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1", b"HTTP/1.0 200 OK"])
def test_a_connection_that_the_server_closes_is_closed(head):
    found, connection = answer(head + b"\r\n\r\na")
    assert (found.read(9), connection.sock) == (b"a", None)


@given(st.lists(st.binary(min_size=1, max_size=20), max_size=5), st.integers(1, 7))
def test_chunks_are_put_together(chunks, step):
    body = b"".join(b"%x;ext=1\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\nTrailer: x\r\n\r\nNEXT"
    found, connection = answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body)
    content = b""
    while part := found.read(step):
        content += part
    assert content == b"".join(chunks) and found.isclosed() and connection.sock is not None


@pytest.mark.parametrize(
    "body", [b"", b"3\r\nab", b"-1\r\nabc", b"3\r\nabcd\r\n", b"zz\r\n", b"1" * 17 + b"\r\n", b"3\r\nabc"]
)
def test_chunks_that_break_off_or_make_no_sense_are_errors(body):
    found, _ = answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body)
    with pytest.raises(ProtocolError):
        found.read(99)


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
def test_some_answers_have_no_body(method, status):
    found, _ = answer(b"HTTP/1.1 %d X\r\nContent-Length: 5\r\n\r\n" % status, method)
    assert (found.isclosed(), found.read(9)) == (True, b"")


def test_interim_answers_are_passed_over():
    found, _ = answer(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
    assert found.status == 201


@pytest.mark.parametrize(
    "content",
    [
        b"SSH-2.0-x\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b",
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 101 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nA: " + b"b" * (1 << 16) + b"\r\n\r\n",
        b"HTTP/1.1 100 C\r\n\r\n" * 30,
    ],
)
def test_what_is_no_answer_is_an_error(content):
    with pytest.raises(ProtocolError):
        answer(content)


def test_a_connection_that_ends_without_an_answer_is_a_break():
    with pytest.raises(Disconnected):
        answer(b"")


def test_a_body_that_breaks_off_ends_and_closes_the_connection():
    found, connection = answer(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab")
    assert (found.read(9), found.length, connection.sock) == (b"ab", 3, None)


def test_a_request_is_a_line_headers_and_a_body():
    _, connection = answer(b"HTTP/1.1 200 OK\r\n\r\n")
    connection.sock = sent = Sent()
    connection.request("PUT", "/v2/", {"Host": "h", "Content-Length": "2"}, io.BytesIO(b"hi"))
    assert sent.content == b"PUT /v2/ HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi"


@pytest.mark.parametrize(("target", "value"), [("/a b", "x"), ("/a\r\nX: y", "x"), ("/", "a\r\nX: y"), ("/ä", "x")])
def test_nothing_is_smuggled_into_a_request(target, value):
    _, connection = answer(b"HTTP/1.1 200 OK\r\n\r\n")
    connection.sock = sent = Sent()
    with pytest.raises(ProtocolError):
        connection.request("GET", target, {"A": value})
    assert sent.content == b""
