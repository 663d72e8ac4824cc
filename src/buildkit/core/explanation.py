"""Why a step ran, as values."""

from __future__ import annotations

from buildkit.core.values import dataclass


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that is not as it was. ``old`` or ``new`` is None where there is none; secrets read ``(hidden)``.

    ``field`` says what kind of thing: ``command``, ``env``, ``workdir``, ``user``, ``mount``, …; ``content``,
    ``mode``, ``owner``, ``link`` or ``file`` (added, removed) of a file; ``image``, ``commit``, ``checksum`` of a
    source; ``input``, a step that is not as it was; ``no-cache``; ``result``, which was pruned. ``path`` says which: a
    file, a variable, a step.
    """

    field: str
    path: str = ""
    old: str | None = None
    new: str | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """One step that ran. ``reason`` is ``changed``, ``input`` (only steps before it did), ``new``, ``evicted`` or
    ``ignore-cache``.
    """

    vertex: str
    name: str
    reason: str
    changes: tuple[Change, ...] = ()
