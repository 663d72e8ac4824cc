"""Files of the web, from a real server."""

from __future__ import annotations

import hashlib
import io

import pytest
from tests.kit.gitworld import Secrets
from tests.kit.registry import Authority
from tests.kit.signers import gpg_home
from tests.kit.steps import Asker
from tests.kit.webs import DATE, basic, web_server
from tests.kit.webworld import WebWorld

from buildkit.core.digest import sha256
from buildkit.core.errors import (
    Corrupt,
    FailedPrecondition,
    InvalidInput,
    NotFound,
    Unauthenticated,
    Unavailable,
)
from buildkit.oci.hosts import Tls
from buildkit.session.session import Session
from buildkit.signing.refused import SignatureRefused
from buildkit.source.pull import Pull
from buildkit.source.source import Inquiry

pytestmark = pytest.mark.net


@pytest.fixture
def server():
    with web_server() as found:
        yield found


@pytest.fixture
async def world(tmp_path):
    made = WebWorld(tmp_path)
    yield made
    made.transport.close()


@pytest.mark.row("L63")
async def test_a_file_has_the_name_of_the_path_is_private_and_dated_by_the_server(world, server):
    _, files = await world.get(server.put("/a/tool.txt", b"hello", modified=DATE))
    content, stat = files["tool.txt"]
    assert (content, stat.st_mode & 0o7777, stat.st_mtime) == (b"hello", 0o600, 1605952800)
    assert world.source.pin == sha256(b"hello")


@pytest.mark.row("L63")
async def test_a_file_without_a_date_is_of_1970(world, server):
    _, files = await world.get(server.put("/a", b"hello"))
    assert files["a"][1].st_mtime == 0


@pytest.mark.row("L63")
async def test_a_missing_page_is_an_error_with_its_status(world, server):
    with pytest.raises(NotFound, match="/none: invalid response status 404"):
        await world.get(server.url + "/none")


@pytest.mark.row("L63")
async def test_any_answer_below_400_is_a_file_and_one_without_content_is_empty(world, server):
    for status, content in ((206, b"hello"), (300, b"hello"), (204, b"")):
        _, files = await world.get(server.put(f"/s{status}", b"hello", status=status))
        assert files[f"s{status}"][0] == content
    with pytest.raises(Corrupt, match="invalid not-modified ETag"):
        await world.get(server.put("/s304", b"", status=304))


async def test_of_a_file_its_digest_name_and_time_are_known(world, server):
    url = server.put("/a/tool.txt", b"hello", modified=DATE)
    async with world.store.lease() as lease:
        known = await world.open(url).describe(Asker(), lease, Inquiry())
        suffixed = await world.open(url).describe(Asker(), lease, Inquiry(algorithm="sha512", suffix=b"!"))
        with pytest.raises(InvalidInput, match="suffix exceeds max size 4096"):
            await world.open(url).describe(Asker(), lease, Inquiry(algorithm="sha256", suffix=b"!" * 4097))
    assert (known.checksum, known.filename, known.last_modified) == (sha256(b"hello"), "tool.txt", 1605952800)
    assert known.suffixed == ""
    assert suffixed.suffixed == "sha512:" + hashlib.sha512(b"hello!").hexdigest()


@pytest.mark.row("L64")
async def test_a_file_with_a_checksum_is_fetched_once_and_never_asked_for_again(world, server):
    url = server.put("/a", b"hello")
    await world.get(url, checksum=sha256(b"hello"))
    assert server.methods == ["GET"]
    await world.get(url, checksum=sha256(b"hello"))
    assert server.methods == ["GET"]


@pytest.mark.row("L64")
async def test_a_wrong_checksum_is_told_with_both(world, server):
    wrong = sha256(b"other")
    url = server.put("/a", b"hello")
    with pytest.raises(FailedPrecondition) as caught:
        await world.get(url, checksum=wrong)
    assert str(caught.value) == f"digest mismatch for {url}: {sha256(b'hello')} (expected: {wrong})"


@pytest.mark.row("L65")
@pytest.mark.parametrize(
    ("path", "attrs", "about", "name"),
    [
        ("/a/b.tar", {}, {}, "b.tar"),
        ("/", {}, {}, "download"),
        ("/x", {}, {"disposition": 'attachment; filename="../../etc/passwd"'}, "passwd"),
        ("/x", {}, {"disposition": "attachment; filename=dir/"}, "x"),
        ("/x", {"filename": "../../evil"}, {}, "evil"),
        ("/x", {"filename": ".."}, {}, "download"),
        ("/x", {"filename": "a\nb"}, {}, "download"),
        ("/%2e%2e", {}, {}, "download"),
        ("/a%2Fb", {}, {}, "b"),
    ],
)
async def test_whatever_a_file_is_called_it_is_one_name_in_the_root(world, server, path, attrs, about, name):
    _, files = await world.get(server.put(path, **about), **attrs)
    assert list(files) == [name]


@pytest.mark.row("L65")
async def test_mode_and_owner_are_as_wished(world, server):
    _, files = await world.get(server.put("/a"), perm="0755", uid="12", gid="34")
    stat = files["a"][1]
    assert (stat.st_mode & 0o7777, stat.st_uid, stat.st_gid) == (0o755, 12, 34)


@pytest.mark.parametrize("attrs", [{"perm": "rwx"}, {"perm": "0100000"}, {"uid": "-1"}, {"checksum": "sha256:xyz"}])
async def test_attributes_that_make_no_sense_are_refused(world, attrs):
    with pytest.raises(InvalidInput):
        world.open("http://localhost/a", **attrs)


@pytest.mark.row("L66")
async def test_only_two_headers_may_be_chosen(world, server):
    await world.get(server.put("/a"), **{"header.accept": "text/x", "header.user-agent": "me", "header.cookie": "no"})
    headers = server.requests[0][2]
    assert (headers["Accept"], headers["User-Agent"], "Cookie" in headers) == ("text/x", "me", False)


@pytest.mark.row("L67")
@pytest.mark.parametrize(
    ("secrets", "attrs", "expected"),
    [
        ({"HTTP_AUTH_TOKEN_localhost": "abc\n"}, {}, "Bearer abc"),
        ({"HTTP_AUTH_HEADER_localhost": "Custom xyz"}, {}, "Custom xyz"),
        ({"mine": "Digest q"}, {"authheadersecret": "mine"}, "Digest q"),
    ],
)
async def test_secrets_open_doors(world, server, secrets, attrs, expected):
    url = server.put("/a", authorization=expected)
    assert (await world.get(url, secrets=Secrets(**secrets), **attrs))[1]
    with pytest.raises(Unauthenticated, match="401"):
        await world.get(server.put("/b", authorization=expected))


async def test_a_user_in_the_url_is_used_and_not_shown(world, server):
    server.put("/a", authorization=basic("me", "pass word"))
    await world.get(server.url.replace("//", "//me:pass%20word@") + "/a")
    assert "pass" not in str(world.asker.facts)
    server.put("/a", authorization="never")
    with pytest.raises(Unauthenticated) as caught:
        await world.get(server.url.replace("//", "//me:pass%20word@") + "/a")
    assert "pass" not in str(caught.value)


@pytest.mark.row("L67")
async def test_a_secret_that_is_named_must_be_there(world, server):
    with pytest.raises(NotFound, match="failed to retrieve HTTP auth secret mine: secret mine: not found"):
        await world.get(server.put("/a"), secrets=Secrets(), authheadersecret="mine")


async def test_a_secret_with_a_line_break_does_not_make_a_second_header(world, server):
    with pytest.raises(InvalidInput) as caught:
        await world.get(server.put("/a"), secrets=Secrets(m="x\r\nCookie: stolen"), authheadersecret="m")
    assert "secret m: not the value of a header" in str(caught.value)
    assert "stolen" not in str(caught.value)


async def test_a_redirect_elsewhere_does_not_get_the_secret(world, server):
    with web_server() as other:
        server.put("/a", redirect=other.put("/b", b"there"))
        _, files = await world.get(server.url + "/a", secrets=Secrets(m="Bearer s"), authheadersecret="m")
        assert files["a"][0] == b"there"
        assert server.requests[0][2]["Authorization"] == "Bearer s"
        assert "Authorization" not in other.requests[0][2]


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://localhost/a", "gopher://localhost/"])
async def test_a_redirect_to_another_scheme_is_refused(world, server, target):
    with pytest.raises(InvalidInput, match="invalid URL"):
        await world.get(server.put("/a", redirect=target))


@pytest.mark.row("L69")
@pytest.mark.parametrize("tag", ['"one"', 'W/"one"'])
async def test_an_unchanged_file_is_not_sent_again(world, server, tag):
    url = server.put("/a", b"hello", tag=tag)
    first = await world.get(url)
    again = await world.get(url)
    assert server.methods == ["GET", "HEAD"]
    assert again[0] == first[0]


@pytest.mark.row("L69")
async def test_a_server_that_ignores_conditions_is_understood_by_its_tag(world, server):
    url = server.put("/a", b"hello", tag='"one"', honours_tags=False)
    await world.get(url)
    await world.get(url)
    assert server.methods == ["GET", "HEAD"]


@pytest.mark.row("L69", "L70")
async def test_a_changed_file_is_fetched_and_has_another_key(world, server):
    first = await world.get(server.put("/a", b"hello", tag='"one"'))
    second = await world.get(server.put("/a", b"world", tag='"two"'))
    assert second[1]["a"][0] == b"world"
    assert first[0] != second[0]


@pytest.mark.row("L69")
async def test_an_old_date_stands_in_for_a_tag(world, server):
    url = server.put("/a", b"hello", modified=DATE)
    await world.get(url)
    await world.get(url)
    assert server.methods == ["GET", "HEAD"]
    await world.get(server.put("/a", b"hello2", modified="Sat, 21 Nov 2020 10:00:01 GMT"))
    assert server.methods == ["GET", "HEAD", "HEAD", "GET"]


@pytest.mark.row("L70")
async def test_the_key_is_made_of_content_and_attributes_not_of_the_url(world, server):
    one = await world.get(server.put("/x/a", b"hello"))
    two = await world.get(server.put("/y/a", b"hello"))
    three = await world.get(server.put("/y/a", b"hello"), perm="0644")
    assert one[0] == two[0] != three[0]


@pytest.mark.row("L70")
async def test_the_key_is_the_one_of_buildkit(world, server):
    text = f'{{"Filename":"a","Perm":420,"UID":0,"GID":0,"Checksum":"{sha256(b"hello")}","LastModTime":"{DATE}"}}'
    key, _ = await world.get(server.put("/a", b"hello", modified=DATE), perm="0644")
    assert key == sha256(text.encode())


@pytest.mark.row("L69")
async def test_a_body_that_was_compressed_on_the_way_is_what_it_was_before(world, server):
    _, files = await world.get(server.put("/a", b"hello" * 1000, gzipped=True))
    assert files["a"][0] == b"hello" * 1000


async def test_a_download_that_breaks_off_leaves_nothing(world, server):
    with pytest.raises(Unavailable, match="connection closed after 500 of 1000 bytes"):
        await world.get(server.put("/a", b"h" * 1000, cut=True))
    assert await world.store.usage() == []


async def test_a_file_over_tls_needs_an_authority(world, tmp_path):
    authority = Authority.make(tmp_path / "ca")
    with web_server(authority) as server:
        url = server.put("/a", b"hello")
        with pytest.raises(Unavailable, match="failed to verify certificate"):
            await world.get(url)
        world.web.tls = Tls(authorities=(str(authority.ca),))
        assert (await world.get(url))[1]["a"][0] == b"hello"


async def test_two_steps_of_a_build_ask_once(world, server):
    url = server.put("/a", b"hello")
    async with world.sessions.attach(Session.new()) as session:
        for _ in range(2):
            assert [key async for key in world.open(url).keys(Asker(session))]
    assert server.methods == ["GET"]


@pytest.mark.parametrize("pull", [Pull.MISSING, Pull.NEVER])
async def test_a_file_that_is_known_needs_no_network(world, server, pull):
    url = server.put("/a", b"hello")
    first = await world.get(url)
    assert await world.get(url, pull=pull) == first
    assert server.methods == ["GET"]


async def test_a_server_that_is_gone_is_done_without(world):
    with web_server() as server:
        url = server.put("/a", b"hello")
        first = await world.get(url)
    world.transport.close()
    with pytest.raises(Unavailable):
        await world.get(url)
    assert (await world.get(url, pull=Pull.FALLBACK))[0] == first[0]


async def test_what_was_never_fetched_cannot_be_had_offline(world, server):
    url = server.put("/a")
    with pytest.raises(NotFound, match="is not known here and --pull=never forbids asking for it"):
        await world.get(url, pull=Pull.NEVER)
    assert server.requests == []


class Uploads:
    def __init__(self, **streams: bytes) -> None:
        self._streams = streams

    async def open(self, id):
        if id not in self._streams:
            raise NotFound(f"upload {id} not found")
        return io.BytesIO(self._streams.pop(id))


@pytest.mark.row("L71")
async def test_a_client_sends_a_file_itself(world):
    async with world.sessions.attach(Session.new(uploads=Uploads(abc=b"sent"))) as session:
        async with world.store.lease() as lease:
            asker, source = Asker(session), world.open("http://buildkit-session/abc", filename="context")
            asker.hold = lease.hold
            assert [key async for key in source.keys(asker)]
            async with world.store.mounted(await source.snapshot(asker, lease), lease) as root:
                assert (root / "context").read_bytes() == b"sent"
        with pytest.raises(NotFound, match="upload abc not found"):
            await anext(world.open("http://buildkit-session/abc").keys(Asker(session)))
    with pytest.raises(NotFound, match="offers no uploads"):
        await world.get("http://buildkit-session/abc")


async def test_a_broken_encoding_is_an_error(world, server):
    url = server.put("/a", b"plain", gzipped=True)
    import gzip

    real, gzip.compress = gzip.compress, lambda content: b"not gzip"
    try:
        with pytest.raises(Corrupt, match="broken gzip encoding"):
            await world.get(url)
    finally:
        gzip.compress = real


@pytest.fixture(scope="module")
def signer():
    with gpg_home() as home:
        yield home.signer("signer")


@pytest.mark.row("L68")
async def test_a_signed_file_is_taken_with_and_without_a_checksum(world, server, signer):
    url = server.put("/a", b"hello", tag='"one"')
    wish = {"sig.pubkey": signer.public.decode(), "sig.signature": signer.sign(b"hello").decode()}
    for more in ({}, {"checksum": sha256(b"hello")}):
        key, files = await world.get(url, **wish, **more)
        assert files["a"][0] == b"hello"
        assert key == (await world.get(url))[0]


@pytest.mark.row("L68")
async def test_a_file_that_was_not_signed_is_refused_even_when_it_is_here(world, server, signer):
    url = server.put("/a", b"hello")
    await world.get(url, checksum=sha256(b"hello"))
    wish = {"sig.pubkey": signer.public.decode(), "sig.signature": signer.sign(b"other").decode()}
    for more in ({}, {"checksum": sha256(b"hello")}):
        with pytest.raises(
            SignatureRefused, match=r"failed to verify pgp signature: signature by [0-9A-F]+: openpgp: inv"
        ):
            await world.get(url, **wish, **more)
    async with world.store.lease() as lease:
        with pytest.raises(SignatureRefused):
            await world.open(url, **wish).describe(Asker(), lease, Inquiry())


@pytest.mark.row("L68")
async def test_a_signature_needs_a_key_and_a_key_a_signature(world):
    for name in ("pubkey", "signature"):
        with pytest.raises(InvalidInput, match="http signature verification requires both pubkey and signature"):
            world.open("http://localhost/a", **{f"sig.{name}": "x"})
