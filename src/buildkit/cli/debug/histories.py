"""``buildctl debug histories``: the builds on record."""

from __future__ import annotations

from buildkit.cli.flags import Command, Parsed
from buildkit.cli.histories import FORMAT_FLAG, Events, show_events

COMMAND = Command("debug histories", "List the builds on record.", (FORMAT_FLAG,))


def run(parsed: Parsed) -> None:
    """Ask and print."""
    show_events(parsed, _all, pinned=True)


async def _all(parsed: Parsed) -> Events:
    from buildkit.cli.target import open_daemon

    async with open_daemon(parsed) as client:
        async for event in client.history():
            yield event
