"""The image config: what the frontend gave, with the layers, history and times that the export knows.

Top-level keys come out sorted, their values stay as the frontend wrote them, so unknown keys survive.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from buildkit.core.digest import Digest
from buildkit.core.errors import InvalidInput
from buildkit.core.platform import DEFAULT_PATH, Platform, host_platform
from buildkit.core.values import dataclass, replace
from buildkit.exporter.epoch import Epoch, format_rfc3339, parse_rfc3339
from buildkit.oci.spec import encode

COMMENT = "buildkit.exporter.image.v0"
INLINE_CACHE_KEY = "moby.buildkit.cache.v0"
_NO_DESCRIPTION = "created by buildkit"
_BLANKS = re.compile(r'("(?:[^"\\]|\\.)*")|[ \t\r\n]+')


@dataclass(frozen=True, slots=True)
class LayerFacts:
    """What the config says of a layer; ``created`` in nanoseconds since 1970."""

    diff_id: Digest
    created: int | None
    description: str = ""


@dataclass(frozen=True, slots=True)
class Times:
    """Which times a config may carry.

    ``epoch`` pulls later times back (``SOURCE_DATE_EPOCH``). ``fixed`` (nanoseconds) replaces every time that is
    not the base image's own: a build that is to come out the same each time.
    """

    epoch: Epoch | None = None
    fixed: int | None = None


@dataclass(frozen=True, slots=True)
class History:
    """One step of an image's making; ``created`` in nanoseconds since 1970."""

    created: int | None = None
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False

    def to_json(self) -> dict[str, Any]:
        """The JSON object, fields in OCI's order, empty ones left out."""
        out: dict[str, Any] = {}
        if self.created is not None:
            out["created"] = format_rfc3339(self.created)
        for key in ("created_by", "author", "comment", "empty_layer"):
            if value := getattr(self, key):
                out[key] = value
        return out


def default_config(platform: Platform | None = None) -> bytes:
    """The config of a result that came without one."""
    platform = platform or host_platform()
    config: dict[str, Any] = {"architecture": platform.architecture, "os": platform.os}
    if platform.variant:
        config["variant"] = platform.variant
    config["config"] = {"Env": [f"PATH={DEFAULT_PATH}"], "WorkingDir": "/"}
    config["rootfs"] = {"type": "layers", "diff_ids": None}
    return encode(config)


def patch_config(
    content: bytes,
    layers: Sequence[LayerFacts],
    times: Times,
    *,
    base: bytes = b"",
    inline_cache: bytes | None = None,
) -> bytes:
    """The final config. ``base`` is the base image's config, whose history keeps its times.

    Raises `InvalidInput` where ``content`` is no image config.
    """
    try:
        parsed, raw = json.loads(content), _top_level(content.decode())
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"invalid image config for export: {error}") from error
    if parsed is None:
        raise InvalidInput("invalid null image config for export")
    if not isinstance(parsed, dict):
        raise InvalidInput("invalid image config for export: not a JSON object")
    for key, what in (("os", "os"), ("architecture", "architecture")):
        if not isinstance(parsed.get(key), str) or not parsed[key]:
            raise InvalidInput(f"invalid image config for export: missing {what}")
    given = _parse_history(parsed.get("history"))
    history = complete_history(given or (), layers)
    inherited = _common_start(history, _parse_history(_decoded(base).get("history")) or ())
    history = [h if i < inherited else _restamp(h, times) for i, h in enumerate(history)]
    raw["rootfs"] = _text({"type": "layers", "diff_ids": [layer.diff_id for layer in layers] or None})
    raw["history"] = _text([h.to_json() for h in history] if history or given is not None else None)
    raw["created"] = _created(parsed.get("created"), "created" in parsed, history, times)
    if inline_cache is not None:
        from base64 import b64encode

        raw[INLINE_CACHE_KEY] = _text(b64encode(inline_cache).decode())
    return ("{" + ",".join(f"{_text(key)}:{raw[key]}" for key in sorted(raw)) + "}").encode()


def complete_history(given: Sequence[History], layers: Sequence[LayerFacts]) -> list[History]:
    """A history with exactly one non-empty entry for each layer, and a time for every entry if any is known."""
    history: list[History] = []
    used = 0
    for entry in given:
        if used >= len(layers):
            entry = replace(entry, empty_layer=True)
        used += not entry.empty_layer
        history.append(entry)
    for layer in layers[used:]:
        history.append(History(layer.created, layer.description or _NO_DESCRIPTION, comment=COMMENT))
    of_layer = iter(layers)
    for index, entry in enumerate(history):
        if not entry.empty_layer:
            layer = next(of_layer)
            if entry.created is None:
                history[index] = replace(entry, created=layer.created)
    return _fill_times(history)


def _fill_times(history: list[History]) -> list[History]:
    """Entries without a time get the previous one's; leading ones get the first time after them."""
    first_gap = next((i for i, entry in enumerate(history) if entry.created is None), len(history))
    before = [entry.created for entry in history[:first_gap] if entry.created is not None]
    after = (entry.created for entry in history[first_gap:] if entry.created is not None)
    current = next(after, before[-1] if before else None)
    filled: list[History] = history[:first_gap]
    for entry in history[first_gap:]:
        if entry.created is not None:
            current = entry.created
        filled.append(replace(entry, created=current))
    return filled


def _common_start(history: Sequence[History], base: Sequence[History]) -> int:
    count = 0
    while count < min(len(history), len(base)) and history[count] == base[count]:
        count += 1
    return count


def _restamp(entry: History, times: Times) -> History:
    if times.fixed is not None:
        return replace(entry, created=times.fixed)
    limit = times.epoch.nanoseconds if times.epoch else None
    if limit is not None and (entry.created is None or entry.created > limit):
        return replace(entry, created=limit)
    return entry


def _created(given: Any, present: bool, history: Sequence[History], times: Times) -> str:
    if times.fixed is not None:
        return _text(format_rfc3339(times.fixed))
    limit = times.epoch.nanoseconds if times.epoch else None
    if present:
        created = _parse_time(given)
        if limit is not None and created is not None and created > limit:
            created = limit
        return _text(created if created is None else format_rfc3339(created))
    known = [entry.created for entry in history if entry.created is not None]
    return _text(format_rfc3339(known[-1]) if known else None)


def _parse_time(value: Any) -> int | None:
    if value is None:
        return None
    try:
        return parse_rfc3339(value if isinstance(value, str) else "")
    except ValueError as error:
        raise InvalidInput(f"invalid image config for export: {error}") from error


def _parse_history(value: Any) -> tuple[History, ...] | None:
    """None where there is none at all."""
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise InvalidInput("failed to unmarshal history from config: not an array of objects")

    def text(entry: Mapping[str, Any], key: str) -> str:
        return str(entry.get(key) or "")

    return tuple(
        History(
            _parse_time(entry.get("created")),
            text(entry, "created_by"),
            text(entry, "author"),
            text(entry, "comment"),
            entry.get("empty_layer") is True,
        )
        for entry in value
    )


def _decoded(base: bytes) -> dict[str, Any]:
    if not base:
        return {}
    try:
        value = json.loads(base)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"failed to unmarshal base image config: {error}") from error
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return encode(value).decode()


def _top_level(text: str) -> dict[str, str]:
    """The members of a JSON object, known to be valid, with their values' own text less the blanks."""
    decoder = json.JSONDecoder()
    members: dict[str, str] = {}
    at = text.find("{") + 1
    while at and (at := text.find('"', at)) >= 0:
        key, at = decoder.raw_decode(text, at)
        start = text.index(":", at) + 1
        start += len(text[start:]) - len(text[start:].lstrip())
        _, at = decoder.raw_decode(text, start)
        compact = _BLANKS.sub(lambda match: match[1] or "", text[start:at])
        members[key] = compact.translate(_HTML)
    return members


_HTML = str.maketrans({c: f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"})
