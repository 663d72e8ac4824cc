"""``buildctl debug info``: which BuildKit the daemon is."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from buildkit.cli.flags import Command, Flag, Parsed

if TYPE_CHECKING:
    from buildkit.client.workers import Version

FORMAT_FLAG = Flag("format", "a Go template, for example '{{json .}}'", metavar="TEMPLATE")
COMMAND = Command("debug info", "Show which BuildKit the daemon is.", (FORMAT_FLAG,))


def run(parsed: Parsed) -> None:
    """Ask and print."""
    from buildkit.cli.template import parse_template

    template = parse_template(parsed.text("format")) if parsed.text("format") else None
    import asyncio

    version = asyncio.run(_ask(parsed))
    if template is not None:
        sys.stdout.write(template({"buildkitVersion": as_json(version)}) + "\n")
        return
    sys.stdout.write(f"BuildKit:{'   ' if version.dockerfile else ' '}{words(version)}\n")
    if version.dockerfile:
        sys.stdout.write(f"Dockerfile: {version.dockerfile}\n")


async def _ask(parsed: Parsed) -> Version:
    from buildkit.cli.target import open_daemon

    async with open_daemon(parsed, "failed to call info") as client:
        return await client.version()


def words(version: Version) -> str:
    """Package, version and revision."""
    return f"{version.package} {version.version} {version.revision}"


def as_json(version: Version) -> dict[str, str]:
    """The JSON object that Go's client makes of it."""
    out = {"package": version.package, "version": version.version, "revision": version.revision}
    return {**out, "dockerfileVersion": version.dockerfile} if version.dockerfile else out
