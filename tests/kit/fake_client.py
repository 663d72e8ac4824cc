"""An engine that does as it is told: the command line without anything behind it."""

from __future__ import annotations

import sys
from contextlib import asynccontextmanager
from types import ModuleType

from buildkit.client.options import SolveResponse
from buildkit.core.progress import VertexUpdate


class FakeClient:
    """Plays back progress and a response or an error, and remembers what it was asked."""

    def __init__(self, response=None, error=None, records=(), updates=None):
        self.response = response or SolveResponse()
        self.error = error
        self.records = list(records)
        self.updates = [VertexUpdate("d", "step", (), 1, 1)] if updates is None else updates
        self.asked = []
        self.roots = []

    @asynccontextmanager
    async def build(self, options):
        self.asked.append(options)
        yield self

    async def progress(self):
        yield self.updates

    async def result(self):
        if self.error is not None:
            raise self.error
        return self.response

    async def usage(self, filters=()):
        self.asked.append(tuple(filters))
        return self.records

    async def prune(self, options):
        self.asked.append(options)
        for record in self.records:
            yield record

    def install(self, monkeypatch):
        """Stand in for the embedded engine."""

        @asynccontextmanager
        async def open_embedded(root, *, waiting, last=False):
            self.roots.append(str(root))
            yield self

        module = ModuleType("buildkit.client.embedded")
        module.open_embedded = open_embedded
        monkeypatch.setitem(sys.modules, "buildkit.client.embedded", module)
        monkeypatch.setattr("buildkit.cli.target.find_daemon", lambda: "")
        monkeypatch.delenv("BUILDKIT_HOST", raising=False)
        return self
