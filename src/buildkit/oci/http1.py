"""HTTP/1.1 over blocking sockets, as much as registries need: `http.client` without its parser of mail.

Importing that takes as long as a tenth of a cached build. Answers are hostile: lines, headers and chunks have limits.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    import ssl

_LONGEST_LINE = 1 << 16
_MOST_HEADERS = 100
_MOST_DIGITS = 18
_MOST_INTERIM = 20
_BLOCK = 256 << 10
_TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


class ProtocolError(Exception):
    """The other end does not speak HTTP as it should, or breaks off in the middle."""


class Disconnected(ConnectionResetError):
    """The other end closed the connection without an answer."""


class Connection:
    """One connection to a server, or to a proxy: one request and its answer after the other."""

    def __init__(
        self,
        address: tuple[str, int],
        *,
        timeout: float,
        context: ssl.SSLContext | None = None,
        server: tuple[str, int] | None = None,
        through_proxy: bool = False,
    ) -> None:
        """``context`` makes it TLS with the host ``server``, to which a proxy at ``address`` tunnels if they differ.

        ``through_proxy``: requests name whole URLs.
        """
        self.sock: socket.socket | None = None
        self.through_proxy = through_proxy
        self._address = address
        self._timeout = timeout
        self._context = context
        self._server = server or address

    def connect(self) -> None:
        """Open it; raises `OSError`."""
        host, port = self._address
        name = host.encode() if host.isascii() else host.encode("idna")  # text would import the codec for names
        found = socket.create_connection((name, port), self._timeout)  # type: ignore[arg-type]
        try:
            found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._context is not None:
                if self._server != self._address:
                    self._tunnel(found)
                found = self._context.wrap_socket(found, server_hostname=self._server[0])
        except BaseException:
            found.close()
            raise
        self.sock = found

    def _tunnel(self, found: socket.socket) -> None:
        host, port = self._server
        place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        found.sendall(f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n\r\n".encode("ascii"))
        with found.makefile("rb", 0) as file:  # unbuffered: what follows belongs to TLS
            answer = Answer(self, file, "CONNECT")  # type: ignore[arg-type]
            if answer.status != 200:
                raise OSError(f"Tunnel connection failed: {answer.status} {answer.reason}")

    def request(self, method: str, target: str, headers: Mapping[str, str], body: BinaryIO | None = None) -> None:
        """Send a request; raises `OSError`, and `ProtocolError` for what cannot be sent."""
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        if not target.isascii() or any(ord(letter) <= 32 or letter == "\x7f" for letter in target):
            raise ProtocolError(f"URL can't contain control characters or spaces: {target!r}")
        if any("\r" in line or "\n" in line or "\0" in line for line in lines):
            raise ProtocolError("a header can't contain line ends")
        found = self._open()
        found.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace"))
        if body is not None:
            while block := body.read(_BLOCK):
                found.sendall(block)

    def getresponse(self, method: str) -> Answer:
        """The answer to the last request; raises `OSError` and `ProtocolError`."""
        return Answer(self, self._open().makefile("rb"), method)

    def _open(self) -> socket.socket:
        if self.sock is None:
            self.connect()
        if self.sock is None:
            raise Disconnected("the connection is closed")
        return self.sock

    def close(self) -> None:
        """Close it."""
        if self.sock is not None:
            self.sock.close()
            self.sock = None


class Answer:
    """A status, headers, and a body to read."""

    def __init__(self, connection: Connection, file: BinaryIO, method: str) -> None:
        self._connection = connection
        self._file: BinaryIO | None = file
        self.method = method
        for _ in range(_MOST_INTERIM):
            version, self.status, self.reason = _status(file)
            self._headers = _headers(file)
            if self.status >= 200 or self.status == 101:
                break
        else:
            raise ProtocolError("too many interim answers")
        tokens = [token.strip().lower() for value in self.get_all("Connection") for token in value.split(",")]
        self._closes = "close" in tokens or (version == b"HTTP/1.0" and "keep-alive" not in tokens)
        self.chunked = (self.get("Transfer-Encoding") or "").strip().lower() == "chunked"
        self.length: int | None = None
        """Bytes of the body that are still to come; None when nobody knows."""
        if method in ("HEAD", "CONNECT") or self.status in (204, 304) or self.status < 200:
            self.length, self.chunked = 0, False
        elif not self.chunked:
            self.length = _length(self.get_all("Content-Length"))
            self._closes = self._closes or self.length is None
        self._chunk = 0
        self._begun = False
        if self.length == 0:
            self._end()

    def get(self, name: str) -> str | None:
        """The first value of a header."""
        return next(iter(self.get_all(name)), None)

    def get_all(self, name: str) -> list[str]:
        """All values of a header."""
        wanted = name.lower()
        return [value for key, value in self._headers if key == wanted]

    def isclosed(self) -> bool:
        """Whether all of the body is read."""
        return self._file is None

    def readinto(self, view: memoryview) -> int:
        """Read some of the body; 0 is its end. Raises `OSError`, and `ProtocolError` when a chunk breaks off."""
        if self._file is None or not len(view):
            return 0
        if self.chunked:
            return self._read_chunk(self._file, view)
        if self.length is not None:
            view = view[: min(len(view), self.length)]
        count = int(self._file.readinto(view))  # type: ignore[attr-defined]
        if self.length is not None:
            self.length -= count
        if not count or self.length == 0:
            if self.length:
                self._closes = True  # it broke off
            self._end()
        return count

    def read(self, limit: int) -> bytes:
        """The body, or its next ``limit`` bytes."""
        parts: list[bytes] = []
        buffer = memoryview(bytearray(min(limit, _BLOCK)))
        while limit and (count := self.readinto(buffer[: min(limit, _BLOCK)])):
            parts.append(bytes(buffer[:count]))
            limit -= count
        return b"".join(parts)

    def close(self) -> None:
        """Read no more; the connection is of use afterwards only if the body was read."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _end(self) -> None:
        self.close()
        if self._closes:
            self._connection.close()

    def _read_chunk(self, file: BinaryIO, view: memoryview) -> int:
        if not self._chunk:
            if self._begun and _line(file) != b"":
                raise ProtocolError("a chunk does not end where it should")
            self._begun = True
            size = _line(file).partition(b";")[0].strip()
            if not size or len(size) > 16 or not all(byte in b"0123456789abcdefABCDEF" for byte in size):
                raise ProtocolError("a chunk has no size")
            self._chunk = int(size, 16)
            if not self._chunk:
                _headers(file)
                self._end()
                return 0
        count = int(file.readinto(view[: min(len(view), self._chunk)]))  # type: ignore[attr-defined]
        if not count:
            raise ProtocolError("connection closed in the middle of a chunk")
        self._chunk -= count
        return count


def _line(file: BinaryIO) -> bytes:
    line = file.readline(_LONGEST_LINE + 1)
    if len(line) > _LONGEST_LINE:
        raise ProtocolError("got more than 65536 bytes when reading a line")
    if not line.endswith(b"\n"):
        raise ProtocolError("connection closed in the middle of an answer")
    return line.rstrip(b"\r\n")


def _status(file: BinaryIO) -> tuple[bytes, int, str]:
    line = file.readline(_LONGEST_LINE + 1)
    if not line:
        raise Disconnected("Remote end closed connection without response")
    version, _, rest = line.rstrip(b"\r\n").partition(b" ")
    code, _, reason = rest.strip().partition(b" ")
    if not version.startswith(b"HTTP/1.") or len(code) != 3 or not code.isdigit() or code < b"100":
        raise ProtocolError(f"not an answer of HTTP/1: {line[:60].decode('latin-1')!r}")
    return version, int(code), reason.decode("latin-1").strip()


def _length(values: list[str]) -> int | None:
    """What ``Content-Length`` says, which may be said several times if it is the same; None if it says nothing."""
    said = {value.strip() for text in values for value in text.split(",")}
    if not said:
        return None
    text = said.pop()
    if said or not (text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS):
        raise ProtocolError(f"the length of the answer is not a number: {', '.join(values)[:60]!r}")
    return int(text)


def _headers(file: BinaryIO) -> list[tuple[str, str]]:
    return list(_each_header(file))


def _each_header(file: BinaryIO) -> Iterator[tuple[str, str]]:
    for _ in range(_MOST_HEADERS + 1):
        line = _line(file)
        if not line:
            return
        name, colon, value = line.partition(b":")
        if not colon or not name or not all(byte in _TOKEN for byte in name):
            continue
        yield name.decode("ascii").lower(), value.strip(b" \t").decode("latin-1")
    raise ProtocolError(f"got more than {_MOST_HEADERS} headers")


__all__ = ["Answer", "Connection", "Disconnected", "ProtocolError"]
