"""``buildctl debug get``: a blob of the daemon's content store."""

from __future__ import annotations

import sys

from buildkit.cli.flags import BadUsage, Command, Parsed

COMMAND = Command("debug get", "Write a blob of the daemon's content store to standard output.", (), "DIGEST")


def run(parsed: Parsed) -> None:
    """Ask and write."""
    if len(parsed.words) != 1:
        raise BadUsage("blob digest must be specified")
    from buildkit.core.digest import parse_digest

    digest = parse_digest(parsed.words[0])
    import asyncio

    asyncio.run(_get(parsed, digest))


async def _get(parsed: Parsed, digest: str) -> None:
    from buildkit.cli.target import open_daemon

    async with open_daemon(parsed) as client:
        async for part in client.read_blob(digest):
            sys.stdout.buffer.write(part)
    sys.stdout.buffer.flush()
