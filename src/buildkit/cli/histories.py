"""Records of builds as rows of a table: ``debug histories`` and ``prune-histories``."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

from buildkit.cli.flags import Command, Flag, Parsed

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

    from buildkit.api.control_pb2 import BuildHistoryEvent, BuildHistoryRecord

FORMAT_FLAG = Flag("format", "a Go template for each record, for example '{{json .}}'", metavar="TEMPLATE")
COMMAND = Command(
    "prune-histories", "Delete the records of all builds that are over, except for pinned ones.", (FORMAT_FLAG,)
)

Events = AsyncIterator["BuildHistoryEvent"]


def run(parsed: Parsed) -> None:
    """Delete, and print what goes."""
    show_events(parsed, pruned, pinned=False)


async def pruned(parsed: Parsed) -> Events:
    """The records that go, each once it is gone. One that can not be deleted fails the command at the end."""
    from buildkit.cli.target import open_daemon
    from buildkit.core.errors import BuildkitError

    failures: list[BuildkitError] = []
    async with open_daemon(parsed) as client:
        async for event in client.history():
            if not event.HasField("record") or event.record.pinned:
                continue
            try:
                await client.update_history(event.record.Ref, delete=True)
            except BuildkitError as error:
                failures.append(error)
                continue
            yield event
    if failures:
        raise failures[0].prefixed("".join(f"{error}\n" for error in failures[1:]))


def show_events(parsed: Parsed, events: Callable[[Parsed], Events], *, pinned: bool) -> None:
    """Print events as they come, as the flags want them."""
    from buildkit.cli.template import parse_template

    template = parse_template(parsed.text("format")) if parsed.text("format") else None
    import asyncio

    asyncio.run(_show(events(parsed), template, pinned))


async def _show(events: Events, template: Callable[[Any], str] | None, pinned: bool) -> None:
    from buildkit.cli.pbjson import to_go
    from buildkit.cli.usage import align

    waiting = ["TYPE\tREF\tCREATED\tCOMPLETED\tGENERATION" + ("\tPINNED" if pinned else "")]
    async for event in events:
        if template is not None:
            sys.stdout.write(template(to_go(event)) + "\n")
        else:
            sys.stdout.write(align([*waiting, row(event, pinned=pinned)]))
            waiting = []
        sys.stdout.flush()
    if template is None:
        sys.stdout.write(align(waiting))


def row(event: BuildHistoryEvent, *, pinned: bool) -> str:
    """One line of the table, cells separated by tabs."""
    from buildkit.api.control_pb2 import BuildHistoryEventType

    record = event.record
    cells = [BuildHistoryEventType.Name(event.type), record.Ref, *_times(record), str(record.Generation)]
    if pinned:
        cells.append("*" if record.pinned else "")
    return "\t".join(cells)


def _times(record: BuildHistoryRecord) -> list[str]:
    """When it began and ended, in the local time zone; empty for what has not happened."""
    return [
        _local(record.CreatedAt) if record.HasField("CreatedAt") else "",
        _local(record.CompletedAt) if record.HasField("CompletedAt") else "",
    ]


def _local(time: Timestamp) -> str:
    from datetime import UTC, datetime

    text = datetime.fromtimestamp(time.seconds, UTC).astimezone().isoformat()
    return text.replace("+00:00", "Z")
