"""Image sources over a real registry."""

from __future__ import annotations

import pytest
from tests.kit.images import AMD64, Image, copy_to_registry, make_image
from tests.kit.registry import PASSWORD, USER, Fault, faulty_proxy, registry
from tests.kit.steps import Asker, Op

from buildkit.core.db import Database
from buildkit.core.digest import sha256
from buildkit.core.errors import FailedPrecondition, NotFound, Unauthenticated, Unavailable
from buildkit.oci.auth import Credentials
from buildkit.oci.registry import Registry
from buildkit.session.registry import Sessions
from buildkit.session.session import Session
from buildkit.source.answers import Answers
from buildkit.source.blob import Blobs
from buildkit.source.image import Images
from buildkit.source.pull import Pull, Pulls
from buildkit.source.source import Sources
from buildkit.store.store import Store

pytestmark = pytest.mark.net


class Keys:
    """A keyring with one answer for everybody."""

    async def credentials(self, host):
        return Credentials(USER, PASSWORD)

    async def token(self, request):
        return None

    async def key(self, host, salt):
        return None


async def no_pause(_seconds: float) -> None:
    return None


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    with registry(tmp_path_factory.mktemp("open")) as found:
        yield found


@pytest.fixture
def proxy(host):
    with faulty_proxy(host) as found:
        yield found


@pytest.fixture
def image(tmp_path) -> Image:
    return make_image(tmp_path / "layout", [{"a": bytes(range(256)) * 3000}, {"b": "2"}])


@pytest.fixture
def store(tmp_path) -> Store:
    return Store.open(tmp_path / "store", Database(":memory:"), snapshotter="native")


@pytest.fixture
def images(store) -> Images:
    return Images(Registry(pause=no_pause), Sessions(wait=0), store)


def open_image(images: Images, name: str, **attrs: str):
    return Sources(images).open(Op(f"docker-image://{name}", {f"image.{k}": v for k, v in attrs.items()}), AMD64)


@pytest.mark.row("L30", "L38", "L31")
async def test_an_image_is_pulled_and_unpacked(images, store, host, image):
    copy_to_registry(image, f"{host}/app:1")
    for mode in ("default", "pull", "local"):
        source = open_image(images, f"{host}/app:1", resolvemode=mode)
        async with store.lease() as lease:
            ref = await source.snapshot(Asker(), lease)
            async with store.mounted(ref, lease) as path:
                assert (path / "a").read_bytes() == bytes(range(256)) * 3000


@pytest.mark.row("L38")
async def test_one_session_resolves_a_name_once(images, store, proxy, image):
    copy_to_registry(image, f"{proxy.host}/app:1")
    proxy.requests.clear()
    async with images.sessions.attach(Session.new()) as session:
        name, ids = f"{proxy.host}/app:1", (session.id,)
        config = await images.resolve_config(name, platform=AMD64, sessions=ids)
        assert (config.reference, config.digest, config.config) == (name, image.root.digest, image.config)
        for _ in range(2):
            assert [key async for key in open_image(images, name).keys(Asker(session))]
    assert [(method, path.split("/")[-2]) for method, path, _ in proxy.requests] == [
        ("HEAD", "manifests"),
        ("GET", "manifests"),
        ("GET", "blobs"),
    ]


async def test_the_next_build_asks_only_whether_the_tag_has_moved(images, store, proxy, image):
    copy_to_registry(image, f"{proxy.host}/app:1")
    async with store.lease() as lease:
        await open_image(images, f"{proxy.host}/app:1").snapshot(Asker(), lease)
    proxy.requests.clear()
    async with store.lease() as lease:
        await open_image(images, f"{proxy.host}/app:1").snapshot(Asker(), lease)
    assert [method for method, _, _ in proxy.requests] == ["HEAD"]


async def test_a_broken_layer_download_is_resumed(images, store, proxy, image):
    copy_to_registry(image, f"{proxy.host}/app:1")
    async with store.lease() as lease:
        ref = await open_image(images, f"{proxy.host}/app:1").snapshot(Asker(), lease)
        proxy.requests.clear()
        proxy.faults += [Fault(f"GET .*{image.layers[0].digest}", cut_after=1000)]
        async with store.mounted(ref, lease) as path:
            assert (path / "b").exists()
    assert sorted(h["Range"] for _, _, h in proxy.requests if "Range" in h) == ["bytes=1000-"]


@pytest.mark.row("L34")
async def test_another_digest_than_the_checksum_is_refused(images, host, image):
    copy_to_registry(image, f"{host}/app:1")
    right, wrong = image.root.digest, "sha256:" + "0" * 64
    assert await anext(open_image(images, f"{host}/app:1", checksum=right).keys(Asker()))
    with pytest.raises(FailedPrecondition) as caught:
        await anext(open_image(images, f"{host}/app:1", checksum=wrong).keys(Asker()))
    text = f"image digest {right} for {host}/app:1 does not match expected checksum {wrong}"
    assert str(caught.value) == text


@pytest.mark.row("L32")
async def test_the_record_type_is_kept(images, store, host, image):
    copy_to_registry(image, f"{host}/app:1")
    async with store.lease() as lease:
        await open_image(images, f"{host}/app:1", recordtype="internal").snapshot(Asker(), lease)
    assert {record.record_type for record in await store.usage()} == {"internal"}


async def test_layers_come_with_the_rights_of_who_asks(store, tmp_path, image):
    with registry(tmp_path / "guarded", htpasswd=True) as host:
        copy_to_registry(image, f"{host}/app:1", arguments=["--dest-creds", f"{USER}:{PASSWORD}"])
        images = Images(Registry(), Sessions(wait=0), store)
        async with images.sessions.attach(Session.new(auth=Keys())) as owner:
            async with store.lease() as lease:
                ref = await open_image(images, f"{host}/app:1").snapshot(Asker(owner), lease)
        async with store.lease() as lease:
            assert store.find_ref(ref.id, lease) is None
        with pytest.raises(Unauthenticated, match="pull access denied"):
            await anext(open_image(images, f"{host}/app:1").keys(Asker()))


async def test_an_image_that_is_not_there_is_named(images, host):
    with pytest.raises(NotFound, match=f"^{host}/gone:1: not found$"):
        await images.resolve_config(f"{host}/gone:1")


class Builds:
    """Builds one after the other, with what the ones before left: a store, and answers of registries."""

    def __init__(self, root) -> None:
        db = Database(root / "db")
        self.store = Store.open(root / "kept", db, snapshotter="native")
        self.sessions, self.pulls = Sessions(wait=0), Pulls()
        self.images = Images(Registry(pause=no_pause), self.sessions, self.store, Answers(db), self.pulls)

    async def read(self, name, path, pull):
        """A file of an image, by a build of its own."""
        async with self.sessions.attach(Session.new()) as session, self.store.lease() as lease:
            with self.pulls.lent(session.id, pull):
                asker = Asker(session)
                await self.images.resolve_config(name, platform=AMD64, sessions=(session.id,))
                source = open_image(self.images, name)
                assert [key async for key in source.keys(asker)]
                async with self.store.mounted(await source.snapshot(asker, lease), lease) as root:
                    return (root / path).read_text()


@pytest.mark.parametrize("pull", [Pull.MISSING, Pull.NEVER])
async def test_an_image_that_is_known_needs_no_registry(tmp_path, proxy, image, pull):
    copy_to_registry(image, f"{proxy.host}/app:1")
    builds = Builds(tmp_path)
    assert await builds.read(f"{proxy.host}/app:1", "b", Pull.ALWAYS) == "2"
    proxy.requests.clear()
    assert await builds.read(f"{proxy.host}/app:1", "b", pull) == "2"
    assert proxy.requests == []


async def test_a_registry_that_is_gone_is_done_without(tmp_path, host, image):
    builds = Builds(tmp_path)
    with faulty_proxy(host) as proxy:
        copy_to_registry(image, f"{proxy.host}/app:1")
        await builds.read(f"{proxy.host}/app:1", "b", Pull.FALLBACK)
    builds.images.registry.close()
    with pytest.raises(Unavailable):
        await builds.read(f"{proxy.host}/app:1", "b", Pull.ALWAYS)
    assert await builds.read(f"{proxy.host}/app:1", "b", Pull.FALLBACK) == "2"


async def test_a_tag_that_moved_is_followed_unless_what_is_known_will_do(tmp_path, host, image):
    builds, name = Builds(tmp_path), f"{host}/moving:1"
    copy_to_registry(image, name)
    assert await builds.read(name, "b", Pull.ALWAYS) == "2"
    copy_to_registry(make_image(tmp_path / "other", [{"b": "3"}]), name)
    assert await builds.read(name, "b", Pull.MISSING) == "2"
    assert await builds.read(name, "b", Pull.FALLBACK) == "3"


async def test_layers_that_are_not_here_are_not_fetched_when_that_is_forbidden(tmp_path, host, image):
    builds, name = Builds(tmp_path), f"{host}/app:lazy"
    copy_to_registry(image, name)
    await builds.images.resolve_config(name, platform=AMD64)
    with pytest.raises(NotFound, match="--pull=never forbids"):
        await builds.read(name, "b", Pull.NEVER)


async def test_an_image_that_is_unknown_cannot_be_had_offline(tmp_path, proxy):
    builds = Builds(tmp_path)
    with pytest.raises(NotFound, match=f"{proxy.host}/never:1 is not known here and --pull=never"):
        await builds.read(f"{proxy.host}/never:1", "b", Pull.NEVER)
    assert proxy.requests == []


@pytest.mark.row("L39")
async def test_a_blob_of_a_registry_is_a_file(tmp_path, host, image):
    builds, digest = Builds(tmp_path), image.layers[0].digest
    copy_to_registry(image, f"{host}/app:1")
    blobs = Blobs(builds.images.visits, builds.sessions, builds.store, builds.pulls)
    source = Sources(blobs).open(Op(f"docker-image+blob://{host}/app@{digest}", {"http.filename": "layer"}), AMD64)
    async with builds.store.lease() as lease:
        async with builds.store.mounted(await source.snapshot(Asker(), lease), lease) as root:
            assert sha256((root / "layer").read_bytes()) == digest
