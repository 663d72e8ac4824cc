"""Image sources over a store, with an OCI layout as the place they come from."""

from __future__ import annotations

import pytest
from tests.kit.images import AMD64, Image, make_image
from tests.kit.steps import Asker, Op

from buildkit.core.db import Database
from buildkit.core.errors import Corrupt, FailedPrecondition, InvalidInput, NotFound
from buildkit.oci.registry import Registry
from buildkit.session.registry import Sessions
from buildkit.session.session import Session
from buildkit.session.stores import Layouts
from buildkit.source.image import Images
from buildkit.source.manifest import layers_key, manifest_key
from buildkit.source.source import Sources
from buildkit.store.store import Store


@pytest.fixture
def store(tmp_path) -> Store:
    return Store.open(tmp_path / "store", Database(":memory:"), snapshotter="native")


@pytest.fixture
async def world(tmp_path, store):
    image = make_image(tmp_path / "layout", [{"a": "1" * 3000}, {"b": "2"}])
    sessions = Sessions(wait=0)
    async with sessions.attach(Session.new(stores=Layouts({"base": tmp_path / "layout"}))) as session:
        yield World(image, Images(Registry(), sessions, store), session)


class World:
    def __init__(self, image: Image, images: Images, session: Session) -> None:
        self.image, self.images, self.session = image, images, session
        self.asker = Asker(session)

    def open(self, **attrs: str):
        attrs = {"oci.store": "base"} | {f"oci.{key}": value for key, value in attrs.items()}
        return Sources(self.images).open(Op(f"oci-layout://base@{self.image.root.digest}", attrs), AMD64)


@pytest.mark.row("L36", "L40")
async def test_an_image_has_a_key_for_its_manifest_and_one_for_its_layers(world):
    source = world.open()
    keys = [key async for key in source.keys(world.asker)]
    assert keys == [manifest_key(world.image.root.digest, AMD64, None), layers_key(world.image.config, None)]
    assert source.pin == world.image.root.digest
    assert world.asker.facts["digest"] == source.pin


@pytest.mark.row("L38", "L40")
async def test_layers_are_fetched_when_the_tree_is_needed_and_not_before(world, store):
    async with store.lease() as lease:
        ref = await world.open().snapshot(world.asker, lease)
        layers = world.image.layers
        assert not any(store.content.has(layer.digest) for layer in layers)
        async with store.mounted(ref, lease) as path:
            assert (path / "b").read_text() == "2"
        assert all(store.content.has(layer.digest) for layer in layers)
        first, *rest = world.asker.done()
        assert first == f"resolve base@{world.image.root.digest}"
        expected = [text for layer in layers for text in (layer.digest, f"extracting {layer.digest}")]
        assert sorted(rest) == sorted(expected)


async def test_documents_stay_with_the_image(world, store):
    async with store.lease() as lease:
        await world.open().snapshot(world.asker, lease)
    await store.sweep()
    assert store.content.read(world.image.root.digest)


async def test_an_image_that_is_known_needs_no_reading(world, store):
    async with store.lease() as lease:
        await world.open().snapshot(world.asker, lease)
        world.image.layout.path(world.image.layers[0].digest).unlink()
        assert [key async for key in world.open().keys(world.asker)]


@pytest.mark.row("L37")
async def test_an_image_without_layers_is_the_empty_tree(world, store, tmp_path):
    world.image = make_image(tmp_path / "layout", [], tag="empty")
    async with store.lease() as lease:
        assert await world.open().snapshot(world.asker, lease) is None
    config = await world.images.resolve_config(
        f"x@{world.image.root.digest}", platform=AMD64, sessions=world.asker.sessions(), layout_store="base"
    )
    assert config.config == world.image.config


@pytest.mark.row("L33")
async def test_a_layer_limit_gives_the_lower_layers(world, store):
    async with store.lease() as lease:
        ref = await world.open(layerlimit="1").snapshot(world.asker, lease)
        async with store.mounted(ref, lease) as path:
            assert [p.name for p in path.iterdir()] == ["a"]
    with pytest.raises(FailedPrecondition, match="layer limit 3 is greater than"):
        await anext(world.open(layerlimit="3").keys(world.asker))


@pytest.mark.row("L40")
async def test_a_corrupt_layer_is_noticed_and_named(world, store):
    layer = world.image.layers[1]
    path = world.image.layout.path(layer.digest)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    async with store.lease() as lease:
        ref = await world.open().snapshot(world.asker, lease)
        with pytest.raises(Corrupt, match=f"layer of base@.*{layer.digest}"):
            async with store.mounted(ref, lease):
                pass
    assert not store.content.has(layer.digest)


@pytest.mark.row("L40")
async def test_a_store_that_nobody_lends_is_named(world):
    source = Sources(world.images).open(Op(f"oci-layout://x@{world.image.root.digest}", {"oci.store": "other"}), AMD64)
    with pytest.raises(NotFound, match="'other' not found"):
        await anext(source.keys(world.asker))


@pytest.mark.row("L40")
@pytest.mark.parametrize("name", ["base", "base:tag"])
def test_a_layout_is_only_found_by_digest(world, name):
    with pytest.raises(InvalidInput) as caught:
        Sources(world.images).open(Op(f"oci-layout://{name}", {}), AMD64)
    assert str(caught.value) == f'reference "{name}" must have digest'


@pytest.mark.row("L72")
def test_an_unknown_scheme_is_named(world):
    sources = Sources(world.images)
    with pytest.raises(NotFound, match="unknown scheme ftp"):
        sources.open(Op("ftp://x", {}), AMD64)
    with pytest.raises(InvalidInput, match="failed to parse nothing"):
        sources.open(Op("nothing", {}), AMD64)


@pytest.mark.row("L30", "L31", "L32", "L33", "L34")
@pytest.mark.parametrize(
    ("name", "attrs", "message"),
    [
        ("busybox", {}, "object required"),
        ("Busybox:1", {}, "repository name (library/Busybox) must be lowercase"),
        ("a:1", {"image.resolvemode": "x"}, "invalid resolvemode: x"),
        ("a:1", {"image.recordtype": "x"}, "invalid record type x"),
        ("a:1", {"image.layerlimit": "0"}, "invalid layer limit 0"),
        ("a:1", {"image.layerlimit": "-1"}, "invalid layer limit -1"),
        ("a:1", {"image.checksum": "x"}, "invalid image checksum x"),
    ],
)
def test_a_bad_image_source_says_what_is_wrong(world, name, attrs, message):
    with pytest.raises(InvalidInput) as caught:
        Sources(world.images).open(Op(f"docker-image://{name}", attrs), AMD64)
    assert message in str(caught.value)
