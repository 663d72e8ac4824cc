"""Turns at a registry: who waits for a client's credentials keeps nobody else waiting."""

import asyncio

import pytest

from buildkit.core.errors import Unauthenticated
from buildkit.oci.auth import Credentials
from buildkit.oci.names import parse_reference
from buildkit.oci.registry import Registry
from buildkit.oci.transport import Response

IMAGE = parse_reference("r.example/image:1")
DIGEST = "sha256:" + "ab" * 32


class Said:
    """An answer."""

    url, reason = "https://r.example/v2/", "OK"

    def __init__(self, status, **headers):
        self.status = status
        self._headers = {name.replace("_", "-"): value for name, value in headers.items()}

    length = Response.length

    def header(self, name):
        return self._headers.get(name, "")

    def headers(self, name):
        return [self.header(name)]

    async def read(self, limit):
        return b""

    def close(self):
        pass


class Keys:
    """A client with credentials, once it answers."""

    def __init__(self, username="u"):
        self.username = username
        self.go, self.asked = asyncio.Event(), 0

    async def credentials(self, host):
        self.asked += 1
        await self.go.wait()
        return Credentials(self.username, "p")

    async def token(self, request):
        return None

    async def key(self, host, salt):
        return None


def registry(concurrency):
    """A registry that lets users in who are called ``u``."""
    found = Registry(concurrency=concurrency)

    async def send(request):
        if request.headers.get("Authorization", "") == "Basic dTpw":
            return Said(200, Docker_Content_Digest=DIGEST, Content_Length="5", Content_Type="x")
        return Said(401, WWW_Authenticate='Basic realm="x"')

    found.transport.send = send
    return found


async def asked(keys):
    while not keys.asked:
        await asyncio.sleep(0)


async def test_who_waits_for_a_client_keeps_nobody_waiting():
    r, silent, ready = registry(0), [Keys() for _ in range(3)], Keys()
    waiting = [asyncio.create_task(r.access(keys).resolve(IMAGE)) for keys in silent]
    for keys in silent:
        await asked(keys)
    ready.go.set()
    assert (await r.access(ready).resolve(IMAGE)).digest == DIGEST
    silent[0].go.set()
    assert (await waiting[0]).digest == DIGEST
    for task in waiting[1:]:
        task.cancel()
    await asyncio.wait(waiting)
    async with r.turn(IMAGE.domain, document=True):
        blocked = asyncio.create_task(r.access(ready).resolve(IMAGE))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not blocked.done()
    assert (await blocked).digest == DIGEST


async def test_a_refused_client_gives_its_turn_back():
    r = registry(0)
    stranger = Keys("x")
    stranger.go.set()
    for _ in range(3):
        with pytest.raises(Unauthenticated):
            await r.access(stranger).resolve(IMAGE)
    assert stranger.asked
