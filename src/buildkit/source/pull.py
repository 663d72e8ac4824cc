"""When sources are looked up: the modes of ``--pull``, and which session wants which."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import TypeVar

from buildkit.core.errors import InvalidInput, NotFound, Unavailable

T = TypeVar("T")


class Pull(StrEnum):
    """Whether to ask the network what a name stands for, when it was resolved here before."""

    ALWAYS = "always"
    """Ask; this is what BuildKit does."""
    MISSING = "missing"
    """Ask for what was never resolved here."""
    FALLBACK = "fallback"
    """Ask, and take what is remembered when nobody answers."""
    NEVER = "never"
    """Ask for nothing."""


def parse_pull(text: str) -> Pull:
    """Read the value of ``--pull``; ``""`` is `Pull.ALWAYS`. Raises `InvalidInput`."""
    try:
        return Pull(text or "always")
    except ValueError:
        raise InvalidInput(f"invalid pull mode {text}: expected always, missing, fallback or never") from None


class Pulls:
    """The modes of the sessions that build right now."""

    def __init__(self) -> None:
        self._of: dict[str, Pull] = {}

    @contextmanager
    def lent(self, session: str, pull: Pull) -> Iterator[None]:
        """For the length of the scope, what ``session`` asks for is looked up in this mode."""
        before = self._of.get(session)
        self._of[session] = pull
        try:
            yield
        finally:
            if before is None:
                del self._of[session]
            else:
                self._of[session] = before

    def of(self, sessions: Iterable[str]) -> Pull:
        """The mode of the first session that has one."""
        return next((self._of[one] for one in sessions if one in self._of), Pull.ALWAYS)


def forbid(what: str) -> NotFound:
    """The error for what would have to be fetched in the mode ``never``."""
    return NotFound(f"{what} is not known here and --pull=never forbids asking for it")


async def look_up(
    what: str, pull: Pull, known: T | None, ask: Callable[[], Awaitable[T]], log: Callable[[str], None] | None = None
) -> T:
    """What ``ask`` answers, or ``known`` where the mode says so; raises `NotFound` and what ``ask`` raises."""
    if known is not None and pull in (Pull.MISSING, Pull.NEVER):
        return known
    if pull is Pull.NEVER:
        raise forbid(what)
    try:
        return await ask()
    except Unavailable as error:
        if pull is not Pull.FALLBACK or known is None:
            raise
        if log is not None:
            log(f"{error}; taking what {what} was when it was last resolved here\n")
        return known
