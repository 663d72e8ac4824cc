"""Whether a build gave what was asked for: its platforms against those of the request."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TypeVar

from buildkit.core.errors import InvalidInput
from buildkit.core.platform import format_platform, normalize, parse_platform
from buildkit.core.result import Result
from buildkit.core.values import replace
from buildkit.exporter.platforms import PLATFORMS_KEY, ExportPlatform, platforms_of
from buildkit.frontend.requestopts import KEY

R = TypeVar("R")


def verify_platforms(result: Result[R]) -> Sequence[str]:
    """Warnings, a line each, about platforms that are not those asked for.

    Raises `InvalidInput` for a result whose platforms nobody can tell.
    """
    if PLATFORMS_KEY not in result.metadata:
        if not result.single:
            raise InvalidInput("build result contains multiple refs without platforms mapping")
        if all(ref is None for ref in result.refs.values()):
            return ()
    if KEY not in result.metadata:
        return ()
    found = platforms_of(result)
    wanted: dict[str, ExportPlatform] = {}
    warnings = []
    for text in json.loads(result.metadata[KEY])["Platforms"] or ():
        try:
            platform = normalize(parse_platform(text))
        except InvalidInput as error:
            warnings.append(f'Invalid platform result requested "{text}": {error}')
            continue
        name = format_platform(platform)
        if name in wanted:
            warnings.append(f'Duplicate platform result requested "{text}"')
        wanted[name] = ExportPlatform(text, platform)
    if warnings:
        return warnings
    if len(wanted) == len(found) == 1:
        return _compare_one(next(iter(wanted.values())), found[0])
    if result.single and len(wanted) > 1:
        return ("Multiple platforms requested but result is not multi-platform",)
    names = sorted(format_platform(one.platform) for one in found)
    if sorted(wanted) != names:
        return (f"Requested platforms {','.join(sorted(wanted))} do not match result platforms {','.join(names)}",)
    return ()


def _compare_one(wanted: ExportPlatform, found: ExportPlatform) -> Sequence[str]:
    """A version of the system counts only if one was asked for."""
    platform = found.platform if wanted.platform.os_version else replace(found.platform, os_version="")
    if format_platform(platform) == format_platform(wanted.platform):
        return ()
    name = format_platform(found.platform)
    return (f'Requested platform "{wanted.id}" does not match result platform "{name}"',)
