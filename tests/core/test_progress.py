import asyncio

from buildkit.core.progress import LogUpdate, Reporter, Stream, VertexUpdate


async def test_a_late_reader_sees_everything_and_ends_with_the_stream():
    stream = Stream()
    reporter = Reporter(VertexUpdate("d", "step"), [stream])
    reporter.start()
    reader = asyncio.create_task(collect(stream))
    await asyncio.sleep(0)
    reporter.log(1, b"hello")
    reporter.complete()
    stream.close()
    early, late = await reader, await collect(stream)
    assert early == late
    assert [type(u).__name__ for u in late] == ["VertexUpdate", "LogUpdate", "VertexUpdate"]
    assert isinstance(late[1], LogUpdate)
    assert late[2].completed >= late[2].started


async def test_a_reader_who_waits_gets_the_first_update_at_once_and_the_others_in_batches():
    stream = Stream()
    reporter = Reporter(VertexUpdate("d", "step"), [stream])
    batches = aiter(stream.read())
    first = asyncio.create_task(anext(batches))
    await asyncio.sleep(0)
    reporter.start()
    assert len(await first) == 1
    second = asyncio.create_task(anext(batches))
    await asyncio.sleep(0)
    reporter.log(1, b"hello")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    reporter.complete()
    assert len(await second) == 2
    stream.close()
    assert [batch async for batch in batches] == []


async def collect(stream):
    return [update async for batch in stream.read() for update in batch]


async def test_who_joins_late_gets_the_state_and_who_leaves_gets_nothing_more():
    first, second = Stream(), Stream()
    reporter = Reporter(VertexUpdate("d", "step"), [first])
    reporter.start()
    reporter.join(second)
    reporter.leave(first)
    reporter.complete(cached=True)
    for stream in (first, second):
        stream.close()
    assert [u.cached for u in await collect(second)] == [False, True]
    assert [u.completed for u in await collect(first)] == [None]
