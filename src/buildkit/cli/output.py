"""``--output``, ``--export-cache`` and ``--import-cache``: CSV in, options out."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping

from buildkit.cli.flags import BadUsage, key_values, nearest
from buildkit.client.options import CacheOptions, OutputOptions
from buildkit.core.errors import InvalidInput

_TYPES = ("oci", "docker", "tar", "local", "image")


def parse_output(text: str) -> OutputOptions:
    """``type=oci,dest=image.tar,name=…``; raises `BadUsage`."""
    kind, attrs = "", dict[str, str]()
    for key, value, _ in key_values(text):
        if key == "type":
            kind = value
        else:
            attrs[key] = value
    if not kind:
        raise BadUsage("--output requires type=<type>")
    if "output" in attrs:
        wanted = attrs["output"]
        raise BadUsage(f"output={wanted} not supported for --output, you meant dest={wanted}?")
    try:
        return make_output(kind, attrs)
    except BadUsage as error:
        raise error.prefixed("invalid output option: output: ") from None


def make_output(kind: str, attrs: Mapping[str, str]) -> OutputOptions:
    """Check an output's destination; raises `BadUsage`."""
    from buildkit.session.outputs import read_destination

    rest = {key: value for key, value in attrs.items() if key != "dest"}
    try:
        place = read_destination(kind, attrs.get("dest", ""), attrs)
    except InvalidInput as error:
        raise BadUsage(error.message + _hint(kind)) from None
    return OutputOptions(kind, rest, place.file or place.directory)


def _hint(kind: str) -> str:
    return "" if kind in _TYPES else nearest(kind, _TYPES)


def parse_exports(texts: Iterable[str]) -> list[CacheOptions]:
    """``--export-cache``; raises `BadUsage`."""
    return [_cache(text, "--export-cache", {"mode": "min"}) for text in texts]


def parse_imports(texts: Iterable[str]) -> list[CacheOptions]:
    """``--import-cache``; raises `BadUsage`."""
    return [_cache(text, "--import-cache", {}) for text in texts]


def _cache(text: str, flag: str, defaults: Mapping[str, str]) -> CacheOptions:
    if "type=" not in text:
        replacement = f"{flag} type=registry,ref=<ref>,<opt>=<optval>[,<opt>=<optval>]"
        sys.stderr.write(f"warning: {flag} <ref> is deprecated. Please use {replacement} instead\n")
        return CacheOptions("registry", {**defaults, "ref": text})
    kind, attrs = "", dict(defaults)
    for key, value, _ in key_values(text):
        if key == "type":
            kind = value
        else:
            attrs[key] = value
    if not kind:
        raise BadUsage(f"{flag} requires type=<type>")
    if kind == "gha":
        attrs = _from_actions(attrs)
    needed = {"local": "dest" if flag == "--export-cache" else "src", "registry": "ref"}.get(kind)
    if needed and not attrs.get(needed):
        raise BadUsage(f"{kind} cache {'exporter' if flag == '--export-cache' else 'importer'} requires {needed}")
    return CacheOptions(kind, attrs)


def _from_actions(attrs: Mapping[str, str]) -> dict[str, str]:
    """What GitHub's runner tells its jobs by environment variables, where the flag does not say."""
    filled, environment = dict(attrs), os.environ
    version = attrs.get("version") or ("2" if environment.get("ACTIONS_CACHE_SERVICE_V2") in ("1", "true") else "")
    results = environment.get("ACTIONS_RESULTS_URL", "")
    if version == "2" and results:
        filled.setdefault("url_v2", results)
    if url := environment.get("ACTIONS_CACHE_URL") or results:
        filled.setdefault("url", url)
    if "url" not in filled and "url_v2" not in filled:
        raise BadUsage("cache with type gha requires url parameter to be set")
    if "token" not in filled:
        if "ACTIONS_RUNTIME_TOKEN" not in environment:
            raise BadUsage("cache with type gha requires token parameter or $ACTIONS_RUNTIME_TOKEN")
        filled["token"] = environment["ACTIONS_RUNTIME_TOKEN"]
    return filled
