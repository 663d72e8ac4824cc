"""Ed25519 (RFC 8032): sign and verify a few short messages without any package.

The arithmetic takes a few milliseconds and its time depends on the key: use it for keys that prove who somebody is
to a peer for the length of a session, not for keys that are worth stealing.
"""

from __future__ import annotations

from hashlib import sha512
from typing import TypeAlias

KEY_SIZE = 32
SIGNATURE_SIZE = 64

_P = 2**255 - 19
_ORDER = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, -1, _P) % _P
_ROOT = pow(2, (_P - 1) // 4, _P)
"""A square root of -1."""

_Point: TypeAlias = tuple[int, int, int, int]
"""X, Y, Z, T of a point: x = X/Z, y = Y/Z, x * y = T/Z."""


def public_key(secret: bytes) -> bytes:
    """The public half of the key that is made of 32 secret bytes."""
    return _pack(_times(_scalar(secret)[0], _BASE))


def sign(secret: bytes, message: bytes) -> bytes:
    """The 64 bytes that only the owner of ``secret`` can make of ``message``."""
    scalar, prefix = _scalar(secret)
    public = _pack(_times(scalar, _BASE))
    nonce = _number(prefix, message)
    commitment = _pack(_times(nonce, _BASE))
    answer = (nonce + _number(commitment, public, message) * scalar) % _ORDER
    return commitment + answer.to_bytes(32, "little")


def verify(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether the owner of ``public`` signed ``message``; False for what is no key or no signature too."""
    if len(public) != KEY_SIZE or len(signature) != SIGNATURE_SIZE:
        return False
    key, commitment = _unpack(public), _unpack(signature[:32])
    answer = int.from_bytes(signature[32:], "little")
    if key is None or commitment is None or answer >= _ORDER:
        return False
    challenge = _number(signature[:32], public, message)
    return _same(_times(answer, _BASE), _add(commitment, _times(challenge, key)))


def _scalar(secret: bytes) -> tuple[int, bytes]:
    expanded = sha512(secret).digest()
    number = int.from_bytes(expanded[:32], "little")
    return number & (2**254 - 8) | 2**254, expanded[32:]


def _number(*parts: bytes) -> int:
    return int.from_bytes(sha512(b"".join(parts)).digest(), "little") % _ORDER


def _add(one: _Point, other: _Point) -> _Point:
    a = (one[1] - one[0]) * (other[1] - other[0]) % _P
    b = (one[1] + one[0]) * (other[1] + other[0]) % _P
    c = 2 * one[3] * other[3] * _D % _P
    d = 2 * one[2] * other[2] % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _times(number: int, point: _Point) -> _Point:
    total: _Point = (0, 1, 1, 0)
    while number:
        if number & 1:
            total = _add(total, point)
        point = _add(point, point)
        number >>= 1
    return total


def _same(one: _Point, other: _Point) -> bool:
    x = (one[0] * other[2] - other[0] * one[2]) % _P
    y = (one[1] * other[2] - other[1] * one[2]) % _P
    return x == 0 and y == 0


def _pack(point: _Point) -> bytes:
    inverse = pow(point[2], -1, _P)
    x, y = point[0] * inverse % _P, point[1] * inverse % _P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def _unpack(content: bytes) -> _Point | None:
    """The point that 32 bytes stand for; None when there is none."""
    number = int.from_bytes(content, "little")
    odd, y = number >> 255, number & (2**255 - 1)
    if y >= _P:
        return None
    square = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    x = pow(square, (_P + 3) // 8, _P)
    if (x * x - square) % _P:
        x = x * _ROOT % _P
    if (x * x - square) % _P or (x == 0 and odd):
        return None
    if x & 1 != odd:
        x = _P - x
    return x, y, 1, x * y % _P


_BASE = _unpack((4 * pow(5, -1, _P) % _P).to_bytes(32, "little")) or (0, 1, 1, 0)
