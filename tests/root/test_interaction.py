"""Processes that somebody talks to, and processes in containers that run."""

import asyncio
import contextlib
import os
import signal
from pathlib import Path

import pytest
from tests.root.test_executor import either  # noqa: F401 - a fixture

from buildkit.core.errors import AlreadyExists, ExitError, FailedPrecondition, InvalidInput, NotFound
from buildkit.core.values import replace
from buildkit.executor.executor import Command
from buildkit.executor.interaction import Interaction, Size

pytestmark = pytest.mark.root

NAME = f"c{os.getpid()}"
"""Of containers: control groups of this name are the whole machine's."""
SLEEP = f"9{os.getpid()}"
WAITS = "echo ready; while :; do sleep 0.05; done"


class Talk:
    """A process that is at work, what it has written, and the way to talk to it."""

    def __init__(self, box, *, stdin=False) -> None:
        self.box, self.interaction, self.text, self._heard = box, Interaction(stdin=stdin), "", asyncio.Event()

    def hear(self, stream, content) -> None:
        self.text += content.decode()
        self._heard.set()

    async def heard(self, text) -> None:
        """Wait until it has written ``text``."""
        while text not in self.text:
            assert not self.ended.done(), self.text
            self._heard.clear()
            await self._heard.wait()

    def follow(self, running):
        self.ended = asyncio.ensure_future(running)
        self.ended.add_done_callback(lambda ended: self._heard.set())
        return self.ended

    def run(self, script, id=NAME, **process):
        made = replace(self.box.container.process, args=("sh", "-c", script), **process)
        container = replace(self.box.container, process=made, id=id)
        return self.follow(self.box.executor.run(container, self.hear, self.interaction))

    def enter(self, script, id=NAME, **command):
        wanted = Command(("sh", "-c", script), **command)
        return self.follow(self.box.executor.execute(id, wanted, self.hear, self.interaction))


@contextlib.asynccontextmanager
async def waiting(box, script=WAITS, **process):
    """A container that waits, and is killed in the end."""
    talk = Talk(box)
    ended = talk.run(script, **process)
    try:
        await talk.heard("ready")
        yield talk
    finally:
        await talk.interaction.signal(signal.SIGKILL)
        with contextlib.suppress(ExitError):
            await ended


@pytest.mark.row("X28")
async def test_a_process_reads_what_is_written_until_that_ends(either):  # noqa: F811
    talk = Talk(either, stdin=True)
    ended = talk.run("cat | md5sum")
    for _ in range(2):
        await talk.interaction.write(b"a" * 500_000)
    await talk.interaction.end()
    await ended
    assert talk.text == "7707d6ae4e027c70eea2a935c2296f21  -\n"


@pytest.mark.row("X28")
async def test_without_input_a_process_reads_the_end_of_a_file(either):  # noqa: F811
    talk = Talk(either)
    ended = talk.run("cat; echo over")
    await talk.interaction.write(b"unread")
    await ended
    assert talk.text == "over\n"


@pytest.mark.row("X28")
async def test_a_process_that_stops_reading_does_not_keep_its_writer(either):  # noqa: F811
    talk = Talk(either, stdin=True)
    ended = talk.run("head -c 1")
    await talk.interaction.write(b"x" * 4_000_000)
    await ended
    assert talk.text == "x"


@pytest.mark.row("X28")
async def test_a_terminal_echoes_what_is_typed_and_has_the_size_it_is_given(either):  # noqa: F811
    talk = Talk(either, stdin=True)
    script = "test -t 0 && test -t 1 && test -t 2 && echo terminal; read word; echo got $word; "
    ended = talk.run(script + "trap 'stty size; exit 4' WINCH; " + WAITS, tty=True)
    await talk.heard("terminal\r\n")
    await talk.interaction.write(b"typed\n")
    await talk.heard("typed\r\ngot typed\r\n")
    await talk.heard("ready")
    await talk.interaction.resize(Size(41, 123))
    with pytest.raises(ExitError, match="exit code: 4"):
        await ended
    assert talk.text.endswith("41 123\r\n")


@pytest.mark.row("X28")
async def test_what_is_typed_as_an_interrupt_interrupts(either):  # noqa: F811
    talk = Talk(either, stdin=True)
    ended = talk.run("trap 'echo stopped; exit 5' INT; " + WAITS, tty=True)
    await talk.heard("ready")
    await talk.interaction.write(b"\x03")
    with pytest.raises(ExitError, match="exit code: 5"):
        await ended
    assert "stopped" in talk.text


@pytest.mark.row("X28")
async def test_a_signal_reaches_the_process_however_early_it_is_sent(either):  # noqa: F811
    talk = Talk(either)
    ended = talk.run("trap 'echo caught; exit 3' TERM; " + WAITS)
    await talk.heard("ready")
    await talk.interaction.signal(signal.SIGTERM)
    with pytest.raises(ExitError, match="exit code: 3"):
        await ended
    early = Talk(either)
    ended = early.run(WAITS, id=NAME + "early")
    await early.interaction.signal(signal.SIGKILL)
    with pytest.raises(ExitError) as caught:
        await ended
    assert caught.value.signal == signal.SIGKILL


@pytest.mark.row("X28")
async def test_talking_to_what_has_ended_does_nothing(either):  # noqa: F811
    talk = Talk(either, stdin=True)
    await talk.run("true", tty=True)
    assert await talk.interaction.started()
    await talk.interaction.write(b"x")
    await talk.interaction.resize(Size(1, 2))
    await talk.interaction.signal(signal.SIGTERM)
    await talk.interaction.end()


@pytest.mark.row("X29")
async def test_a_process_in_a_container_has_what_the_first_one_has_and_what_it_is_given(either):  # noqa: F811
    async with waiting(either, env=(*either.container.process.env, "A=first"), cwd="/tmp"):
        inside = Talk(either)
        await inside.enter("echo $A $(pwd) $(id -u); grep Seccomp: /proc/self/status; grep -c ready /proc/1/cmdline")
        assert inside.text.split() == ["first", "/tmp", "0", "Seccomp:", "2", "1"]
        other = Talk(either)
        await other.enter("echo $A $(pwd) $(id -u):$(id -g)", env=("A=2", "PATH=/bin"), cwd="/", user="7:8")
        assert other.text.split() == ["2", "/", "7:8"]


@pytest.mark.row("X29")
async def test_a_process_in_a_container_fails_for_itself(either):  # noqa: F811
    async with waiting(either):
        with pytest.raises(ExitError, match="exit code: 6"):
            await Talk(either).enter("exit 6")
        await Talk(either).enter("exit 6", valid_exit_codes=(6,))


@pytest.mark.row("X28", "X29")
async def test_a_process_in_a_container_may_have_a_terminal_of_its_own(either):  # noqa: F811
    async with waiting(either):
        talk = Talk(either, stdin=True)
        ended = talk.enter("test -t 0 && read word && stty size && echo got $word", tty=True)
        await talk.interaction.resize(Size(5, 6))
        await talk.interaction.write(b"typed\n")
        await ended
        assert talk.text.splitlines()[-1] == "got typed"


@pytest.mark.row("X29")
async def test_cancelling_a_process_in_a_container_ends_that_one_alone(either):  # noqa: F811
    async with waiting(either) as container:
        talk = Talk(either)
        ended = talk.enter("echo begun; sleep 86399")
        await talk.heard("begun")
        ended.cancel()
        with pytest.raises(asyncio.CancelledError):
            await ended
        after = Talk(either)
        await after.enter("ps | grep -c 'sleep 8639[9]'; true")
        assert after.text == "0\n" and container.text == "ready\n"


@pytest.mark.row("X29", "X30")
async def test_every_process_ends_with_its_container(either):  # noqa: F811
    talk = Talk(either)
    async with waiting(either, f"sleep {SLEEP} & " + WAITS):
        ended = talk.enter(f"echo begun; sleep {SLEEP}")
        await talk.heard("begun")
    with pytest.raises(ExitError, match="exit code: 137"):
        await ended
    assert not running(SLEEP)


def running(word):
    lines = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline")]
    return [line for line in lines if word.encode() in line.split(b"\0")]


@pytest.mark.row("X29")
async def test_only_a_container_that_runs_can_be_entered(either):  # noqa: F811
    with pytest.raises(NotFound, match=r"^container gone not found$"):
        await Talk(either).enter("true", id="gone")
    first = Talk(either)
    ended = first.run("true", user="nobody-at-all")
    with pytest.raises(
        FailedPrecondition, match=rf"^container {NAME} has exited with error: unable to find user nobody-at-all"
    ):
        await Talk(either).enter("true")
    with pytest.raises(InvalidInput):
        await ended
    assert not await first.interaction.started()


@pytest.mark.row("X3")
async def test_containers_are_named_by_letters_and_numbers_and_once_each(either):  # noqa: F811
    for id in ("a/b", "..", "a-b", "ä"):
        with pytest.raises(InvalidInput, match=f'^invalid container id "{id}": only letters and numbers are allowed$'):
            await Talk(either).run("true", id=id)
    async with waiting(either):
        with pytest.raises(AlreadyExists, match=rf"^container {NAME} exists$"):
            await Talk(either).run("true")


@pytest.mark.row("X2")
async def test_a_bundle_is_closed_to_others_and_gone_afterwards(either):  # noqa: F811
    async with waiting(either):
        bundle = either.state / NAME
        assert bundle.stat().st_mode & 0o777 == 0o711 and (bundle / "rootfs").is_dir()
        assert (bundle / "config.json").stat().st_mode & 0o077 == 0
    assert not bundle.exists()
