from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from buildkit.engine.lock import holder_of, root_lock

SOURCES = Path(__file__).parents[2] / "src"
HOLD = """
import asyncio, sys
from pathlib import Path
from buildkit.engine.lock import root_lock
async def main():
    async with root_lock(Path(sys.argv[1]), print):
        print("held", flush=True)
        await asyncio.to_thread(input)
asyncio.run(main())
"""


def unheard(holder: str) -> None:
    raise AssertionError(holder)


def hold(root: Path) -> subprocess.Popen[str]:
    """A process that has the lock until a line is sent to it."""
    environ = {**os.environ, "PYTHONPATH": str(SOURCES)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(root)], text=True, env=environ, **pipes)
    assert process.stdout.readline() == "held\n"
    return process


async def test_the_lock_says_who_holds_it_and_keeps_nothing_of_the_one_before(tmp_path):
    async with root_lock(tmp_path, unheard):
        assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o600
    (tmp_path / "lock").write_text("x" * 1000)
    async with root_lock(tmp_path, unheard):
        assert holder_of(tmp_path / "lock").startswith(f"pid {os.getpid()} (")
        assert "xx" not in holder_of(tmp_path / "lock")


def test_a_lock_file_that_says_nothing_is_some_process(tmp_path):
    assert holder_of(tmp_path / "none") == "another process"
    (tmp_path / "lock").write_text("\n")
    assert holder_of(tmp_path / "lock") == "another process"


async def test_a_second_process_waits_and_is_told_once_for_whom(tmp_path):
    other = hold(tmp_path)
    told: list[str] = []
    asked = asyncio.Event()

    def waiting(holder: str) -> None:
        told.append(holder)
        asked.set()

    entered = asyncio.Event()

    async def enter() -> None:
        async with root_lock(tmp_path, waiting):
            entered.set()

    entering = asyncio.create_task(enter())
    await asked.wait()
    assert not entered.is_set() and told[0].startswith(f"pid {other.pid} (")
    other.communicate("\n")
    await entering
    assert len(told) == 1


async def test_the_lock_of_a_killed_process_is_free(tmp_path):
    other = hold(tmp_path)
    other.kill()
    other.wait()
    async with root_lock(tmp_path, unheard):
        pass


async def test_giving_up_while_waiting_leaves_the_lock_alone(tmp_path):
    async with root_lock(tmp_path, unheard):
        asked = asyncio.Event()

        async def enter() -> None:
            async with root_lock(tmp_path, lambda holder: asked.set()):
                raise AssertionError

        entering = asyncio.create_task(enter())
        await asked.wait()
        entering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await entering
        assert holder_of(tmp_path / "lock").startswith(f"pid {os.getpid()} (")
