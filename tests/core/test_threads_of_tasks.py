import asyncio
import threading

import pytest

from buildkit.core.aio import finish_in_thread, run_apart
from buildkit.core.loop import MOST_THREADS, run


async def test_a_cancelled_task_waits_for_its_thread():
    started, go, done = threading.Event(), threading.Event(), []

    def work():
        started.set()
        go.wait()
        done.append(True)

    task = asyncio.create_task(finish_in_thread(work))
    await asyncio.to_thread(started.wait)
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == [True]


async def test_results_and_errors_come_back():
    assert await finish_in_thread(max, 1, 2) == 2
    with pytest.raises(ZeroDivisionError):
        await finish_in_thread(divmod, 1, 0)


def test_what_waits_for_someone_far_away_leaves_the_threads_of_the_loop_to_others():
    async def main():
        go = threading.Event()
        waiting = [asyncio.create_task(run_apart(go.wait)) for _ in range(MOST_THREADS + 1)]
        assert await asyncio.to_thread(max, 1, 2) == 2
        go.set()
        assert all(await asyncio.gather(*waiting))

    run(main())
