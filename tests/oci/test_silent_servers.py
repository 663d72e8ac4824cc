"""Servers that take requests and never answer."""

import asyncio
import contextlib
import threading

import pytest

from buildkit.oci.transport import Request, Transport

SILENT = 40


@contextlib.asynccontextmanager
async def serving(answer):
    """The address of a server on the loopback; gives what it has been asked, too."""
    asked = []

    async def serve(reader, writer):
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        if answer:
            writer.write(answer)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", asked
    finally:
        server.close()


@pytest.mark.net
async def test_requests_without_answer_keep_no_others_from_theirs_and_end_when_nobody_waits():
    transport = Transport()
    async with serving(b"") as (silent, asked), serving(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") as (fine, _):
        waiting = [asyncio.create_task(transport.send(Request("GET", silent, {}))) for _ in range(SILENT)]
        response = await transport.send(Request("GET", fine, {}))
        assert response.status == 200
        response.close()
        while len(asked) < SILENT:
            await asyncio.sleep(0)
        for task in waiting:
            task.cancel()
        assert all(
            isinstance(one, asyncio.CancelledError) for one in await asyncio.gather(*waiting, return_exceptions=True)
        )
    transport.close()


@pytest.mark.net
async def test_a_request_on_a_used_connection_ends_when_nobody_waits_and_is_not_sent_again():
    asked = []

    async def serve(reader, writer):
        while head := await reader.readuntil(b"\r\n\r\n"):
            asked.append(head)
            if len(asked) > 1:
                return
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    transport, url = Transport(), f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    (await transport.send(Request("GET", url, {}))).close()
    waiting = asyncio.create_task(transport.send(Request("GET", url, {})))
    while len(asked) < 2:
        await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert len(asked) == 2
    transport.close()
    server.close()


async def test_nobody_waits_for_a_connection_that_is_not_made(monkeypatch):
    transport, go, begun, ended = Transport(), threading.Event(), threading.Event(), threading.Event()

    def connect(self):
        begun.set()
        go.wait()
        ended.set()
        raise TimeoutError

    monkeypatch.setattr("buildkit.oci.http1.Connection.connect", connect)
    waiting = asyncio.create_task(transport.send(Request("GET", "http://127.0.0.1:1/", {})))
    await asyncio.to_thread(begun.wait)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not ended.is_set()
    go.set()
    transport.close()


async def test_work_that_nobody_waits_for_any_more_does_not_begin(monkeypatch):
    monkeypatch.setattr("buildkit.oci.transport.THREADS", 1)
    transport, go, begun = Transport(), threading.Event(), []
    first = asyncio.create_task(transport.in_thread(go.wait, go.set))
    second = asyncio.create_task(transport.in_thread(lambda: begun.append(True), lambda: None))
    await asyncio.sleep(0)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    go.set()
    assert await first
    assert begun == []
    transport.close()
