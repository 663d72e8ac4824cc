"""``buildctl debug monitor``: builds as they come and go, until Ctrl-C."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from buildkit.cli.flags import Command, Flag, Parsed

if TYPE_CHECKING:
    from buildkit.api.control_pb2 import BuildHistoryEvent, BuildResultInfo, Descriptor

COMMAND = Command(
    "debug monitor",
    "Show builds as they come and go, until Ctrl-C.",
    (
        Flag("completed", "show also the builds that are over", "bool"),
        Flag("ref", "show one build only", metavar="REF"),
    ),
)


def run(parsed: Parsed) -> None:
    """Listen and print."""
    import asyncio

    asyncio.run(_listen(parsed))


async def _listen(parsed: Parsed) -> None:
    from buildkit.cli.target import open_daemon

    async with open_daemon(parsed) as client:
        events = client.history(active=not parsed.on("completed"), ref=parsed.text("ref"), follow=True)
        async for event in events:
            sys.stdout.writelines(f"{line}\n" for line in lines(event))
            sys.stdout.flush()


def lines(event: BuildHistoryEvent) -> Iterator[str]:
    """What there is to say of an event."""
    from buildkit.api.control_pb2 import BuildHistoryEventType

    record = event.record
    yield f"event: {BuildHistoryEventType.Name(event.type)} ref:{record.Ref}"
    if record.numTotalSteps:
        yield f"  cache: {record.numCachedSteps}/{record.numTotalSteps}"
    if record.numWarnings:
        yield f"  warnings: {record.numWarnings}"
    if record.HasField("logs"):
        yield f"  logs: {_words(record.logs)}"
    if record.HasField("trace"):
        yield f"  trace: {_words(record.trace)}"
    if record.HasField("Result"):
        yield from (f"  {line}" for line in _results(record.Result))
    for platform in sorted(record.Results):
        yield from (f"  [{platform}] {line}" for line in _results(record.Results[platform]))


def _results(result: BuildResultInfo) -> Iterator[str]:
    if result.Results:
        yield from (f"descriptor: {_words(result.Results[key])}" for key in sorted(result.Results))
    elif result.HasField("ResultDeprecated"):
        yield f"descriptor: {_words(result.ResultDeprecated)}"
    yield from (f"attestation: {_words(one)}" for one in result.Attestations)


def _words(descriptor: Descriptor) -> str:
    """A descriptor in protobuf's text form, empty fields left out."""
    known = [("media_type", descriptor.media_type), ("digest", descriptor.digest)]
    out = [f"{name}:{_quoted(value)}" for name, value in known if value]
    if descriptor.size:
        out.append(f"size:{descriptor.size}")
    for key, value in sorted(descriptor.annotations.items()):
        out.append(f"annotations:{{key:{_quoted(key)} value:{_quoted(value)}}}")
    return " ".join(out)


def _quoted(text: str) -> str:
    import json

    return json.dumps(text, ensure_ascii=False)
