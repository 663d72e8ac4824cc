"""The messages that start a build at a daemon, written by hand (see `buildkit.core.wire`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from buildkit.client.options import CacheOptions, SolveOptions
from buildkit.core import wire
from buildkit.core.errors import InvalidInput

Attrs = Mapping[str, str]


def solve_request(options: SolveOptions, ref: str, session: str) -> bytes:
    """``control.SolveRequest`` of a build whose frontend the client drives: neither definition nor frontend in it."""
    out = [wire.text(1, ref)]
    if options.outputs:
        first = options.outputs[0]
        out += [wire.text(3, first.type), wire.texts(4, first.attrs)]
    caches = [wire.field(4, _cache(one)) for one in options.exports]
    caches += [wire.field(5, _cache(one)) for one in options.imports]
    out += [
        wire.text(5, session),
        wire.texts(7, {**options.frontend_attrs, **cache_attrs(options.imports)}),
        wire.field(8, b"".join(caches)),
        *(wire.text(9, name) for name in options.allow),
    ]
    if options.source_policy:
        out.append(wire.field(12, _policy(options.source_policy)))
    out += [wire.field(13, wire.text(1, one.type) + wire.texts(2, one.attrs)) for one in options.outputs]
    out.append(wire.number(17, options.proxy_network))
    return b"".join(out)


def bridge_request(options: SolveOptions) -> bytes:
    """``gateway.SolveRequest``: the definition, or the frontend and what it is told."""
    attrs = {**options.frontend_attrs, **cache_attrs(options.imports)}
    out = [
        b"" if options.definition is None else wire.field(1, options.definition),
        wire.text(2, options.frontend),
        wire.texts(3, attrs),
        wire.number(5, 1),
        wire.number(6, 1),
        *(wire.field(12, _cache(one)) for one in options.imports),
        wire.mapping(13, options.frontend_inputs),
    ]
    return b"".join(out)


def cache_attrs(imports: Iterable[CacheOptions]) -> dict[str, str]:
    """What frontends are told of the caches to import (row A186)."""
    if not (entries := list(imports)):
        return {}
    import json

    told = [{"Type": one.type, **({"Attrs": dict(one.attrs)} if one.attrs else {})} for one in entries]
    return {"cache-imports": json.dumps(told, separators=(",", ":"), ensure_ascii=False)}


def _cache(cache: CacheOptions) -> bytes:
    return wire.text(1, cache.type) + wire.texts(2, cache.attrs)


def _policy(text: str) -> bytes:
    from google.protobuf.json_format import Parse, ParseError

    from buildkit.api.sourcepolicy_pb2 import Policy

    try:
        return bytes(Parse(text, Policy(), ignore_unknown_fields=True).SerializeToString())
    except ParseError as error:
        raise InvalidInput(f"the source policy is not understood: {error}") from None


def exporter_response(message: bytes) -> dict[str, str]:
    """``control.SolveResponse``: what the exporters have to say."""
    entries = [wire.read_entry(content) for number, _, content in wire.read(message) if number == 1]
    return {key: wire.read_text(value) for key, value in entries}


def bridge_result(message: bytes) -> bytes:
    """The serialized ``gateway.Result`` in a ``gateway.SolveResponse``; a bare ref of old daemons is wrapped."""
    ref = result = None
    for number, _, content in wire.read(message):
        if number == 1:
            ref = content
        elif number == 3:
            result = content
    if result is None:
        return wire.field(1, ref) if ref is not None else b""
    return result


def result_metadata(result: bytes) -> dict[str, bytes]:
    """The metadata of a serialized ``gateway.Result``."""
    return dict(wire.read_entry(content) for number, _, content in wire.read(result) if number == 10)
