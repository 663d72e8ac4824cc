from __future__ import annotations

import asyncio

import pytest
from tests.kit.images import make_image

from buildkit.core.errors import AlreadyExists, FailedPrecondition, InvalidInput, NotFound, Unavailable
from buildkit.session.files import Directories
from buildkit.session.registry import Sessions, joining
from buildkit.session.session import Session
from buildkit.session.stores import Layouts


@pytest.mark.row("A135")
async def test_an_attached_session_is_found_and_a_detached_one_is_not():
    sessions = Sessions(wait=0)
    async with sessions.attach(Session.new()) as session:
        assert await sessions.get(session.id) is session
        assert await sessions.get(f"prefix:{session.id}") is session
    assert sessions.find(session.id) is None


@pytest.mark.row("L42")
async def test_get_waits_for_a_session_to_attach():
    sessions = Sessions()
    session = Session.new()
    waiting = asyncio.ensure_future(sessions.get(session.id))
    await asyncio.sleep(0)
    async with sessions.attach(session):
        assert await waiting is session


@pytest.mark.row("L42")
async def test_a_session_that_never_attaches_is_named():
    with pytest.raises(NotFound) as caught:
        await Sessions(wait=0).get("nobody")
    assert str(caught.value) == "no active session for nobody: context deadline exceeded"


@pytest.mark.row("A135")
async def test_get_waits_five_seconds(monkeypatch):
    now, loop = [0.0], asyncio.get_running_loop()
    monkeypatch.setattr(loop, "time", lambda: now[0])
    waiting = asyncio.ensure_future(Sessions().get("nobody"))
    for second, over in ((0, False), (4.9, False), (5.1, True)):
        now[0] = second
        for _ in range(5):
            await asyncio.sleep(0)
        assert waiting.done() is over
    with pytest.raises(NotFound, match="no active session for nobody"):
        waiting.result()


async def test_two_sessions_cannot_share_an_id():
    sessions = Sessions()
    async with sessions.attach(Session.new()) as session:
        with pytest.raises(AlreadyExists):
            async with sessions.attach(session):
                pass


@pytest.mark.row("A136")
async def test_any_goes_on_to_the_next_session_when_one_fails():
    sessions = Sessions(wait=0)
    tried: list[str] = []

    async def use(session: Session) -> str:
        tried.append(session.id)
        if len(tried) == 1:
            raise NotFound("not here")
        return session.id

    async with sessions.attach(Session.new()) as one, sessions.attach(Session.new()) as two:
        assert await sessions.any(["gone", one.id, two.id], use) == two.id
        assert tried == [one.id, two.id]
        tried.clear()
        with pytest.raises(NotFound, match="no active session for gone"):
            await sessions.any([one.id, "gone"], use)
    with pytest.raises(FailedPrecondition, match="no active sessions"):
        await sessions.any([], use)


async def test_a_session_that_joins_while_another_is_in_use_takes_over_when_that_fails():
    sessions = Sessions(wait=0)
    async with sessions.attach(Session.new()) as one, sessions.attach(Session.new()) as two:
        ids = [one.id]

        async def use(session: Session) -> str:
            if session is one:
                ids.insert(0, two.id)
                raise Unavailable("it vanished")
            return session.id

        assert await sessions.any(joining(lambda: ids), use) == two.id


@pytest.mark.row("A150")
def test_only_named_directories_are_lent(tmp_path):
    directories = Directories({"context": tmp_path})
    assert directories.tree("context").path == tmp_path
    with pytest.raises(NotFound) as caught:
        directories.tree("other")
    assert str(caught.value) == 'no access allowed to dir "other"'


def test_a_directory_that_is_none_is_refused(tmp_path):
    (tmp_path / "file").touch()
    for path in ("file", "missing"):
        with pytest.raises(InvalidInput, match=path):
            Directories({"context": tmp_path / path})


@pytest.mark.row("A169")
async def test_a_layout_is_lent_by_name(tmp_path):
    image = make_image(tmp_path)
    stores = Layouts({"base": tmp_path})
    assert await stores.size("base", image.root.digest) == image.root.size
    with await stores.open("base", image.root.digest) as source:
        assert source.read() == image.layout.read(image.root.digest)
    with pytest.raises(NotFound):
        await stores.size("other", image.root.digest)
    with pytest.raises(InvalidInput):
        Layouts({"base": tmp_path / "blobs"})
