"""Pulling from and pushing to a real docker-registry."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

import pytest
from tests.kit.images import Image, copy_to_registry, make_image, make_index
from tests.kit.registry import PASSWORD, USER, Authority, Fault, faulty_proxy, free_port, registry, token_server

from buildkit.core.errors import Corrupt, InvalidInput, NotFound, Unauthenticated, Unavailable
from buildkit.core.progress import Reporter, StatusUpdate, Stream, VertexUpdate
from buildkit.oci import spec
from buildkit.oci.auth import Credentials
from buildkit.oci.hosts import INSECURE, HostConfig
from buildkit.oci.names import Reference, parse_reference
from buildkit.oci.push import Push, push
from buildkit.oci.registry import Memory, Registry
from buildkit.oci.spec import Descriptor

pytestmark = pytest.mark.net
CREDENTIALS = f"{USER}:{PASSWORD}"
RIGHT = Credentials(USER, PASSWORD)


class Keys:
    """A keyring with one answer for everybody."""

    def __init__(self, credentials: Credentials = RIGHT) -> None:
        self._credentials = credentials

    async def credentials(self, host):
        return self._credentials

    async def token(self, request):
        return None

    async def key(self, host, salt):
        return None


class Blobs:
    """Content of a layout for pushing; remembers what was read."""

    def __init__(self, image: Image) -> None:
        self._layout = image.layout
        self.opened: list[str] = []

    async def open(self, descriptor: Descriptor):
        self.opened.append(descriptor.digest)
        return self._layout.open(descriptor.digest)


async def no_pause(_seconds: float) -> None:
    return None


def at(host: str, config: HostConfig) -> Registry:
    return Registry({host: config}, pause=no_pause)


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def open_registry(tmp_path_factory):
    with registry(tmp_path_factory.mktemp("open")) as host:
        yield host


@pytest.fixture(scope="module")
def basic(tmp_path_factory):
    with registry(tmp_path_factory.mktemp("basic"), htpasswd=True) as host:
        yield host


@pytest.fixture(scope="module")
def secure(tmp_path_factory, authority):
    with registry(tmp_path_factory.mktemp("tls"), tls=authority) as host:
        yield host


@pytest.fixture
def image(tmp_path: Path) -> Image:
    return make_image(tmp_path / "layout", [{"a": "1" * 5000}, {"b": bytes(range(256)) * 4096}])


@pytest.fixture
def proxy(open_registry):
    with faulty_proxy(open_registry) as found:
        yield found


def name(host: str, path: str = "app:latest") -> Reference:
    return parse_reference(f"{host}/{path}")


@pytest.mark.row("L30", "B40")
async def test_a_tag_is_resolved_and_its_documents_read_over_plain_http(open_registry, image):
    copy_to_registry(image, f"{open_registry}/app:latest")
    access = Registry().access()
    found = await access.resolve(name(open_registry))
    assert (found.digest, found.media_type) == (image.root.digest, spec.OCI_MANIFEST)
    manifest = spec.parse_manifest(await access.read(name(open_registry), found))
    assert await access.read(name(open_registry), manifest.config) == image.config
    sink = Memory()
    await access.fetch(name(open_registry), manifest.layers[1], sink)
    assert "sha256:" + hashlib.sha256(sink.content).hexdigest() == manifest.layers[1].digest


async def test_a_docker_manifest_list_is_pulled_by_digest(open_registry, tmp_path):
    one = make_image(tmp_path, docker=True, tag="")
    root = make_index(tmp_path, [one], docker=True)
    await push(Registry().access(), Push(name(open_registry, "list:1"), root), Blobs(one))
    found = await Registry().access().resolve(name(open_registry, f"list@{root.digest}"))
    assert found == Descriptor(spec.DOCKER_LIST, root.digest, root.size)


async def test_an_unknown_tag_is_not_found_and_named(open_registry):
    with pytest.raises(NotFound) as caught:
        await Registry().access().resolve(name(open_registry, "nothing:1"))
    assert str(caught.value) == f"{open_registry}/nothing:1: not found"


async def test_a_registry_that_nobody_runs_is_unavailable_at_once():
    host = f"127.0.0.1:{free_port()}"
    with pytest.raises(Unavailable) as caught:
        await Registry(pause=None).access().resolve(name(host))  # type: ignore[arg-type]
    assert str(caught.value) == (
        f'failed to do request: Head "http://{host}/v2/app/manifests/latest": connection refused'
    )


async def test_a_bare_name_is_not_resolved():
    with pytest.raises(InvalidInput, match="object required"):
        await Registry().access().resolve(parse_reference("localhost/app"))


class TestFaults:
    async def layer(self, proxy, image, path="faults"):
        copy_to_registry(image, f"{proxy.host}/{path}:1")
        proxy.requests.clear()
        return name(proxy.host, f"{path}:1"), image.layers[1]

    async def test_a_cut_off_blob_is_resumed_where_it_ended(self, proxy, image):
        reference, layer = await self.layer(proxy, image)
        proxy.faults += [Fault("GET .*blobs", cut_after=700), Fault("GET .*blobs", cut_after=300)]
        sink = Memory()
        await Registry(pause=no_pause).access().fetch(reference, layer, sink)
        assert sink.content == image.layout.read(layer.digest)
        ranges = [headers.get("Range") for _, _, headers in proxy.requests]
        assert ranges == [None, "bytes=700-", "bytes=1000-"]

    async def test_a_server_that_ignores_ranges_is_read_from_the_start(self, proxy, image):
        reference, layer = await self.layer(proxy, image)
        sink = Memory()
        sink.write(image.layout.read(layer.digest)[:100])
        proxy.faults += [Fault("GET .*blobs", status=416)]
        await Registry(pause=no_pause).access().fetch(reference, layer, sink)
        assert sink.content == image.layout.read(layer.digest)

    async def test_a_blob_that_always_breaks_off_says_how_far_it_got(self, proxy, image):
        reference, layer = await self.layer(proxy, image)
        proxy.faults += [Fault("GET .*blobs", times=99, cut_after=0)]
        with pytest.raises(Unavailable, match=f"connection closed after 0 of {layer.size} bytes"):
            await Registry(pause=no_pause).access().fetch(reference, layer, Memory())
        assert proxy.count("GET .*blobs") == 4

    async def test_wrong_bytes_are_corrupt(self, proxy, image):
        reference, _ = await self.layer(proxy, image)
        proxy.faults += [Fault("GET .*manifests", corrupt=True)]
        with pytest.raises(Corrupt, match=image.root.digest):
            await Registry(pause=no_pause).access().read(reference, image.root)

    async def test_a_blob_of_another_length_is_corrupt(self, proxy, image):
        reference, layer = await self.layer(proxy, image)
        wrong = Descriptor(layer.media_type, layer.digest, layer.size + 1)
        with pytest.raises(Corrupt, match=f"has {layer.size} bytes, expected {layer.size + 1}"):
            await Registry(pause=no_pause).access().fetch(reference, wrong, Memory())

    async def test_a_failing_server_is_asked_again(self, proxy, image):
        reference, _ = await self.layer(proxy, image)
        proxy.faults += [Fault("HEAD", status=503), Fault("HEAD", drop=True)]
        log: list[str] = []
        assert await Registry(pause=no_pause).access().resolve(reference, log=log.append)
        assert proxy.count("HEAD") == 3 and "retrying in 1s" in log[0]

    async def test_a_server_that_keeps_failing_is_named_with_its_status(self, proxy, image):
        reference, _ = await self.layer(proxy, image)
        proxy.faults += [Fault("HEAD", status=500, times=99)]
        with pytest.raises(Unavailable) as caught:
            await Registry(pause=no_pause).access().resolve(reference)
        url = f"http://{proxy.host}/v2/faults/manifests/1"
        assert str(caught.value) == f"unexpected status from HEAD request to {url}: 500 Internal Server Error"

    async def test_one_connection_serves_many_requests(self, open_registry, image):
        copy_to_registry(image, f"{open_registry}/many:1")
        found = Registry()
        opened: list[object] = []
        connect = found.transport._connect
        found.transport._connect = lambda key: opened.append(key) or connect(key)  # type: ignore[method-assign]
        for _ in range(5):
            await found.access().resolve(name(open_registry, "many:1"))
        assert len(opened) == 1


class TestGuards:
    @pytest.fixture
    def tokens(self, authority):
        with token_server(authority) as server:
            yield server

    @pytest.fixture
    def guarded(self, tokens, tmp_path):
        with registry(tmp_path / "guarded", tokens=tokens) as host:
            yield host

    async def test_basic_credentials_are_shown_when_asked_for(self, basic, image):
        copy_to_registry(image, f"{basic}/app:latest", arguments=["--dest-creds", CREDENTIALS])
        assert await Registry().access(Keys()).resolve(name(basic))

    async def test_without_credentials_access_is_denied(self, basic):
        with pytest.raises(Unauthenticated) as caught:
            await Registry().access().resolve(name(basic))
        assert str(caught.value).startswith(
            "pull access denied, repository does not exist or may require authorization: "
        )

    async def test_wrong_credentials_are_denied(self, basic):
        with pytest.raises(Unauthenticated, match="pull access denied"):
            await Registry().access(Keys(Credentials(USER, "wrong"))).resolve(name(basic))

    async def test_a_token_is_fetched_once_and_used_for_all(self, guarded, tokens, image):
        copy_to_registry(image, f"{guarded}/app:latest", arguments=["--dest-creds", CREDENTIALS])
        tokens.requests.clear()
        access = Registry().access(Keys())
        found = await access.resolve(name(guarded))
        for layer in image.layers:
            await access.fetch(name(guarded), layer, Memory())
        assert await access.read(name(guarded), found)
        assert tokens.requests == [("GET", USER, ("repository:app:pull",))]

    async def test_an_anonymous_token_is_enough_to_pull(self, guarded, tokens, image):
        copy_to_registry(image, f"{guarded}/app:latest", arguments=["--dest-creds", CREDENTIALS])
        assert await Registry().access().resolve(name(guarded))

    async def test_a_token_server_without_get_is_asked_by_post(self, guarded, tokens, image):
        copy_to_registry(image, f"{guarded}/app:latest", arguments=["--dest-creds", CREDENTIALS])
        tokens.refuse_get = True
        assert await Registry().access(Keys()).resolve(name(guarded))
        assert tokens.requests[-1][:2] == ("POST", USER)

    async def test_an_identity_token_is_exchanged(self, guarded, tokens, image):
        await push(Registry().access(Keys(Credentials("", "identity"))), Push(name(guarded), image.root), Blobs(image))
        assert ("POST", USER) in {request[:2] for request in tokens.requests}

    async def test_bad_credentials_at_the_token_server_are_named_so(self, guarded):
        with pytest.raises(Unauthenticated) as caught:
            await Registry().access(Keys(Credentials(USER, "wrong"))).resolve(name(guarded))
        assert "failed to authorize: failed to fetch oauth token: unexpected status from POST" in str(caught.value)

    async def test_pushing_anonymously_is_denied(self, guarded, image):
        with pytest.raises(Unauthenticated, match="push access denied"):
            await push(Registry().access(), Push(name(guarded), image.root), Blobs(image))

    async def test_no_secret_follows_a_redirect_to_another_host(self, basic, open_registry, image):
        copy_to_registry(image, f"{basic}/app:latest", arguments=["--dest-creds", CREDENTIALS])
        copy_to_registry(image, f"{open_registry}/app:latest")
        with faulty_proxy(open_registry) as storage, faulty_proxy(basic) as front:
            front.faults += [Fault("GET .*blobs", status=307, redirect=f"http://{storage.host}", times=9)]
            access = Registry().access(Keys())
            await access.resolve(name(front.host))
            sink = Memory()
            await access.fetch(name(front.host), image.layers[0], sink)
            assert sink.offset == image.layers[0].size
            assert "Authorization" in front.requests[-1][2]
            assert all("Authorization" not in headers for _, _, headers in storage.requests)


class TestHosts:
    @pytest.mark.row("B39")
    async def test_a_configured_authority_is_trusted(self, secure, authority, image):
        copy_to_registry(image, f"{secure}/app:latest")
        config = HostConfig(plain_http=False, authorities=(str(authority.ca),))
        assert await at(secure, config).access().resolve(name(secure))

    @pytest.mark.row("B39")
    async def test_a_folder_of_certificates_is_read(self, secure, authority, image, tmp_path):
        copy_to_registry(image, f"{secure}/app:latest")
        (tmp_path / "certs").mkdir()
        (tmp_path / "certs" / "own.crt").write_bytes(authority.ca.read_bytes())
        config = HostConfig(plain_http=False, tls_folders=(str(tmp_path / "certs"), "/nonexistent"))
        assert await at(secure, config).access().resolve(name(secure))

    @pytest.mark.row("B40")
    async def test_an_unknown_authority_is_refused_by_name(self, secure):
        with pytest.raises(Unavailable, match="tls: failed to verify certificate"):
            await at(secure, HostConfig(plain_http=False)).access().resolve(name(secure))

    @pytest.mark.row("B40")
    async def test_insecure_alone_means_tls_with_any_certificate(self, secure, image):
        copy_to_registry(image, f"{secure}/app:latest")
        config = HostConfig(plain_http=False, insecure=True)
        assert await at(secure, config).access().resolve(name(secure))

    @pytest.mark.row("B40")
    async def test_insecure_with_http_falls_back_to_plain_and_remembers(self, open_registry, image):
        copy_to_registry(image, f"{open_registry}/app:latest")
        found = at(open_registry, INSECURE)
        access = found.access()
        assert await access.resolve(name(open_registry))
        assert found.transport._plain == {open_registry}
        assert await access.read(name(open_registry), image.root)

    @pytest.mark.row("B40")
    async def test_http_switched_off_is_not_tried(self, open_registry):
        with pytest.raises(Unavailable, match="tls: "):
            await at(open_registry, HostConfig(plain_http=False)).access().resolve(name(open_registry))

    @pytest.mark.row("B40")
    async def test_mirrors_are_asked_first_with_their_prefix_and_the_name_they_stand_for(self, proxy, image):
        copy_to_registry(image, f"{proxy.host}/cache/library/app:latest")
        proxy.requests.clear()
        hosts = {"docker.io": HostConfig(mirrors=(f"{proxy.host}/cache",))}
        access = Registry(hosts).access()
        found = await access.resolve(parse_reference("app:latest"))
        assert found.digest == image.root.digest
        assert [path for _, path, _ in proxy.requests] == ["/v2/cache/library/app/manifests/latest?ns=docker.io"]

    @pytest.mark.row("B40")
    async def test_the_registry_itself_serves_what_the_mirror_lacks(self, open_registry, proxy, image):
        copy_to_registry(image, f"{open_registry}/only/here:1")
        access = at(open_registry, HostConfig(mirrors=(f"{proxy.host}/empty", f"127.0.0.1:{free_port()}"))).access()
        assert await access.resolve(name(open_registry, "only/here:1"))
        assert proxy.count("HEAD .*empty") == 1

    @pytest.mark.row("B41")
    async def test_mirrors_are_not_pushed_to(self, open_registry, proxy, image):
        access = at(open_registry, HostConfig(mirrors=(proxy.host,))).access()
        await push(access, Push(name(open_registry, "mine:1"), image.root), Blobs(image))
        assert not proxy.requests


class TestPush:
    @pytest.mark.row("E21", "E65", "E66")
    async def test_a_pushed_image_is_pulled_by_skopeo(self, open_registry, image, tmp_path):
        stream = Stream()
        progress = Reporter(VertexUpdate("sha256:v", "exporting"), [stream])
        await push(Registry().access(), Push(name(open_registry, "pushed:1"), image.root), Blobs(image), progress)
        source = f"docker://{open_registry}/pushed:1"
        command = ["skopeo", "--insecure-policy", "inspect", "--tls-verify=false", "--raw", source]
        raw = subprocess.run(command, capture_output=True, check=True).stdout
        assert raw == image.layout.read(image.root.digest)
        stream.close()
        updates = [u async for batch in stream.read() for u in batch if isinstance(u, StatusUpdate)]
        assert [u.id for u in updates if u.completed] == [
            "pushing layers",
            f"pushing manifest for {open_registry}/pushed:1@{image.root.digest}",
        ]

    @pytest.mark.row("E65")
    async def test_what_is_there_is_not_sent_again(self, proxy, image):
        access = Registry().access()
        await push(access, Push(name(proxy.host, "twice:1"), image.root), Blobs(image))
        proxy.requests.clear()
        await push(access, Push(name(proxy.host, "twice:1"), image.root), Blobs(image))
        assert {method for method, _, _ in proxy.requests} == {"HEAD"}

    @pytest.mark.row("E65", "C11")
    async def test_a_blob_of_a_neighbour_is_mounted_and_never_read(self, open_registry, image):
        access = Registry().access()
        await push(access, Push(name(open_registry, "from:1"), image.root), Blobs(image))
        blobs = Blobs(image)
        origins = {layer.digest: (f"{open_registry}/from",) for layer in image.layers}
        await push(access, Push(name(open_registry, "onto:1"), image.root, origins=origins), blobs)
        assert not {layer.digest for layer in image.layers} & set(blobs.opened)
        assert await access.resolve(name(open_registry, "onto:1"))

    @pytest.mark.row("E65")
    async def test_a_mount_from_where_the_blob_is_not_becomes_an_upload(self, open_registry, image):
        origins = {layer.digest: (f"{open_registry}/nowhere",) for layer in image.layers}
        blobs = Blobs(image)
        await push(Registry().access(), Push(name(open_registry, "alone:1"), image.root, origins=origins), blobs)
        assert {layer.digest for layer in image.layers} <= set(blobs.opened)

    @pytest.mark.row("E65")
    async def test_a_failed_upload_is_made_again(self, proxy, image):
        proxy.faults += [
            Fault("PUT .*blobs", status=502),
            Fault("POST", drop=True),
            Fault("PUT .*manifests", status=500),
        ]
        access = Registry(pause=no_pause).access()
        await push(access, Push(name(proxy.host, "again:1"), image.root), Blobs(image))
        assert (await access.resolve(name(proxy.host, "again:1"))).digest == image.root.digest

    @pytest.mark.row("E22")
    async def test_push_by_digest_leaves_no_tag(self, open_registry, image):
        access = Registry().access()
        stream = Stream()
        progress = Reporter(VertexUpdate("sha256:v", "exporting"), [stream])
        await push(access, Push(name(open_registry, "untagged"), image.root, by_digest=True), Blobs(image), progress)
        assert await access.resolve(name(open_registry, f"untagged@{image.root.digest}"))
        with pytest.raises(NotFound):
            await access.resolve(name(open_registry, "untagged:latest"))
        stream.close()
        ids = {u.id async for batch in stream.read() for u in batch if isinstance(u, StatusUpdate)}
        assert f"pushing manifest for {open_registry}/untagged" in ids

    @pytest.mark.row("E22")
    def test_a_tagged_name_is_not_pushed_by_digest(self, image):
        with pytest.raises(InvalidInput) as caught:
            Push(parse_reference("h.example/x:1"), image.root, by_digest=True)
        assert str(caught.value) == "can't push tagged ref h.example/x:1 by digest"

    @pytest.mark.row("E23")
    async def test_an_insecure_push_goes_to_a_plain_registry(self, open_registry, image):
        access = at(open_registry, INSECURE).access()
        await push(access, Push(name(open_registry, "plain:1"), image.root), Blobs(image))
        assert await access.resolve(name(open_registry, "plain:1"))

    async def test_an_index_is_pushed_with_its_images(self, open_registry, tmp_path):
        one = make_image(tmp_path / "l", [{"x": "1"}], tag="")
        two = make_image(tmp_path / "l", [{"x": "2"}], tag="", docker=True)
        root = make_index(tmp_path / "l", [one, two])
        access = Registry().access()
        await push(access, Push(name(open_registry, "both:1"), root), Blobs(one))
        found = await access.resolve(name(open_registry, "both:1"))
        index = json.loads(await access.read(name(open_registry, "both:1"), found))
        assert [m["digest"] for m in index["manifests"]] == [one.root.digest, two.root.digest]

    @pytest.mark.row("B72")
    async def test_blobs_are_fetched_four_at_a_time(self, proxy, tmp_path):
        from buildkit.core.aio import gather_all

        image = make_image(tmp_path / "l", [{f"f{n}": f"{n}"} for n in range(9)])
        copy_to_registry(image, f"{proxy.host}/wide:1")
        busy, most = 0, 0
        found = Registry()
        send = found.transport.send

        async def counted(request):
            nonlocal busy, most
            busy += 1
            most = max(most, busy)
            try:
                return await send(request)
            finally:
                busy -= 1

        found.transport.send = counted  # type: ignore[method-assign]
        reference = name(proxy.host, "wide:1")
        await gather_all(found.access().fetch(reference, layer, Memory()) for layer in image.layers)
        assert most == 4
