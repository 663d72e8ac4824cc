"""Which trace a step belongs to: that of the oldest build that waits for it and has one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager

from buildkit.solver.graph import Step

_PARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def parse_parent(text: str) -> str:
    """A ``traceparent`` of W3C Trace Context; "" for what is none, as nobody else's concern."""
    return text if _PARENT.fullmatch(text) else ""


@contextmanager
def lent(parents: MutableMapping[str, str], session: str, parent: str) -> Iterator[None]:
    """For the length of the scope, steps of ``session`` belong to ``parent``."""
    parents[session] = parent
    try:
        yield
    finally:
        parents.pop(session, None)


def parent_of(parents: Mapping[str, str], step: Step) -> str:
    """The span that a step's spans are children of; "" for none."""
    return next((parents[session] for session in step.sessions() if session in parents), "")
