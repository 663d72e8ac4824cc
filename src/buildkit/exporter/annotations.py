"""Annotations asked for by attributes such as ``annotation-index.org.example=x`` or ``annotation[linux/amd64].k=v``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

from buildkit.core.errors import InvalidInput
from buildkit.core.platform import Platform, format_platform, parse_platform
from buildkit.core.values import dataclass, field

_KEY = re.compile(r"annotation(?:-([a-z-]+))?(?:\[([A-Za-z0-9_/-]+)\])?\.(\S+)")
_KINDS = ("index", "index-descriptor", "manifest", "manifest-descriptor")

V = TypeVar("V", str, bytes)


@dataclass(frozen=True, slots=True)
class Annotations:
    """The annotations of one place each, ready to be written."""

    index: Mapping[str, str]
    index_descriptor: Mapping[str, str]
    manifest: Mapping[str, str]
    manifest_descriptor: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class AnnotationRules:
    """All annotations asked for, by platform (``""`` is every platform) and place."""

    entries: Mapping[tuple[str, str], Mapping[str, str]] = field(
        default_factory=dict[tuple[str, str], Mapping[str, str]]
    )

    @property
    def platforms(self) -> set[str]:
        """Platforms named by a rule."""
        return {platform for platform, _ in self.entries if platform}

    @property
    def beyond_manifest(self) -> bool:
        """Whether something is asked for that Docker's media types have no place for."""
        return any(kind != "manifest" for _, kind in self.entries)

    def merged(self, later: AnnotationRules) -> AnnotationRules:
        """Both; ``later`` wins."""
        keys = [*self.entries, *(key for key in later.entries if key not in self.entries)]
        return AnnotationRules({key: {**self.entries.get(key, {}), **later.entries.get(key, {})} for key in keys})

    def of(self, platform: Platform | None) -> Annotations:
        """What applies to one platform's manifest; index annotations count whatever platform they name."""
        wanted = ("",) if platform is None else ("", format_platform(platform))

        def collect(kind: str, everywhere: bool) -> dict[str, str]:
            out: dict[str, str] = {}
            for (place, of_kind), values in self.entries.items():
                if of_kind == kind and (everywhere or place in wanted):
                    out.update(values)
            return out

        return Annotations(
            collect("index", True),
            collect("index-descriptor", True),
            collect("manifest", False),
            collect("manifest-descriptor", False),
        )


def parse_annotations(values: Mapping[str, V]) -> tuple[AnnotationRules, dict[str, V]]:
    """Split annotation keys off attributes or result metadata; raises `InvalidInput` for an unknown kind."""
    entries: dict[tuple[str, str], dict[str, str]] = {}
    rest: dict[str, V] = {}
    for key, value in values.items():
        match = _KEY.fullmatch(key)
        if match is None:
            rest[key] = value
            continue
        kind = match[1] or "manifest"
        if kind not in _KINDS:
            raise InvalidInput(f"unrecognized annotation type {kind}")
        platform = format_platform(parse_platform(match[2])) if match[2] else ""
        text = value if isinstance(value, str) else value.decode(errors="replace")
        entries.setdefault((platform, kind), {})[match[3]] = text
    # rules for every platform come first, so that a platform's own win
    return AnnotationRules(dict(sorted(entries.items()))), rest
