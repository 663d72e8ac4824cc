"""When a source was made: a commit's time, a file's ``Last-Modified``, or the newest file in an archive."""

from __future__ import annotations

import re

from buildkit.frontend.dockerfile.archives import newest_time
from buildkit.frontend.frontend import Bridge
from buildkit.llb.definition import Definition
from buildkit.llb.state import State
from buildkit.source.source import Inquiry, Known

_COMMITTER = re.compile(rb"^committer .*> (\d+) [+-]\d{4}$", re.MULTILINE)


async def source_time(bridge: Bridge, state: State, log_name: str) -> int | None:
    """Seconds since 1970; None when the state is not one source or that does not say. Raises `BuildkitError`."""
    definition = state.marshal()
    found = _find_source(definition)
    if found is None:
        return None
    identifier, attrs = found
    inquiry = Inquiry(objects=True)
    metadata = await bridge.resolving.resolve_source(identifier, attrs, inquiry=inquiry, log_name=log_name)
    known = metadata.known or Known()
    if known.commit:
        header = known.commit.partition(b"\n\n")[0]
        match = _COMMITTER.search(header)
        return int(match[1]) if match else None
    if known.last_modified is not None:
        return known.last_modified
    filename = attrs.get("http.filename", "")
    if not identifier.startswith(("http://", "https://")) or not filename:
        return None
    ref = await bridge.solving.solve(definition)
    try:
        return newest_time(await bridge.reading.read_file(ref, filename))
    except ValueError:
        return None


def _find_source(definition: Definition) -> tuple[str, dict[str, str]] | None:
    """Identifier and attributes of the only source in a graph."""
    from buildkit.api import ops as pb

    ops = (pb.Op.FromString(op) for op in definition.ops)
    sources = [op.source for op in ops if op.WhichOneof("op") == "source"]
    return (sources[0].identifier, dict(sources[0].attrs)) if len(sources) == 1 else None
