"""Whether a far client still answers (specification row A134)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence

from buildkit.core.errors import BuildkitError, Unavailable
from buildkit.core.values import dataclass
from buildkit.rpc.client import Channel
from buildkit.session import headers


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How often to ask, how long to wait for an answer (seconds), and how many failures in a row are the end."""

    pause: float = 5.0
    patience: float = 15.0
    failures: int = 2

    @classmethod
    def of(cls, metadata: Mapping[str, Sequence[str]]) -> Rhythm:
        """The rhythm that a client asks for in milliseconds, a second at least."""
        text = headers.first(metadata, headers.HEALTH_TIMEOUT)
        if not text.isdecimal() or not text.isascii() or len(text) > 9 or int(text) == 0:
            return cls()
        seconds = max(int(text) / 1000, 1.0)
        return cls(seconds, seconds, 1)


async def watch(channel: Channel, rhythm: Rhythm = Rhythm()) -> BuildkitError:
    """Ask for ever; returns the error when the client must be taken for gone."""
    failed = 0
    patience = rhythm.patience
    while True:
        await asyncio.sleep(rhythm.pause)
        started = time.monotonic()
        try:
            await channel.unary(headers.HEALTH_CHECK, b"", seconds=patience)
            failed = 0
        except (BuildkitError, TimeoutError) as error:
            failed += 1
            if failed >= rhythm.failures:
                return Unavailable(f"session healthcheck failed fatally: {error or 'context deadline exceeded'}")
        patience = max(rhythm.patience, (time.monotonic() - started) * 1.5)
