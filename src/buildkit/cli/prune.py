"""``buildctl prune``: free space."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from buildkit.cli.flags import BadUsage, Command, Flag, Parsed
from buildkit.cli.target import ROOT_FLAG
from buildkit.client.options import PruneOptions

COMMAND = Command(
    "prune",
    "Free space: remove what no build uses.",
    (
        ROOT_FLAG,
        Flag("keep-duration", "keep what was used since, for example 24h", metavar="DURATION"),
        Flag("keep-storage", "remove only what exceeds this many MB", metavar="MB"),
        Flag("keep-storage-min", "always leave this many MB", metavar="MB"),
        Flag("free-storage", "stop when this many MB of the disk are free", metavar="MB"),
        Flag("filter", "remove only records that match", "list", "f", "FILTER"),
        Flag("all", "remove internal records too", "bool"),
        Flag("verbose", "show everything known of each record", "bool", "v"),
        Flag("format", "a Go template for each record, for example '{{json .}}'", metavar="TEMPLATE"),
    ),
)

_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}


def read_options(parsed: Parsed) -> PruneOptions:
    """What to keep; raises `BadUsage`."""
    return PruneOptions(
        tuple(parsed.all("filter")),
        parsed.on("all"),
        parse_duration(parsed.text("keep-duration", "0")),
        _megabytes(parsed, "keep-storage-min"),
        _megabytes(parsed, "keep-storage"),
        _megabytes(parsed, "free-storage"),
    )


def run(parsed: Parsed) -> None:
    """Remove, and print each record as it goes."""
    options = read_options(parsed)
    template = None
    if parsed.text("format"):
        from buildkit.cli.template import parse_template

        template = parse_template(parsed.text("format"))
    import asyncio

    asyncio.run(_prune(parsed, options, template))


async def _prune(parsed: Parsed, options: PruneOptions, template: Callable[[Any], str] | None) -> None:
    from buildkit.cli.target import open_client
    from buildkit.cli.units import format_bytes
    from buildkit.cli.usage import HEADER, align, as_json, long_lines, table_row

    total, first = 0, True
    async with open_client(parsed, "failed to call prune") as client:
        async for record in client.prune(options):
            total += record.size
            if template is not None:
                sys.stdout.write(template(as_json(record)) + "\n")
            elif parsed.on("verbose"):
                sys.stdout.write(align(long_lines(record)))
            else:
                sys.stdout.write(align([*([HEADER] if first else []), table_row(record)]))
            first = False
            sys.stdout.flush()
    if template is None:
        sys.stdout.write(align([f"Total:\t{format_bytes(total)}"]))


def parse_duration(text: str) -> int:
    """A duration as Go writes it (``1h30m``, ``500ms``, ``0``), in nanoseconds; raises `BadUsage`."""
    import re

    if text == "0":
        return 0
    part = r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)"
    if not re.fullmatch(f"(?:{part})+", text, re.ASCII):
        raise BadUsage(f"{text!r} is not a duration such as 24h or 1h30m")
    return sum(int(float(number) * _UNITS[unit]) for number, unit in re.findall(part, text, re.ASCII))


def _megabytes(parsed: Parsed, flag: str) -> int:
    text = parsed.text(flag, "0")
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e12:
        raise BadUsage(f"--{flag} is a number of megabytes: {text!r} is not")
    return int(value * 1_000_000)
