"""How a failure is told: the place in the source, then one line, and nothing of our insides without ``--debug``."""

from __future__ import annotations

from typing import TextIO

from buildkit.core.errors import BuildkitError, SourceDetail

_LONG = 500


def print_failure(error: BaseException, out: TextIO, *, debug: bool = False) -> None:
    """Excerpts of the sources that the error points to, then ``error: …``; the traceback too with ``debug``."""
    if isinstance(error, BuildkitError) and any(isinstance(detail, SourceDetail) for detail in error.details):
        from buildkit.core.excerpt import excerpts

        out.writelines(excerpts(error))
    if debug:
        import traceback

        traceback.print_exception(error, file=out)
    message = describe(error)
    if not message.isprintable() or len(message) > _LONG:
        from buildkit.core.excerpt import readable

        message = readable(message)
    out.write(f"error: {message}\n")


def describe(error: BaseException) -> str:
    """One line, whatever went wrong."""
    if isinstance(error, BuildkitError):
        return error.message
    if isinstance(error, OSError) and error.strerror:
        names = [str(name) for name in (error.filename, error.filename2) if name is not None]
        return f"{' -> '.join(names)}: {error.strerror}" if names else error.strerror
    return f"internal error: {type(error).__name__}: {error} (--debug shows where)"
