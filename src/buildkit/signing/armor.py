"""Text forms of binary things: ``-----BEGIN …-----`` blocks of OpenPGP (RFC 9580, 6.2) and of SSH."""

from __future__ import annotations

import binascii
from collections.abc import Iterator

from buildkit.core.values import dataclass
from buildkit.signing.refused import SignatureRefused

_LETTERS = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
_BEGIN, _END, _DASHES = b"-----BEGIN ", b"-----END ", b"-----"


@dataclass(frozen=True, slots=True)
class Block:
    """One block; ``content`` is decoded."""

    kind: str
    content: bytes


def read_blocks(text: bytes) -> Iterator[Block]:
    """Every block; what stands around them is passed over, as are checksums. Raises `SignatureRefused`."""
    lines = iter(text.splitlines())
    for line in lines:
        line = line.strip()
        if not line.startswith(_BEGIN) or len(line) <= len(_BEGIN + _DASHES):
            continue
        kind = line[len(_BEGIN) : -len(_DASHES)].decode(errors="replace")
        if _pass_headers(lines):
            yield Block(kind, decode_base64(_body(lines)))


def _pass_headers(lines: Iterator[bytes]) -> bool:
    """Whether a blank line ends the headers."""
    for line in lines:
        if not line.strip():
            return True
        if b":" not in line:
            return False
    return False


def _body(lines: Iterator[bytes]) -> bytes:
    parts = []
    for line in lines:
        line = line.strip()
        if line.startswith(_END) or (len(line) == 5 and line.startswith(b"=")):
            break
        if len(line) > 96:
            raise SignatureRefused("openpgp: invalid data: armor invalid")
        parts.append(line)
    return b"".join(parts)


def read_pem(text: bytes, kind: str) -> bytes | None:
    """The content of the first block if it is of this kind: the form of SSH, which has no headers."""
    begin, end = (f"-----{word} {kind}-----".encode() for word in ("BEGIN", "END"))
    lines = [line.strip() for line in text.splitlines()]
    try:
        first = lines.index(begin)
        last = lines.index(end, first)
        return binascii.a2b_base64(b"".join(lines[first + 1 : last]), strict_mode=True)
    except ValueError:
        return None


def decode_base64(text: bytes) -> bytes:
    """Strictly; raises `SignatureRefused` with the place of what is wrong."""
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        wrong = next((place for place, char in enumerate(text) if char not in _LETTERS), len(text) - len(text) % 4)
        raise SignatureRefused(f"illegal base64 data at input byte {wrong}") from None
