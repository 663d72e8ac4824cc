"""Clients that fetch registries' tokens themselves, as a daemon sees them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json

import pytest
from tests.kit.registry import PASSWORD, USER, Authority, token_server
from tests.kit.wires import borrowed

from buildkit.core.errors import Unauthenticated, Unavailable
from buildkit.core.progress import Stream
from buildkit.core.values import replace
from buildkit.oci.hosts import Endpoint, Tls
from buildkit.oci.tokens import TokenRequest, TokenStore
from buildkit.oci.transport import Transport
from buildkit.session.auth import DockerKeys
from buildkit.session.registry import Sessions
from buildkit.session.session import Session

HOST = "r.example"
SCOPES = ("repository:app:pull,push",)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority.make(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def server(authority):
    with token_server(authority) as server:
        yield server


def request_to(server, scopes=SCOPES):
    return TokenRequest(HOST, server.url, "test", scopes)


def docker_keys(folder, user=USER, secret=PASSWORD, **options):
    """The keys of somebody whose Docker config is in ``folder``."""
    folder.mkdir(exist_ok=True)
    auths = {HOST: {"username": user, "password": secret}} if user else {}
    (folder / "config.json").write_text(json.dumps({"auths": auths}))
    return DockerKeys(folder / "config.json", **options)


@pytest.mark.row("A163")
async def test_the_client_fetches_the_token_with_what_it_knows(server, tmp_path):
    async with borrowed(Session.new(auth=docker_keys(tmp_path / "d")), tmp_path) as session:
        token = await session.auth.token(request_to(server))
    assert json.loads(base64.urlsafe_b64decode(token.text.split(".")[1] + "=="))["sub"] == USER
    assert server.requests == [("POST", USER, SCOPES)] and server.clients == ["buildkit-client"]
    assert token.seconds == 300


@pytest.mark.row("A163")
async def test_a_token_server_that_speaks_no_oauth_is_asked_with_get(server, tmp_path):
    server.refuse_post, server.seconds = True, None
    async with borrowed(Session.new(auth=docker_keys(tmp_path / "d")), tmp_path) as session:
        token = await session.auth.token(request_to(server))
    assert [method for method, _, _ in server.requests] == ["POST", "GET"]
    assert token.seconds == 60


@pytest.mark.row("A163")
async def test_without_credentials_a_token_is_fetched_by_nobody_in_particular(server, tmp_path):
    async with borrowed(Session.new(auth=docker_keys(tmp_path / "d", user="")), tmp_path) as session:
        assert await session.auth.token(request_to(server, ("repository:app:pull",)))
    assert server.requests == [("GET", "", ("repository:app:pull",))]
    assert not (tmp_path / "d/.token_seed").exists()


async def test_what_the_token_server_refuses_is_told_to_the_daemon(server, tmp_path):
    async with borrowed(Session.new(auth=docker_keys(tmp_path / "d", secret="wrong")), tmp_path) as session:
        with pytest.raises(Unauthenticated, match="failed to fetch oauth token: unexpected status from GET request"):
            await session.auth.token(request_to(server))


@pytest.mark.row("A164")
async def test_a_user_is_known_by_a_seed_that_is_kept_beside_the_config(tmp_path):
    salt = b"s" * 32
    key = await docker_keys(tmp_path / "d").key(HOST, salt)
    kept = json.loads((tmp_path / "d/.token_seed").read_text())
    seed = base64.b64decode(kept[HOST]["Seed"])
    assert len(seed) == 16 and key == hmac.new(salt, seed, hashlib.sha256).digest()
    assert (tmp_path / "d/.token_seed").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "d/.token_seed.lock").exists()
    assert await docker_keys(tmp_path / "d").key(HOST, salt) == key
    assert await docker_keys(tmp_path / "other").key(HOST, salt) != key
    assert await docker_keys(tmp_path / "d", user="").key(HOST, salt) == hmac.new(salt, b"", hashlib.sha256).digest()


@pytest.mark.parametrize("content", ["{", "[]", '{"r.example": {"Seed": "%"}}', '{"r.example": 1}'])
async def test_a_broken_file_of_seeds_is_written_anew(tmp_path, content):
    keys = docker_keys(tmp_path / "d")
    (tmp_path / "d/.token_seed").write_text(content)
    key = await keys.key(HOST, b"s")
    assert len(key) == 32 and await keys.key(HOST, b"s") == key


@pytest.mark.row("A164")
async def test_sessions_of_one_user_share_tokens(server, tmp_path):
    sessions = Sessions()
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    one, two = (Session.new(auth=docker_keys(tmp_path / "d")) for _ in range(2))
    async with borrowed(one, tmp_path / "1", sessions) as first, borrowed(two, tmp_path / "2", sessions) as second:
        token = await first.auth.token(request_to(server))
        shared = await second.auth.token(request_to(server))
        assert shared == replace(token, shared=True) and len(server.requests) == 1
        await second.auth.token(request_to(server, ("repository:other:pull",)))
        assert len(server.requests) == 2


class Pretender(DockerKeys):
    """Says that the key of somebody else is its own, and cannot sign with it."""

    def __init__(self, path, victim):
        super().__init__(path)
        self._asked = victim

    async def key(self, host, salt):
        asked, self._asked = self._asked, self
        return await asked.key(host, salt) if asked is not self else bytes(32)


@pytest.mark.row("A164")
async def test_who_cannot_prove_to_be_the_same_user_gets_a_token_of_its_own(server, tmp_path):
    sessions = Sessions()
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    victim = docker_keys(tmp_path / "d")
    thief = Session.new(auth=Pretender(tmp_path / "d/config.json", victim))
    async with borrowed(Session.new(auth=victim), tmp_path / "1", sessions) as first:
        await first.auth.token(request_to(server))
        async with borrowed(thief, tmp_path / "2", sessions) as second:
            assert not (await second.auth.token(request_to(server))).shared
    assert len(server.requests) == 2


async def test_a_shared_token_that_is_refused_is_fetched_anew(server, tmp_path):
    sessions = Sessions()
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    one, two = (Session.new(auth=docker_keys(tmp_path / "d")) for _ in range(2))
    endpoint, challenge = Endpoint(HOST, "http"), [f'Bearer realm="{server.url}",service="test"']
    async with borrowed(one, tmp_path / "1", sessions) as first, borrowed(two, tmp_path / "2", sessions) as second:
        await first.auth.token(request_to(server))
        tokens = TokenStore(Transport(), second.auth)
        shown = await tokens.answer(endpoint, challenge, SCOPES, "")
        assert len(server.requests) == 1 and tokens.is_shared(endpoint, shown)
        shown = await tokens.answer(endpoint, challenge, SCOPES, shown)
        assert len(server.requests) == 2 and not tokens.is_shared(endpoint, shown)


@pytest.mark.row("A164")
async def test_clients_may_leave_fetching_tokens_to_the_daemon(server, tmp_path, monkeypatch):
    monkeypatch.setenv("BUILDKIT_NO_CLIENT_TOKEN", "1")
    async with borrowed(Session.new(auth=docker_keys(tmp_path / "d")), tmp_path) as session:
        assert await session.auth.token(request_to(server)) is None
        assert (await session.auth.credentials(HOST)).secret == PASSWORD
    assert not server.requests


@pytest.mark.row("A172")
async def test_a_token_server_of_ones_own_authority_is_trusted_for_its_registry(authority, tmp_path):
    with token_server(authority, tls=True) as server:
        trusting = docker_keys(tmp_path / "d", tls={HOST: Tls(authorities=(str(authority.ca),))})
        blind = docker_keys(tmp_path / "d", tls={HOST: Tls(verify=False)})
        for keys in (trusting, blind):
            async with borrowed(Session.new(auth=keys), tmp_path) as session:
                assert await session.auth.token(request_to(server))
        async with borrowed(Session.new(auth=docker_keys(tmp_path / "d")), tmp_path) as session:
            with pytest.raises(Unavailable, match="failed to verify certificate"):
                await session.auth.token(request_to(server))


@pytest.mark.row("A173")
async def test_what_is_lent_is_shown_once(server, tmp_path):
    stream = Stream()
    keys = docker_keys(tmp_path / "d", progress=stream)
    for _ in range(2):
        await keys.token(request_to(server))
        await keys.credentials(HOST)
        await keys.credentials("unknown.example")
    ended = [one for one in stream.updates if one.completed is not None]
    assert [one.name for one in ended] == [
        f"[auth] app:pull,push token for {HOST}",
        f"[auth] sharing credentials for {HOST}",
    ]
    assert len({one.digest for one in ended}) == 2 and not any(one.error for one in ended)


@pytest.mark.row("A173")
async def test_a_token_that_could_not_be_had_is_shown_with_the_reason(server, tmp_path):
    stream = Stream()
    keys = docker_keys(tmp_path / "d", secret="wrong", progress=stream)
    with pytest.raises(Unauthenticated):
        await keys.token(request_to(server))
    assert "401 Unauthorized" in stream.updates[-1].error
