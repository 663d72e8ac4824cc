"""When the daemon collects garbage: a clock of the test tells the loop what time it is."""

import asyncio

import pytest

from buildkit.control.collection import Collection
from buildkit.store.gc import PrunePolicy, Usage

GONE = Usage("x", False, False, 5, (), 0, None, 0, "", "regular")


class Store:
    """Something goes at every collection, or nothing; ``forgotten`` counts how often keys were forgotten."""

    def __init__(self, *gone):
        self.gone, self.collections, self.forgotten = gone, 0, 0

    async def prune(self, *policies):
        self.collections += 1
        for one in self.gone:
            yield one

    async def forget_keys(self):
        self.forgotten += 1


@pytest.fixture
def until(monkeypatch):
    """Has the loop be at a second."""
    now = [0.0]

    async def until(second):
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(loop, "time", lambda: now[0])
        now[0] = second
        for _ in range(9):
            await asyncio.sleep(0)

    return until


@pytest.mark.row("S88")
async def test_garbage_is_collected_a_second_after_a_build_and_at_most_once_a_minute(until):
    store = Store()
    collection = Collection(store, [PrunePolicy()], store.forget_keys)
    seen = []
    for second in (0, 0.9, 1.1, 2, 30, 60.9, 61.2, 100, 130, 200):
        await until(second)
        seen.append(store.collections)
        if second in (0, 1.1, 30, 130):
            collection.trigger()
    assert seen == [0, 0, 1, 1, 1, 1, 2, 2, 2, 3]
    await collection.close()


@pytest.mark.row("S62")
async def test_keys_are_forgotten_when_something_went_and_at_most_every_five_minutes(until):
    store = Store()
    collection = Collection(store, [PrunePolicy()], store.forget_keys)
    await until(0)
    await collection.collect()
    assert store.forgotten == 0
    store.gone = (GONE,)
    await collection.collect()
    await collection.collect()
    assert store.forgotten == 1
    store.gone = ()
    await until(301)
    await collection.collect()
    await collection.collect()
    assert store.forgotten == 2


async def test_without_policies_nothing_is_collected(until):
    store = Store(GONE)
    collection = Collection(store, (), store.forget_keys)
    collection.trigger()
    await until(100)
    assert store.collections == 0
    await collection.close()
