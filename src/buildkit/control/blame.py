"""Which classes of a build's errors clients are told.

BuildKit's daemon gives most errors of builds no code, and its clients print the code of those that have one before
the message. So that the same mistake reads the same, only codes that some client decides on are sent.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from buildkit.core.errors import BuildkitError, Canceled, Exhausted, ExitError, Internal, Unsupported

_TOLD = (Canceled, Exhausted, ExitError, Internal, Unsupported)


@contextmanager
def build_errors() -> Iterator[None]:
    """Errors that leave the scope have no class, unless a client could act on it; message and details stay."""
    try:
        yield
    except BuildkitError as error:
        if isinstance(error, _TOLD) or type(error) is BuildkitError:
            raise
        raise BuildkitError(error.message, details=error.details) from error
