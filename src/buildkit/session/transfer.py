"""Moves packets between a call and the two halves of a tree transfer, whose disk work is done in threads."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from buildkit.core.aio import finish_in_thread
from buildkit.core.errors import BuildkitError, Unavailable
from buildkit.fs.packets import encode_error
from buildkit.rpc.call import Call

if TYPE_CHECKING:
    from buildkit.fs.metadata import MetadataReceiver
    from buildkit.fs.receive import Receiver
    from buildkit.fs.send import Sender
    from buildkit.session.session import Seen

_FEW = 4 << 10
"""Bytes of packets about a small tree that are dealt with at once: a thread takes longer to be told."""
_FIRST = 32


async def receive_tree(call: Call, receiver: Receiver | MetadataReceiver, seen: Seen) -> None:
    """Feed a receiver until the sender is done; the receiver's own error is told to the sender and raised."""
    while not receiver.done:
        messages = await call.receive_views()
        if not messages:
            raise Unavailable("the transfer ended early")
        if left := receiver.skip(messages):
            try:
                few = receiver.is_small and sum(map(len, left)) <= _FEW
                answers = receiver.feed(left) if few else await finish_in_thread(receiver.feed, left)
            except BuildkitError as error:
                call.send_all([encode_error(str(error))])
                raise
            if answers:
                call.send_all(answers)
        seen(receiver.received)


async def send_tree(call: Call, sender: Sender, seen: Seen, *, first_here: bool = False) -> None:
    """Send what a sender produces until the receiver has all; raises the sender's error, or the receiver's.

    ``first_here``: begin to look at the tree without a thread, in a process that has nothing better to do.
    """
    asked = asyncio.Event()
    failure: list[BuildkitError] = []

    def take(messages: list[bytes]) -> None:
        try:
            sender.take(messages)
        except BuildkitError as error:
            failure.append(error)
        asked.set()

    def end(error: BuildkitError | None) -> None:
        failure.append(error or Unavailable("the transfer ended early"))
        asked.set()

    call.consume(take, end)
    while not sender.done:
        if failure:
            raise failure[0]
        asked.clear()
        try:
            if first_here or sender.is_quick:
                packets = sender.produce(announced=_FIRST)
            else:
                packets = await finish_in_thread(sender.produce)
            first_here = False
        except (BuildkitError, OSError) as error:
            call.send_all([encode_error(str(error))])
            raise
        if packets:
            call.send_all(packets)
            seen(sender.sent)
            await call.drain()
        else:
            await asked.wait()
