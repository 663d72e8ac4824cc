"""A store with results to export, and exporters run on them."""

from __future__ import annotations

import base64
import io
import json
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.kit.stores import commit, store_at

from buildkit.core.progress import Reporter, StatusUpdate, VertexUpdate
from buildkit.core.result import Result
from buildkit.core.values import dataclass, field
from buildkit.exporter.exporter import Exported, Exporting
from buildkit.exporter.exporters import open_exporter
from buildkit.session.outputs import Destination, Destinations
from buildkit.store.lease import Lease
from buildkit.store.store import Store


@dataclass
class Statuses:
    """A sink that keeps the statuses."""

    updates: list[Any] = field(default_factory=list)

    def write(self, update):
        if isinstance(update, StatusUpdate):
            self.updates.append(update)

    @property
    def done(self):
        return [update.id for update in self.updates if update.completed]


@dataclass
class Bench:
    """Somewhere to export from and to."""

    store: Store
    lease: Lease
    folder: Path
    statuses: Statuses = field(default_factory=Statuses)

    async def ref(self, **files):
        """A ref with one layer."""
        return await commit(self.store, self.lease, **files)

    async def stack(self, *layers):
        """A ref with a layer for each dict of files."""
        ref = None
        for files in layers:
            ref = await commit(self.store, self.lease, ref, **files)
        return ref

    def exporting(self, *, file="", directory="", **more):
        destination = Destination(str(file), str(directory))
        progress = Reporter(VertexUpdate("sha256:x", "exporting"), [self.statuses])
        outputs = Destinations([destination])
        return Exporting(id="0", store=self.store, lease=self.lease, progress=progress, outputs=outputs, **more)

    async def export(self, type, result, attrs=None, **more) -> Exported:
        if not isinstance(result, Result):
            result = Result({"": result})
        return await open_exporter(type, attrs or {}).export(result, self.exporting(**more))

    async def archive(self, result, type="oci", attrs=None, **more) -> Archive:
        """Export to a tar and read it."""
        exported = await self.export(type, result, attrs, file=self.folder / "out.tar", **more)
        return Archive((self.folder / "out.tar").read_bytes(), exported)


class Archive:
    """An exported layout as one tar."""

    def __init__(self, content: bytes, exported: Exported) -> None:
        self.content = content
        self.response = dict(exported.response)
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            self.members = tar.getmembers()
            self.files = {m.name: tar.extractfile(m).read() for m in self.members if m.isfile()}

    @property
    def names(self):
        return [m.name + "/" * m.isdir() for m in self.members]

    def blob(self, digest):
        return self.files["blobs/" + digest.replace(":", "/")]

    @property
    def index(self):
        return json.loads(self.files["index.json"])

    @property
    def roots(self):
        return self.index["manifests"]

    @property
    def root(self):
        return json.loads(self.blob(self.roots[0]["digest"]))

    @property
    def config(self):
        return json.loads(self.blob(self.root["config"]["digest"]))

    def layer(self, number, **options):
        return tarfile.open(fileobj=io.BytesIO(self.blob(self.root["layers"][number]["digest"])), **options)

    @property
    def descriptor(self):
        return json.loads(base64.b64decode(self.response["containerimage.descriptor"]))


@asynccontextmanager
async def bench(folder: Path) -> AsyncIterator[Bench]:
    async with store_at(folder) as store, store.lease() as lease:
        yield Bench(store, lease, folder)


def platforms(**refs):
    """A result of several platforms: ``platforms(linux__amd64=ref)``."""
    entries = []
    for name in refs:
        os, architecture = name.split("__")
        entries.append({"ID": f"{os}/{architecture}", "Platform": {"os": os, "architecture": architecture}})
    metadata = {"refs.platforms": json.dumps({"Platforms": entries}).encode()}
    return Result({name.replace("__", "/"): ref for name, ref in refs.items()}, single=False, metadata=metadata)
