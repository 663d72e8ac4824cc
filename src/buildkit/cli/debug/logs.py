"""``buildctl debug logs``: the progress of a build again."""

from __future__ import annotations

import sys

from buildkit.cli.flags import BadUsage, Command, Flag, Parsed

COMMAND = Command(
    "debug logs",
    "Show the progress of a build, running or on record, from its start.",
    (
        Flag("progress", "auto, plain, tty, rawjson or quiet", metavar="MODE"),
        Flag("trace", "write its OpenTelemetry trace instead, as JSON", "bool"),
    ),
    "REF",
)


def run(parsed: Parsed) -> None:
    """Ask and print."""
    if len(parsed.words) != 1:
        raise BadUsage("build ref must be specified")
    import asyncio

    asyncio.run((_trace if parsed.on("trace") else _progress)(parsed, parsed.words[0]))


async def _progress(parsed: Parsed, ref: str) -> None:
    from buildkit.cli.display.modes import follow, open_display
    from buildkit.cli.target import open_daemon

    async with open_daemon(parsed) as client:
        await follow(open_display(parsed.text("progress"), sys.stdout.buffer), client.status(ref))


async def _trace(parsed: Parsed, ref: str) -> None:
    from buildkit.cli.target import open_daemon
    from buildkit.core.errors import NotFound

    async with open_daemon(parsed) as client:
        records = [event.record async for event in client.history(ref=ref)]
        if not records:
            raise NotFound(f"ref {ref} not found")
        if not records[0].HasField("trace"):
            raise NotFound(f"ref {ref} does not have trace")
        async for part in client.read_blob(records[0].trace.digest):
            sys.stdout.buffer.write(part)
        sys.stdout.buffer.flush()
