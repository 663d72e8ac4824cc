"""Why a step ran, as values."""

from __future__ import annotations

from buildkit.core.values import dataclass


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that is not as it was. ``old`` or ``new`` is None where there is none; secrets read ``(hidden)``.

    ``field`` says what kind of thing, ``path`` which: a file, a variable, a step, a source.

    - of a command: ``command``, ``env``, ``workdir``, ``user``, ``mount``, ``network``, ``security``, ``platform``, …
    - of a file step: ``source``, ``destination``, ``chmod``, ``chown``, ``include``, ``exclude``, ``text``, …
    - of a file: ``content`` (digests), ``mode``, ``owner``, ``link``, or ``file``: it came, went or is of another kind
    - of a source: ``image``, ``commit``, ``checksum``, ``blob``
    - ``input``: the step before is another, or ran anew (``old`` is None)
    - ``result``: ``new`` says by which rule it was removed, and when; ``error``: ``old`` is how it failed the last time
    - ``no-cache``: ``new`` says what is to run anew
    """

    field: str
    path: str = ""
    old: str | None = None
    new: str | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """One step that ran.

    ``reason`` is ``changed``, ``input`` (only steps before it did), ``new`` (there is no earlier record of such a step,
    and no changes), ``evicted``, ``failed`` (it did so the last time) or ``ignore-cache``.
    """

    vertex: str
    name: str
    reason: str
    changes: tuple[Change, ...] = ()
