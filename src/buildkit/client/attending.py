"""What a daemon of ours can do beyond BuildKit's protocol: obey ``--pull`` and tell why steps ran.

See docs/adr/0015-attending.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from buildkit.client.options import SolveOptions
from buildkit.core import wire
from buildkit.core.errors import BuildkitError, Unavailable, Unsupported
from buildkit.core.explanation import Change, Explanation
from buildkit.rpc.client import Channel, ClientCall

ATTEND = "/pybuildkit.v1.Builds/Attend"
_ORDINARY = ("", "always")
_LATE_SECONDS = 5.0


@asynccontextmanager
async def attended(channel: Channel, options: SolveOptions, ref: str) -> AsyncIterator[None]:
    """Have the daemon do as ``options`` wish with a build that begins and ends in this scope.

    Raises `Unsupported`, naming the option, at a daemon that cannot.
    """
    if options.explained is None and options.pull in _ORDINARY:
        yield
        return
    call = channel.call(ATTEND)
    try:
        await _begin(call, options, ref)
        try:
            yield
        except BuildkitError:
            try:
                async with asyncio.timeout(_LATE_SECONDS):  # a build that never began has no end to be told of
                    await _hear(call, options)
            except (BuildkitError, TimeoutError):
                pass
            raise
        await _hear(call, options)
    finally:
        call.cancel()


async def _begin(call: ClientCall, options: SolveOptions, ref: str) -> None:
    explains = options.explained is not None
    call.send_all([wire.text(1, ref) + wire.text(2, options.pull) + wire.number(3, explains)])
    call.end()
    try:
        first = await call.receive()
    except Unsupported:
        names = [f"--pull={options.pull}"] if options.pull not in _ORDINARY else []
        names += ["--explain"] if explains else []
        what = " and ".join(names)
        raise Unsupported(f"{what}: this daemon cannot do that; a buildkitd of pybuildkit can") from None
    if first is None:
        raise Unavailable("the daemon ended the call that attends the build")


async def _hear(call: ClientCall, options: SolveOptions) -> None:
    """Take what is told once the build is over."""
    found = [_explanation(content) async for message in call for _, _, content in wire.read(message)]
    if options.explained is not None:
        options.explained(found)


def _explanation(message: bytes) -> Explanation:
    vertex, name, reason, changes = "", "", "", []
    for number, _, content in wire.read(message):
        if number == 1:
            vertex = wire.read_text(content)
        elif number == 2:
            name = _text(content)
        elif number == 3:
            reason = wire.read_text(content)
        elif number == 4:
            changes.append(_change(content))
    return Explanation(vertex, name, reason, tuple(changes))


def _change(message: bytes) -> Change:
    found: dict[int, str] = {number: _text(content) for number, _, content in wire.read(message)}
    return Change(found.get(1, ""), found.get(2, ""), found.get(3), found.get(4))


def _text(content: bytes) -> str:
    """Text that may have surrogates, which stand for names of files that are no text."""
    try:
        return content.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return wire.read_text(content)
