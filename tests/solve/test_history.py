import asyncio

import pytest

from buildkit.core.db import Database
from buildkit.core.errors import InvalidInput, NotFound
from buildkit.solve.history import DELETED, History, Limits, Wanted
from buildkit.solve.historyfilter import parse_filters
from buildkit.solve.record import BlobRef, BuildRecord, Failure
from buildkit.store.content import ContentStore

HOUR = 3600 * 10**9
NOW = 1000 * HOUR


def open_history(path, now=NOW, limits=Limits()):
    return History(Database(path / "db"), ContentStore(path / "blobs"), limits, clock=lambda: now)


def record(ref, *, age=0, content=b"", history=None, **fields):
    logs = None
    if history is not None:
        logs = BlobRef("text/plain", history.content.put(content), len(content))
    end = NOW - age * HOUR
    return BuildRecord(ref=ref, created_at=end - HOUR, completed_at=end, logs=logs, **fields)


async def refs(history, **wanted):
    return [event.record.ref async for event in history.listen(Wanted(early_exit=True, **wanted))]


@pytest.mark.row("A53", "B43")
async def test_what_is_old_and_beyond_the_newest_goes(tmp_path):
    history = open_history(tmp_path, limits=Limits(max_age=10 * 3600, max_entries=2))
    for ref, age in (("new", 1), ("old", 20), ("older", 30), ("pinned", 40)):
        history.complete(record(ref, age=age, pinned=ref == "pinned"))
    history.collect()
    assert sorted(await refs(history)) == ["new", "old", "pinned"]


@pytest.mark.row("A53")
async def test_what_is_young_stays_however_many_there_are(tmp_path):
    history = open_history(tmp_path, limits=Limits(max_age=10 * 3600, max_entries=1))
    for number in range(5):
        history.complete(record(f"r{number}", age=number))
    history.collect()
    assert len(await refs(history)) == 5


@pytest.mark.row("A43")
async def test_a_record_that_someone_listens_to_stays_until_they_leave(tmp_path):
    history = open_history(tmp_path)
    history.complete(record("one", history=history, content=b"logs"))
    listening = history.listen(Wanted(ref="one"))
    digest = (await anext(listening)).record.logs.digest
    history.delete("one")
    assert history.content.has(digest) and await refs(history) == []
    with pytest.raises(NotFound, match="ref one is deleted"):
        await refs(history, ref="one")
    await listening.aclose()
    assert not history.content.has(digest)


async def test_a_blob_of_two_records_goes_with_the_last(tmp_path):
    history = open_history(tmp_path)
    for ref in ("a", "b"):
        history.complete(record(ref, history=history, content=b"same"))
    digest = history.get("a").logs.digest
    history.delete("a")
    assert history.content.has(digest)
    history.delete("b")
    assert not history.content.has(digest)


async def test_a_killed_daemon_leaves_no_orphans(tmp_path):
    history = open_history(tmp_path)
    history.start(BuildRecord(ref="running"))
    history.complete(record("whole", history=history, content=b"a"))
    history.complete(record("damaged", history=history, content=b"b"))
    history.content.delete(history.get("damaged").logs.digest)
    stray = history.content.put(b"blob without a record")
    again = open_history(tmp_path)
    assert await refs(again) == ["whole"]
    assert not again.content.has(stray)


async def test_deletions_are_told(tmp_path):
    history = open_history(tmp_path)
    history.complete(record("one"))
    listening = history.listen(Wanted())
    await anext(listening)
    waiting = asyncio.ensure_future(anext(listening))
    await asyncio.sleep(0)
    history.delete("one")
    event = await waiting
    assert (event.kind, event.record.ref) == (DELETED, "one")


@pytest.mark.row("A44")
@pytest.mark.parametrize(
    ("text", "passes"),
    [
        ("status==completed", True),
        ("status!=completed", False),
        ("ref~=^ab", True),
        ("startedAt>=2h", True),
        ("startedAt<2h", False),
        ("startedAt>1h", False),
        ("completedAt>1970-01-01T00:00:00Z", True),
        ("duration>=1h", True),
        ("duration>1h", False),
        ("repository==https://example.com/x.git", True),
        ("status==completed,duration>1h", False),
    ],
)
def test_filters_look_at_a_record(text, passes):
    found = record("abc", frontend_attrs={"context": "https://example.com/x.git#main"})
    assert parse_filters([text], NOW)(found) is passes


@pytest.mark.row("A44")
def test_a_canceled_build_is_known_by_its_error():
    failed = record("a", error=Failure(1, "failed: context canceled"))
    assert parse_filters(["status==error", "status==canceled"], NOW)(failed)
    assert not parse_filters(["status==error"], NOW)(failed)


@pytest.mark.row("A44")
@pytest.mark.parametrize("text", ["startedAt>yesterday", "duration>long", "status=="])
def test_filters_that_make_no_sense_are_refused(text):
    with pytest.raises(InvalidInput):
        parse_filters([text], NOW)


def test_what_is_to_go_once_nobody_listens_does_not_stop_the_collection(tmp_path):
    history = open_history(tmp_path, limits=Limits(max_age=3600, max_entries=0))
    history.complete(record("one", age=20))
    history.complete(record("two", age=20))
    with history._watching("one"):
        history.collect()
        history.collect()
        assert history.find("two") is None
