"""Why a path may be missing from a tree: a misspelt name, or a rule that hides it."""

from __future__ import annotations

import os
from collections.abc import Sequence

from buildkit.fs.patterns import PatternMatcher
from buildkit.fs.tree import open_in_root

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_SHOWN = 3


def explain_missing(root: str, path: str, hiding: Sequence[str] = ()) -> str:
    """What to append to the message that ``path`` is missing below the directory ``root``, or nothing.

    ``hiding`` are the patterns that leave files out, as a .dockerignore has them.
    """
    try:
        fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return _explain(fd, path.strip("/"), hiding)
    except OSError:
        return ""
    finally:
        os.close(fd)


def _explain(root: int, path: str, hiding: Sequence[str]) -> str:
    rule = _hiding_rule(path, hiding)
    if rule and _exists(root, path):
        return f' (it is there, but the rule "{rule}" of .dockerignore hides it)'
    parent, _, name = path.rpartition("/")
    while parent and not _exists(root, parent):
        parent, _, name = parent.rpartition("/")
    fd = open_in_root(root, parent or ".", _DIRECTORY)
    try:
        names = [one for one in os.listdir(fd) if not _hiding_rule(f"{parent}/{one}".lstrip("/"), hiding)]
    finally:
        os.close(fd)
    near = [f"{parent}/{one}".lstrip("/") for one in _nearest(name, names)]
    return f" (did you mean {' or '.join(near)}?)" if near else ""


def _nearest(name: str, names: Sequence[str]) -> list[str]:
    from difflib import get_close_matches

    folded = {one.lower(): one for one in sorted(names, reverse=True)}
    return [folded[one] for one in get_close_matches(name.lower(), sorted(folded), n=_SHOWN)]


def _exists(root: int, path: str) -> bool:
    try:
        os.close(open_in_root(root, path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def _hiding_rule(path: str, hiding: Sequence[str]) -> str:
    """The last rule that leaves ``path`` out; ``""`` when none does, or a later one takes it back in."""
    if not hiding or not PatternMatcher(hiding).matches(path):
        return ""
    return next(rule for rule in reversed(hiding) if not rule.startswith("!") and PatternMatcher([rule]).matches(path))
