"""``buildctl debug ctl``: pin, unpin or delete the record of a build."""

from __future__ import annotations

from buildkit.cli.flags import BadUsage, Command, Flag, Parsed

COMMAND = Command(
    "debug ctl",
    "Pin, unpin or delete the record of a build.",
    (
        Flag("pin", "keep it whatever happens", "bool"),
        Flag("unpin", "let it go when its time comes", "bool"),
        Flag("delete", "delete it now", "bool"),
    ),
    "REF",
)


def run(parsed: Parsed) -> None:
    """Check and tell the daemon."""
    if len(parsed.words) != 1:
        raise BadUsage("build ref must be specified")
    pin, unpin, delete = parsed.on("pin"), parsed.on("unpin"), parsed.on("delete")
    if not (pin or unpin or delete):
        raise BadUsage("must specify one of --pin, --unpin, --delete")
    if pin and unpin:
        raise BadUsage("cannot specify both --pin and --unpin")
    if delete and (pin or unpin):
        raise BadUsage("cannot specify --delete with --pin or --unpin")
    import asyncio

    asyncio.run(_update(parsed, pin, delete))


async def _update(parsed: Parsed, pin: bool, delete: bool) -> None:
    from buildkit.cli.target import open_daemon

    async with open_daemon(parsed) as client:
        await client.update_history(parsed.words[0], pinned=pin, delete=delete)
