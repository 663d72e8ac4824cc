"""``buildctl du``: what takes space."""

from __future__ import annotations

import sys

from buildkit.cli.flags import Command, Flag, Parsed
from buildkit.cli.target import ROOT_FLAG
from buildkit.client.options import UsageRecord

COMMAND = Command(
    "du",
    "Show what takes space.",
    (
        ROOT_FLAG,
        Flag("filter", "show only records that match, for example type==regular", "list", "f", "FILTER"),
        Flag("verbose", "show everything known of each record", "bool", "v"),
        Flag("format", "a Go template, for example '{{json .}}'", metavar="TEMPLATE"),
    ),
)


def run(parsed: Parsed) -> None:
    """Ask the engine and print."""
    from buildkit.cli.template import parse_template

    template = parse_template(parsed.text("format")) if parsed.text("format") else None
    import asyncio

    from buildkit.cli.usage import HEADER, align, as_json, long_lines, summary, table_row

    records = asyncio.run(_usage(parsed))
    if template is not None:
        sys.stdout.write(template([as_json(record) for record in records]) + "\n")
        return
    if parsed.on("verbose"):
        sys.stdout.write(align([line for record in records for line in long_lines(record)]))
    else:
        sys.stdout.write(align([HEADER, *map(table_row, records)]))
    if not parsed.all("filter"):
        sys.stdout.write(align(summary(records)))


async def _usage(parsed: Parsed) -> list[UsageRecord]:
    from buildkit.cli.target import open_client

    async with open_client(parsed, "failed to call diskusage") as client:
        return await client.usage(parsed.all("filter"))
