"""``pybuildkit.v1.Builds``: what our own client wants of a build beyond what BuildKit's protocol can say.

See docs/adr/0015-attending.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from buildkit.control.calls import parse
from buildkit.core.errors import AlreadyExists, InvalidInput
from buildkit.core.values import dataclass, field
from buildkit.rpc.server import Method, ServerCall
from buildkit.source.pull import Pull, parse_pull

if TYPE_CHECKING:
    from buildkit.api import attend_pb2 as pb
    from buildkit.core.explanation import Explanation

SERVICE = "pybuildkit.v1.Builds"


@dataclass(slots=True, eq=False)
class Wishes:
    """What is wanted of one build; ``explanations`` is None when nobody wants them."""

    pull: Pull = Pull.ALWAYS
    explanations: list[Explanation] | None = None
    over: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def explained(self) -> Callable[[Sequence[Explanation]], None] | None:
        """Takes the explanations."""
        return None if self.explanations is None else self.explanations.extend


_NONE = Wishes()


class Attended:
    """Wishes by build, from when a client tells them to the end of its call."""

    def __init__(self) -> None:
        self._wishes: dict[str, Wishes] = {}

    def methods(self) -> dict[str, Method]:
        """The methods by path."""
        return {f"/{SERVICE}/Attend": Method(streaming=self.attend)}

    @contextmanager
    def of(self, id: str) -> Iterator[Wishes]:
        """The wishes for a build, for as long as it lasts; none for a build that nobody attends."""
        wishes = self._wishes.get(id, _NONE)
        try:
            yield wishes
        finally:
            if wishes is not _NONE:
                wishes.over.set()

    async def attend(self, call: ServerCall) -> None:
        """Note wishes, say so, and tell the explanations when the build is over; raises `AlreadyExists`."""
        from buildkit.api import attend_pb2 as pb

        request = parse(pb.AttendRequest, await call.receive() or b"")
        if not request.ref:
            raise InvalidInput("no ref of a build to attend")
        if request.ref in self._wishes:
            raise AlreadyExists(f"build {request.ref} is attended")
        wishes = self._wishes[request.ref] = Wishes(parse_pull(request.pull), [] if request.explain else None)
        try:
            await call.send(pb.AttendResponse().SerializeToString())
            await wishes.over.wait()
            for explanation in wishes.explanations or ():
                await call.send(pb.AttendResponse(explanation=_to_pb(explanation)).SerializeToString())
        finally:
            del self._wishes[request.ref]


def _to_pb(explanation: Explanation) -> pb.Explanation:
    from buildkit.api import attend_pb2 as pb

    found = pb.Explanation(vertex=explanation.vertex, name=_bytes(explanation.name), reason=explanation.reason)
    for change in explanation.changes:
        one = found.changes.add(field=change.field, path=_bytes(change.path))
        if change.old is not None:
            one.old = _bytes(change.old)
        if change.new is not None:
            one.new = _bytes(change.new)
    return found


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
