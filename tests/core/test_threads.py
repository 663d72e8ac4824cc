"""Calls in threads: what becomes of them, how many there are, and how they end."""

import asyncio
import contextvars
import threading

import pytest

from buildkit.core.loop import Loop, run
from buildkit.core.threads import Threads


def test_the_loop_has_its_blocking_calls_done_by_our_threads():
    name = contextvars.ContextVar("name", default="")

    async def main():
        name.set("seen")
        ours = await asyncio.to_thread(threading.current_thread)
        return ours, await asyncio.to_thread(name.get)

    thread, seen = run(main())
    assert thread.name == "work 0"
    assert not thread.is_alive()
    assert seen == "seen"


def test_an_executor_that_is_named_is_used():
    from concurrent.futures import ThreadPoolExecutor

    async def main():
        with ThreadPoolExecutor(1, "other") as other:
            return await asyncio.get_running_loop().run_in_executor(other, lambda: threading.current_thread().name)

    assert run(main()).startswith("other")


@pytest.mark.parametrize("error", [ZeroDivisionError("x"), KeyboardInterrupt(), StopIteration()], ids=repr)
def test_what_a_call_raises_is_raised_where_it_is_awaited(error):
    def fail():
        raise error

    async def main():
        with pytest.raises(RuntimeError if isinstance(error, StopIteration) else type(error)):
            await asyncio.get_running_loop().run_in_executor(None, fail)

    with asyncio.Runner(loop_factory=Loop) as runner:
        try:
            runner.run(main())
        except KeyboardInterrupt:
            assert isinstance(error, KeyboardInterrupt)


async def test_threads_are_used_again_and_there_are_never_more_than_asked_for():
    threads = Threads(asyncio.get_running_loop(), 2, "t")
    assert {await threads.call(threading.get_ident) for _ in range(5)} == {await threads.call(threading.get_ident)}
    gate = threading.Event()
    blocked = [threads.call(gate.wait) for _ in range(2)]
    third = threads.call(threading.get_ident)
    names = [thread.name for thread in threading.enumerate()]
    assert [name for name in names if name.startswith("t ")] == ["t 0", "t 1"]
    assert not third.done()
    gate.set()
    await asyncio.gather(*blocked, third)
    await threads.end()


async def test_a_call_that_is_cancelled_before_its_turn_is_not_made():
    threads = Threads(asyncio.get_running_loop(), 1, "t")
    gate, made = threading.Event(), []
    first = threads.call(gate.wait)
    second = threads.call(made.append, 1)
    second.cancel()
    gate.set()
    await first
    await threads.end()
    assert not made


async def test_the_end_waits_for_what_was_taken_and_takes_no_more():
    threads = Threads(asyncio.get_running_loop(), 1, "t")
    gate, made = threading.Event(), []
    calls = [threads.call(gate.wait), threads.call(made.append, 1)]
    ending = asyncio.ensure_future(threads.end())
    await asyncio.sleep(0)
    assert not ending.done()
    with pytest.raises(RuntimeError, match="have ended"):
        threads.call(made.append, 2)
    gate.set()
    await ending
    await asyncio.gather(*calls)
    assert made == [1]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("t ")]


async def test_threads_that_never_were_end_at_once():
    await Threads(asyncio.get_running_loop(), 1, "t").end()


def test_a_thread_outlives_a_loop_that_does_not_wait_for_it():
    gate = threading.Event()
    loop = Loop()
    threads = Threads(loop, 1, "left")
    threads.call(gate.wait)
    threads.stop()
    loop.close()
    gate.set()
    for thread in threading.enumerate():
        if thread.name.startswith("left"):
            thread.join()
