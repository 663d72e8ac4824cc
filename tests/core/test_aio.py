import asyncio
import threading

import pytest

from buildkit.core.aio import Shared, gather_all, interruptible
from buildkit.core.errors import Canceled, ExitError, VertexDetail


class Work:
    def __init__(self, fail=None):
        self.runs, self.cancelled, self.fail = 0, 0, fail
        self.go = asyncio.Event()

    async def __call__(self):
        self.runs += 1
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.fail:
            raise self.fail
        return self.runs


async def turn():
    for _ in range(5):
        await asyncio.sleep(0)


async def test_many_waiters_share_one_run():
    work = Work()
    shared = Shared(work)
    waiters = [asyncio.create_task(shared.wait()) for _ in range(3)]
    await turn()
    work.go.set()
    assert [await waiter for waiter in waiters] == [1, 1, 1]
    assert shared.done
    assert await shared.wait() == 1


async def test_it_goes_on_while_one_waiter_is_left_and_stops_with_the_last():
    work = Work()
    shared = Shared(work)
    first, second = (asyncio.create_task(shared.wait()) for _ in range(2))
    await turn()
    first.cancel()
    await turn()
    assert work.cancelled == 0
    second.cancel()
    await turn()
    assert work.cancelled == 1


async def test_after_the_last_waiter_left_it_can_be_run_again():
    work = Work()
    shared = Shared(work)
    waiter = asyncio.create_task(shared.wait())
    await turn()
    waiter.cancel()
    again = asyncio.create_task(shared.wait())
    await turn()
    work.go.set()
    assert await again == 2


async def test_every_waiter_gets_the_error_itself():
    work = Work(fail=KeyError("x"))
    work.go.set()
    shared = Shared(work)
    for _ in range(2):
        with pytest.raises(KeyError):
            await shared.wait()


async def test_gather_raises_the_first_failure_and_cancels_the_rest():
    slow, bad = Work(), Work(fail=ValueError("bad"))
    bad.go.set()
    with pytest.raises(ValueError, match="bad"):
        await gather_all([slow(), bad()])
    assert slow.cancelled == 1


async def test_gather_keeps_the_order():
    async def give(value):
        await asyncio.sleep(0)
        return value

    assert await gather_all(give(i) for i in range(5)) == [0, 1, 2, 3, 4]
    assert await gather_all([]) == []


async def test_every_waiter_gets_an_error_of_its_own():
    async def fail():
        raise ExitError("it broke", code=3)

    shared = Shared(fail)
    errors = await asyncio.gather(*(shared.wait() for _ in range(3)), return_exceptions=True)
    errors[0].prefixed("first: ").detailed(VertexDetail("x"))
    assert [(str(one), one.code, len(one.details)) for one in errors] == [
        ("first: it broke", 3, 1),
        ("it broke", 3, 0),
        ("it broke", 3, 0),
    ]


async def test_long_work_hears_that_nobody_waits_any_more_and_is_waited_for():
    begun, heard = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def work(interrupt):
        loop.call_soon_threadsafe(begun.set)
        try:
            while True:
                interrupt.check()
        except Canceled:
            heard.set()
            raise

    task = asyncio.create_task(interruptible(work))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert heard.is_set()


async def test_long_work_gives_what_it_gives():
    def fail(interrupt):
        raise ZeroDivisionError

    assert await interruptible(lambda interrupt: interrupt.over) is False
    with pytest.raises(ZeroDivisionError):
        await interruptible(fail)
