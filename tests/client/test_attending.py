"""What our client and our daemon can do together beyond BuildKit's protocol, and what becomes of it elsewhere."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager

import pytest
from tests.kit.daemons import drive, running_daemon
from tests.kit.explaining import DIGEST
from tests.kit.fake_daemon import FakeDaemon, listening

from buildkit.api import attend_pb2 as pb
from buildkit.client.attending import ATTEND
from buildkit.client.options import SolveOptions
from buildkit.client.remote import open_remote
from buildkit.core.errors import AlreadyExists, BuildkitError, InvalidInput, Unsupported
from buildkit.llb import copy, local, mkfile, rm, scratch


@pytest.fixture
async def peer(tmp_path):
    async with running_daemon(tmp_path) as found:
        yield found


@asynccontextmanager
async def client_of(peer):
    async with open_remote(peer.config.addresses[0]) as client:
        yield client


async def build(client, state, **options):
    """Build; gives what was explained, [] for nothing and None when nobody explained."""
    told = []
    definition = state.marshal().to_bytes()
    try:
        async with client.build(SolveOptions(definition=definition, explained=told.append, **options)) as running:
            async for _ in running.progress():
                pass
            await running.result()
    except BuildkitError as error:
        error.told = told
        raise
    (found,) = told
    return found


def short(explanations):
    return [(one.name, one.reason, *((c.field, c.path, c.old, c.new) for c in one.changes)) for one in explanations]


def hello(text, name="hello"):
    return scratch().file(mkfile("/x", text.encode()), name=name)


@pytest.mark.parametrize("pull", ["missing", "fallback", "never"])
async def test_a_daemon_that_cannot_is_asked_for_nothing(tmp_path, pull):
    daemon = FakeDaemon()
    async with listening(daemon, f"{tmp_path}/s") as address, open_remote(address) as client:
        for fields, named in (
            ({"pull": pull}, f"^--pull={pull}: this daemon cannot"),
            ({"explained": list.append}, "^--explain: this daemon cannot"),
            ({"pull": pull, "explained": list.append}, f"^--pull={pull} and --explain: this daemon cannot"),
        ):
            with pytest.raises(Unsupported, match=named):
                async with client.build(SolveOptions(frontend="f", **fields)) as running:
                    await running.result()
    assert "Solve" not in daemon.asked


@pytest.mark.parametrize("pull", ["", "always"])
async def test_what_every_daemon_does_is_not_attended(tmp_path, pull):
    daemon = FakeDaemon()
    async with listening(daemon, f"{tmp_path}/s") as address, open_remote(address) as client:
        async with client.build(SolveOptions(frontend="f", pull=pull)) as running:
            await running.result()
    assert "Solve" in daemon.asked and not [call for call in daemon.asked if "Attend" in call]


async def test_a_daemon_tells_why_steps_ran(peer):
    async with client_of(peer) as client:
        assert short(await build(client, hello("one"))) == [("hello", "new")]
        assert await build(client, hello("one")) == []
        told = await build(client, hello("two"))
        assert short(told) == [("hello", "changed", ("text", "", "one", "two"))]
        assert told[0].vertex == DIGEST


async def test_a_build_that_fails_is_explained_by_a_daemon_too(peer):
    async with client_of(peer) as client:
        for expected in ("new", "failed"):
            with pytest.raises(BuildkitError, match="none") as caught:
                await build(client, hello("x").file(rm("/none"), name="remove"))
            ((*_, last),) = caught.value.told
            assert (last.name, last.reason) == ("remove", expected)


@pytest.mark.root
async def test_files_are_told_by_path_whatever_their_names_are(peer, tmp_path):
    state = scratch().file(copy(local("src"), "/", "/"), name="copy")
    for project in ("one", "two"):
        (tmp_path / project).mkdir()
    (tmp_path / "two" / "other").write_text("of another project")
    async with client_of(peer) as client:
        await build(client, state, locals={"src": str(tmp_path / "one")})
        await build(client, state, locals={"src": str(tmp_path / "two")})
        (tmp_path / "one" / os.fsdecode(b"\xff")).write_text("")
        told = await build(client, state, locals={"src": str(tmp_path / "one")})
    assert short(told) == [("copy", "changed", ("file", "/\udcff", None, "file"))]


async def test_what_another_build_ran_before_is_not_told(peer):
    state = hello("shared")
    await_result = {"allowResultReturn": True, "allowResultArrayRef": True, "Evaluate": True}

    async def drive_slowly(client):
        """Build, and let another build of the same begin and end before this one does."""
        from asyncio import create_task

        solving = create_task(peer.control("Solve", Ref="slow"))
        await peer.bridge("slow", "Ping")
        solved = await peer.bridge("slow", "Solve", Definition=state.marshal().to_pb(), **await_result)
        told = await build(client, state)
        await peer.bridge("slow", "Return", result=solved.result)
        await solving
        return told

    async with client_of(peer) as client:
        assert await drive_slowly(client) == []


async def attend(peer, **fields):
    call = peer.channel.call(ATTEND)
    call.send_all([pb.AttendRequest(**fields).SerializeToString()])
    call.end()
    assert await call.receive() == b""
    return call


async def test_wishes_are_one_clients_and_end_with_its_call(peer):
    call = await attend(peer, ref="r")
    with pytest.raises(AlreadyExists, match="build r is attended"):
        await attend(peer, ref="r")
    call.cancel()
    await peer.control("Info")  # whose answer comes when the daemon has seen the end of the call
    again = await attend(peer, ref="r", explain=True)
    await drive(peer, hello("x"), ref="r")
    told = [pb.AttendResponse.FromString(message).explanation async for message in again]
    assert [(one.name, one.reason) for one in told] == [(b"hello", "new")]


@pytest.mark.parametrize(
    ("fields", "said"), [({"ref": ""}, "no ref of a build"), ({"ref": "r", "pull": "x"}, "invalid pull mode x")]
)
async def test_wishes_that_make_no_sense_are_refused(peer, fields, said):
    with pytest.raises(InvalidInput, match=said):
        await attend(peer, **fields)


async def test_a_build_that_the_daemon_refuses_ends_the_call(peer):
    call = await attend(peer, ref="r", explain=True)
    with pytest.raises(BuildkitError):
        await peer.control("Solve", Ref="r", Entitlements=["none.such"])
    assert [message async for message in call] == []
