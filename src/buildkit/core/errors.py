"""The one error tree. The class says who is to blame and so what a caller may do; details travel along.

Wording of messages: subject first, what is wrong, what would fix it. Texts that BuildKit clients match are
kept as they are. `buildkit.rpc.status` alone turns these classes into gRPC codes and typed details.
"""

from __future__ import annotations

from typing import TypeAlias

from buildkit.core.values import dataclass


@dataclass(frozen=True, slots=True)
class Range:
    """A part of a text file: 1-based lines, 0-based characters, both ends included."""

    start_line: int
    start_character: int
    end_line: int
    end_character: int


@dataclass(frozen=True, slots=True)
class SourceDetail:
    """Where in which file the fault lies; printed as an excerpt with a marker."""

    filename: str
    content: bytes
    language: str
    ranges: tuple[Range, ...]
    definition: bytes = b""
    """Serialized ``pb.Definition`` that yields the file, if any."""


@dataclass(frozen=True, slots=True)
class VertexDetail:
    """The vertex that failed, by the digest in the definition that the client sent."""

    digest: str


@dataclass(frozen=True, slots=True)
class FrontendDetail:
    """The frontend that failed."""

    name: str
    source: str = ""


@dataclass(frozen=True, slots=True)
class SubrequestDetail:
    """A subrequest that the frontend does not know."""

    name: str


@dataclass(frozen=True, slots=True)
class SolveDetail:
    """Ids of live refs that a debugger may mount after a step failed, and the op (serialized ``pb.Op``)."""

    input_ids: tuple[str, ...]
    mount_ids: tuple[str, ...]
    op: bytes
    file_action: int | None = None


@dataclass(frozen=True, slots=True)
class MaterialsDetail:
    """Directories of the client that went into a result all of whose materials were to be known."""

    locals: tuple[str, ...]


Detail: TypeAlias = SourceDetail | VertexDetail | FrontendDetail | SubrequestDetail | SolveDetail | MaterialsDetail


class BuildkitError(Exception):
    """Root of the tree. ``details`` grow from the inside out as the error passes the layers."""

    def __init__(self, message: str, *, details: tuple[Detail, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.details = details

    def __str__(self) -> str:
        return self.message

    def detailed(self, *details: Detail) -> BuildkitError:
        """Attach details and return self, for ``raise error.detailed(…)``."""
        self.details = (*self.details, *details)
        return self

    def prefixed(self, prefix: str) -> BuildkitError:
        """Put ``prefix`` before the message and return self: the layers' ``failed to …: `` chain."""
        self.message = prefix + self.message
        self.args = (self.message,)
        return self

    def twin(self) -> BuildkitError:
        """An equal error: those who wait for one thing must not see what the others add to it."""
        twin = type(self).__new__(type(self), *self.args)
        twin.__dict__.update(self.__dict__)
        twin.__cause__ = self.__cause__
        return twin.with_traceback(self.__traceback__)

    def suffixed(self, suffix: str) -> BuildkitError:
        """Put ``suffix`` after the message and return self."""
        self.message += suffix
        self.args = (self.message,)
        return self


class InvalidInput(BuildkitError):
    """The caller's input is wrong; the same call will fail again."""


class NotFound(BuildkitError):
    """The thing named does not exist."""


class AlreadyExists(BuildkitError):
    """The thing to make is there already."""


class FailedPrecondition(BuildkitError):
    """The state of things does not allow this now."""


class PermissionDenied(BuildkitError):
    """The caller may not do this (entitlements, policies, access rights)."""


class Unauthenticated(BuildkitError):
    """A server wants credentials that we do not have or does not accept ours."""


class Unavailable(BuildkitError):
    """The network or a peer failed us; the only class that is retried."""


class Corrupt(BuildkitError):
    """Stored or received bytes are not what their digest or format says."""


class Exhausted(BuildkitError):
    """Out of disk, memory or another bounded resource."""


class Unsupported(BuildkitError):
    """Known, and not built yet or not possible here; says so by name."""


class Canceled(BuildkitError):
    """The caller went away or asked to stop."""


class Internal(BuildkitError):
    """Our own fault."""


def from_os(error: OSError) -> BuildkitError:
    """The project's error for a system's one: what it is about, and the system's reason."""
    import errno

    spent = (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EMFILE, errno.ENFILE)
    reason = (error.strerror or str(error)).lower()
    names = [str(name) for name in (error.filename, error.filename2) if name is not None and not isinstance(name, int)]
    kind = Exhausted if error.errno in spent else FailedPrecondition
    return kind(": ".join([*names, reason]))


class ExitError(BuildkitError):
    """A process ended badly. ``code`` is its exit status (128 + signal when killed); ``oom`` if for memory."""

    def __init__(
        self, message: str, *, code: int, signal: int = 0, oom: bool = False, details: tuple[Detail, ...] = ()
    ) -> None:
        super().__init__(message, details=details)
        self.code = code
        self.signal = signal
        self.oom = oom
