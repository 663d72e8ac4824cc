"""Which modification times are written into layer tars (docs/adr/0010-layer-times.md)."""

from __future__ import annotations

from buildkit.core.errors import InvalidInput
from buildkit.core.values import dataclass

NEUTRAL = 315_532_801
"""1980-01-01 00:00:01 UTC in seconds since the epoch: the earliest time that zip archives can hold, and one second."""


@dataclass(frozen=True, slots=True)
class TimePolicy:
    """A rule for times: ``real``, ``constant`` (every time becomes ``seconds``) or ``clamp`` (later ones do)."""

    kind: str = "real"
    seconds: int = 0

    def __post_init__(self) -> None:
        if self.kind not in ("real", "constant", "clamp"):
            raise InvalidInput(f"time policy {self.kind!r}: expected real, constant or clamp")

    @property
    def key(self) -> str:
        """A word that tells policies apart, part of the names under which blobs are remembered."""
        return self.kind if self.kind == "real" else f"{self.kind}:{self.seconds}"

    def time_of(self, path: str, seconds: int) -> int:
        """The time to write for a file whose own time is ``seconds``."""
        if self.kind == "constant":
            return self.seconds
        return min(seconds, self.seconds) if self.kind == "clamp" else seconds


REAL = TimePolicy()
"""What BuildKit does: the times that the files have."""
DETERMINISTIC = TimePolicy("constant", NEUTRAL)
"""The embedded engine's default."""
