"""Whether a sender announces what it announced the last time: told by comparing bytes, without reading them.

Most transfers repeat the one before. Taking an announcement apart, checking it and looking at the disk costs ten
times as much as receiving it.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import TypeAlias

Message: TypeAlias = bytes | memoryview
_COUNT = 8
"""Bytes of the number of packets in an announcement."""


def join(packets: Sequence[bytes]) -> bytes:
    """An announcement: how many packets there are, their lengths, then the packets."""
    lengths = array("I", map(len, packets))
    return b"".join((len(packets).to_bytes(_COUNT, "little"), lengths.tobytes(), *packets))


class Repeat:
    """Follows an announcement for as long as it is the same as the one ``before`` (of `join`)."""

    def __init__(self, before: bytes) -> None:
        self.before = before
        count = int.from_bytes(before[:_COUNT], "little")
        self._lengths = array("I")
        start = _COUNT + count * self._lengths.itemsize
        self._lengths.frombytes(before[_COUNT:start])
        self._start = self._at = start
        self._count = 0

    def skip(self, packets: Sequence[Message]) -> Sequence[Message]:
        """What is left of ``packets`` from the first that is another one."""
        content, count = b"".join(packets), self._count + len(packets)
        end = self._at + len(content)
        if self.before[self._at : end] == content and self._lengths[self._count : count] == array(
            "I", map(len, packets)
        ):
            self._at, self._count = end, count
            return ()
        for place, packet in enumerate(packets):
            end = self._at + len(packet)
            if self.is_whole or self._lengths[self._count] != len(packet) or self.before[self._at : end] != packet:
                return packets[place:]
            self._at, self._count = end, self._count + 1
        return ()

    @property
    def is_whole(self) -> bool:
        """Whether all of it has come again."""
        return self._count == len(self._lengths)

    def passed(self) -> Iterator[bytes]:
        """The packets that have come again."""
        for start, end in pairwise(accumulate(self._lengths[: self._count], initial=self._start)):
            yield self.before[start:end]
