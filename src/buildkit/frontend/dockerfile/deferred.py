"""A source whose attributes are known only when the whole Dockerfile has been read."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from buildkit.core.errors import Internal
from buildkit.llb.state import State
from buildkit.llb.vertex import Encoded, Marshalling, Output, Vertex


class Deferred:
    """A vertex that asks for its state when the graph is written down, once."""

    def __init__(self, make: Callable[[], State]) -> None:
        self._make = make
        self._vertex: Vertex | None = None

    @property
    def state(self) -> State:
        """A state to build on now."""
        return State(Output(self))

    def inputs(self) -> Sequence[Output]:
        """See `Vertex.inputs`."""
        return self._get().inputs()

    def encode(self, marshalling: Marshalling) -> Encoded:
        """See `Vertex.encode`."""
        return self._get().encode(marshalling)

    def _get(self) -> Vertex:
        if self._vertex is None:
            output = self._make().output
            if output is None or output.index != 0:
                raise Internal("a deferred state must be the first output of a vertex")
            self._vertex = output.vertex
        return self._vertex
