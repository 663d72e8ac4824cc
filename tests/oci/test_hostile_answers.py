"""What a registry or token server may say to break, to confuse or to steer the terminal of those who ask it."""

from __future__ import annotations

from io import BytesIO

import pytest

from buildkit.core.errors import PermissionDenied, Unavailable
from buildkit.oci.auth import Credentials
from buildkit.oci.hosts import Endpoint
from buildkit.oci.http1 import Answer, ProtocolError
from buildkit.oci.registry import status_error
from buildkit.oci.tokens import Token, TokenRequest, TokenStore, _read_token
from buildkit.oci.transport import Response, Transport


class Said:
    """The answer of a server as the transport gives it."""

    url, method, reason = "http://host/v2/", "GET", "OK"

    def __init__(self, status: int, body: bytes, length: str = "") -> None:
        self.status = status
        self._body = body
        self._length = length

    def header(self, name: str) -> str:
        return self._length if name == "Content-Length" else ""

    async def read(self, limit: int) -> bytes:
        return self._body


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"token": "x", "expires_in": 1e400}', b"\xff", b"[]", b"{}"])
async def test_a_token_that_cannot_be_read_is_the_servers_fault(body: bytes) -> None:
    with pytest.raises(Unavailable):
        await _read_token(Said(200, body))  # type: ignore[arg-type]


async def test_a_refusal_cannot_write_lines_or_colours_of_its_own() -> None:
    body = b'{"errors": [{"code": "DENIED", "message": "no\\u001b[31m\\nerror: done\\u0007"}]}'
    error = await status_error(Said(403, body), "GET")  # type: ignore[arg-type]
    assert error.message.endswith("403 OK: denied: no [31m error: done")


async def test_a_refusal_nested_without_end_says_nothing() -> None:
    error = await status_error(Said(403, b"[" * 60_000), "GET")  # type: ignore[arg-type]
    assert error.message.endswith("403 OK")


@pytest.mark.parametrize(("text", "length"), [("12", 12), ("9" * 5000, None), ("-5", None), ("", None)])
def test_a_length_that_no_body_has_is_taken_as_none(text: str, length: int | None) -> None:
    assert Response.length.fget(Said(200, b"", text)) == length  # type: ignore[attr-defined]


def answered(*lengths: str) -> Answer:
    headers = "".join(f"Content-Length: {text}\r\n" for text in lengths)
    return Answer(None, BytesIO(f"HTTP/1.1 200 OK\r\n{headers}\r\n".encode("latin-1")), "GET")  # type: ignore[arg-type]


@pytest.mark.parametrize("lengths", [("9" * 5000,), ("-5",), ("0x10",), ("\u00b2",), ("",), ("3", "4"), ("3, 4",)])
def test_an_answer_with_a_length_that_no_body_has_is_refused_and_not_waited_for(lengths: tuple[str, ...]) -> None:
    with pytest.raises(ProtocolError, match="the length of the answer is not a number"):
        answered(*lengths)


@pytest.mark.parametrize("lengths", [("3",), ("3", "3"), ("3, 3",)])
def test_a_length_may_be_said_twice(lengths: tuple[str, ...]) -> None:
    assert answered(*lengths).length == 3


class Keys:
    """A keyring that would have a token fetched anywhere."""

    async def credentials(self, host: str) -> Credentials:
        return Credentials("user", "secret")

    async def token(self, request: TokenRequest) -> Token | None:
        return Token("token", 0)

    async def key(self, host: str, salt: bytes) -> bytes | None:
        return None


async def test_a_secret_is_not_sent_in_the_clear_to_the_token_server_of_a_secure_registry() -> None:
    tokens = TokenStore(Transport(), Keys())
    with pytest.raises(PermissionDenied, match="sent in the clear"):
        await tokens.answer(Endpoint("host"), ['Bearer realm="http://host/token"'], (), "")
