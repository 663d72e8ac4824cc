"""Reading binary formats piece by piece."""

from __future__ import annotations

from buildkit.signing.refused import SignatureRefused


class Octets:
    """Bytes that are read from the front; every method raises `SignatureRefused` when there are too few."""

    def __init__(self, content: bytes, short: str = "unexpected EOF") -> None:
        """``short`` is what they say then."""
        self._content = content
        self._short = short
        self.offset = 0

    def __len__(self) -> int:
        return len(self._content) - self.offset

    @property
    def passed(self) -> bytes:
        """What was read so far."""
        return self._content[: self.offset]

    def take(self, count: int) -> bytes:
        """The next bytes."""
        if count > len(self):
            raise SignatureRefused(self._short)
        self.offset += count
        return self._content[self.offset - count : self.offset]

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(len(self))

    def number(self, size: int) -> int:
        """An unsigned number of ``size`` bytes, the highest first."""
        return int.from_bytes(self.take(size), "big")

    def mpi(self) -> bytes:
        """A number of OpenPGP: its length in bits, then its bytes."""
        return self.take((self.number(2) + 7) // 8)

    def string(self) -> bytes:
        """A string of SSH: its length, then its bytes."""
        return self.take(self.number(4))
