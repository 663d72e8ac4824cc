"""Single blobs as files, from an OCI layout."""

from __future__ import annotations

import pytest
from tests.kit.images import make_image
from tests.kit.steps import Asker, Op

from buildkit.core.db import Database
from buildkit.core.digest import hex_of, sha256
from buildkit.core.errors import Corrupt, InvalidInput, NotFound
from buildkit.core.platform import host_platform
from buildkit.oci.registry import Registry
from buildkit.session.registry import Sessions
from buildkit.session.session import Session
from buildkit.session.stores import Layouts
from buildkit.source.blob import Blobs
from buildkit.source.origin import Visits
from buildkit.source.pull import Pulls
from buildkit.source.source import Sources
from buildkit.store.store import Store


class World:
    def __init__(self, root) -> None:
        self.image = make_image(root / "layout", [{"a": "1"}])
        self.store = Store.open(root / "store", Database(":memory:"), snapshotter="native")
        self.sessions = Sessions(wait=0)
        self.session = Session.new(stores=Layouts({"base": root / "layout"}))

    def open(self, digest="", scheme="oci-layout+blob", **attrs):
        blobs = Blobs(Visits(Registry(), self.sessions), self.sessions, self.store, Pulls())
        name = f"{scheme}://base.example/x@{digest or self.image.layers[0].digest}"
        attrs = {f"http.{key}": value for key, value in attrs.items()} | {"oci.store": "base"}
        return Sources(blobs).open(Op(name, attrs), host_platform())

    async def get(self, source):
        async with self.sessions.attach(self.session), self.store.lease() as lease:
            async with self.store.mounted(await source.snapshot(Asker(self.session), lease), lease) as root:
                return {p.name: (p.read_bytes(), p.lstat()) for p in root.iterdir()}


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


@pytest.mark.row("L39")
async def test_a_blob_is_a_file_named_by_its_digest(world):
    digest = world.image.layers[0].digest
    content, stat = (await world.get(world.open()))[hex_of(digest)]
    assert (sha256(content), stat.st_mode & 0o7777, stat.st_mtime) == (digest, 0o600, 0)


@pytest.mark.row("L39")
async def test_a_blob_has_the_name_mode_and_owner_that_are_wished(world):
    files = await world.get(world.open(filename="../x.tar", perm="0644", uid="1", gid="2"))
    stat = files["x.tar"][1]
    assert (stat.st_mode & 0o7777, stat.st_uid, stat.st_gid) == (0o644, 1, 2)


@pytest.mark.row("L39")
async def test_the_key_of_a_blob_is_the_one_of_buildkit(world):
    digest = world.image.layers[0].digest
    text = f'{{"Digest":"{digest}","Filename":"x","Perm":420,"UID":1,"GID":0}}'
    source = world.open(filename="x", perm="0644", uid="1")
    assert [key async for key in source.keys(Asker())] == [sha256(text.encode())]
    assert source.pin == digest


@pytest.mark.row("L39")
async def test_a_blob_without_a_digest_is_refused(world):
    for name in ("docker-image+blob://base.example/x:tag", "oci-layout+blob://base.example/x"):
        with pytest.raises(InvalidInput, match="invalid image blob reference base"):
            Sources(Blobs(Visits(Registry(), world.sessions), world.sessions, world.store, Pulls())).open(
                Op(name, {"oci.store": "base"}), host_platform()
            )


@pytest.mark.row("L39")
async def test_a_layout_needs_a_store(world):
    blobs = Blobs(Visits(Registry(), world.sessions), world.sessions, world.store, Pulls())
    with pytest.raises(InvalidInput, match="oci-layout blob source requires store id"):
        Sources(blobs).open(Op(f"oci-layout+blob://base.example/x@{sha256(b'')}"), host_platform())


@pytest.mark.row("L39")
async def test_a_blob_that_is_not_what_its_digest_says_is_refused(world):
    path = world.image.layout.path(world.image.layers[0].digest)
    path.chmod(0o600)
    path.write_bytes(b"x" * path.stat().st_size)
    with pytest.raises(Corrupt, match="digest mismatch"):
        await world.get(world.open())
    assert await world.store.usage() == []


async def test_a_blob_that_is_not_there_is_told(world):
    with pytest.raises(NotFound):
        await world.get(world.open(sha256(b"none")))
