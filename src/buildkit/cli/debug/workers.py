"""``buildctl debug workers``: what a daemon can run."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from buildkit.cli.debug.version import FORMAT_FLAG, words
from buildkit.cli.debug.version import as_json as version_json
from buildkit.cli.flags import Command, Flag, Parsed

if TYPE_CHECKING:
    from buildkit.client.workers import Device, KeepRule, WorkerRecord
    from buildkit.core.platform import Platform

COMMAND = Command(
    "debug workers",
    "List workers.",
    (
        Flag("filter", "show only workers that match", "list", "f", "FILTER"),
        Flag("verbose", "show everything known of each worker", "bool", "v"),
        FORMAT_FLAG,
    ),
)


def run(parsed: Parsed) -> None:
    """Ask and print."""
    from buildkit.cli.template import parse_template
    from buildkit.cli.usage import align

    template = parse_template(parsed.text("format")) if parsed.text("format") else None
    import asyncio

    workers = asyncio.run(_ask(parsed))
    if template is not None:
        sys.stdout.write(template([as_json(worker) for worker in workers]) + "\n")
    elif parsed.on("verbose"):
        sys.stdout.write(align([line for worker in workers for line in long_lines(worker)]))
    else:
        rows = [f"{worker.id}\t{_platforms(worker.platforms)}" for worker in workers]
        sys.stdout.write(align(["ID\tPLATFORMS", *rows]))


async def _ask(parsed: Parsed) -> list[WorkerRecord]:
    from buildkit.cli.target import open_daemon

    async with open_daemon(parsed, "failed to list workers") as client:
        return await client.workers(parsed.all("filter"))


def _platforms(platforms: tuple[Platform, ...]) -> str:
    from buildkit.core.platform import format_platform, normalize

    return ",".join(format_platform(normalize(platform)) for platform in platforms)


def long_lines(worker: WorkerRecord) -> Iterator[str]:
    """Everything known of a worker, cells separated by tabs, and an empty line."""
    yield f"ID:\t{worker.id}"
    yield f"Platforms:\t{_platforms(worker.platforms)}"
    yield f"BuildKit:\t{words(worker.version)}"
    if worker.version.dockerfile:
        yield f"Dockerfile:\t{worker.version.dockerfile}"
    yield "Labels:"
    yield from (f"\t{key}:\t{value}" for key, value in sorted(worker.labels.items()))
    if worker.devices:
        yield "Devices:"
        for device in worker.devices:
            yield from _device_lines(device)
        yield ""
    for number, rule in enumerate(worker.rules):
        yield f"GC Policy rule#{number}:"
        yield from _rule_lines(rule)
    yield ""


def _device_lines(device: Device) -> Iterator[str]:
    yield f"\tName:\t{device.name}"
    yield "\tOnDemand:\ttrue" if device.on_demand else f"\tAutoAllow:\t{_word(device.auto_allow)}"
    yield from (f"\tAnnotations:\t{key}:\t{value}" for key, value in sorted(device.annotations.items()))


def _rule_lines(rule: KeepRule) -> Iterator[str]:
    yield f"\tAll:\t{_word(rule.all)}"
    if rule.filters:
        yield f"\tFilters:\t{' '.join(rule.filters)}"
    if rule.keep_duration > 0:
        yield f"\tKeep duration:\t{format_duration(rule.keep_duration)}"
    sizes = (
        ("Reserved space", rule.reserved_space),
        ("Minimum free space", rule.min_free_space),
        ("Maximum used space", rule.max_used_space),
    )
    yield from (f"\t{name}:\t{_shortest(size)}" for name, size in sizes if size > 0)


def _word(value: bool) -> str:
    return "true" if value else "false"


def _shortest(count: int) -> str:
    """A size in the largest unit with as many digits as it takes: ``512MB``, ``1.5GB``."""
    size, unit = float(count), "B"
    for unit in ("B", "kB", "MB", "GB", "TB", "PB"):
        if size < 1000 or unit == "PB":
            break
        size /= 1000
    return f"{size!r}".removesuffix(".0") + unit


def format_duration(nanoseconds: int) -> str:
    """A duration as Go prints it: ``48h0m0s``, ``1m30.5s``, ``0s``."""
    minutes, rest = divmod(nanoseconds, 60 * 10**9)
    hours, minutes = divmod(minutes, 60)
    seconds = f"{rest // 10**9}.{rest % 10**9:09d}".rstrip("0").rstrip(".") + "s"
    if hours:
        return f"{hours}h{minutes}m{seconds}"
    return f"{minutes}m{seconds}" if minutes else seconds


def as_json(worker: WorkerRecord) -> dict[str, Any]:
    """The JSON object that Go's client makes of a worker."""
    return {
        "id": worker.id,
        "labels": dict(sorted(worker.labels.items())) or None,
        "platforms": [_platform_json(platform) for platform in worker.platforms],
        "gcPolicy": [
            {
                "all": rule.all,
                "filter": list(rule.filters) or None,
                "keepDuration": rule.keep_duration,
                "reservedSpace": rule.reserved_space,
                "maxUsedSpace": rule.max_used_space,
                "minFreeSpace": rule.min_free_space,
            }
            for rule in worker.rules
        ],
        "buildkitVersion": version_json(worker.version),
        "cdiDevices": [
            {
                "name": device.name,
                "autoAllow": device.auto_allow,
                "annotations": dict(sorted(device.annotations.items())) or None,
                "onDemand": device.on_demand,
            }
            for device in worker.devices
        ]
        or None,
    }


def _platform_json(platform: Platform) -> dict[str, Any]:
    known = {
        "architecture": platform.architecture,
        "os": platform.os,
        "os.version": platform.os_version,
        "os.features": list(platform.os_features),
        "variant": platform.variant,
    }
    return {key: value for key, value in known.items() if value or key in ("architecture", "os")}
