"""Which paths of a walk are wanted: include and exclude patterns together, and paths whose links are followed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from posixpath import basename, dirname, join

from buildkit.core.errors import InvalidInput
from buildkit.fs.patterns import PatternMatcher, State, matcher_of
from buildkit.fs.wildcard import clean, has_wildcard, match

_SPECIAL = frozenset("*[]?^\\")


class Selection:
    """Include and exclude patterns applied to a walk from the top."""

    def __init__(self, include: Sequence[str], exclude: Sequence[str]) -> None:
        self._include = matcher_of("includepatterns", include)
        self._exclude = matcher_of("excludepatterns", exclude)
        self._include_prefixes = _prefixes(self._include, exclusion=False)
        self._exception_prefixes = _prefixes(self._exclude, exclusion=True)

    def judge(self, path: str, is_dir: bool, above: tuple[State, State]) -> tuple[bool, bool, tuple[State, State]]:
        """Whether a path is wanted, whether something below it may be, and the states for what is below it."""
        included, excluded = above
        wanted = True
        enter = is_dir
        if self._include is not None:
            wanted, included = self._include.matches_below(path, included)
            if not wanted and is_dir:
                enter = _may_hold(path, self._include_prefixes)
        if self._exclude is not None and enter | wanted:
            unwanted, excluded = self._exclude.matches_below(path, excluded)
            if unwanted:
                wanted = False
                enter = enter and _may_hold(path, self._exception_prefixes)
        return wanted, enter, (included, excluded)


def follow_paths(paths: Sequence[str], read: Callable[[str], str | list[str] | None]) -> list[str] | None:
    """Every link that ``paths`` (wildcards allowed) lead through and what they end at, sorted; None means everything.

    ``read`` gives a link's target, the names in a directory, or None for anything else.
    """
    found: dict[str, None] = {}
    pending = [clean(path.lstrip("/") or ".") for path in reversed(paths)]
    while pending:
        todo = pending.pop().split("/")
        current = ""
        while True:
            current = clean(join(current, todo.pop(0)))
            targets = _link_targets(current, read)
            if (not todo or targets) and current in found:
                break
            if targets:
                found[current] = None
                pending += [clean("/".join((target, *todo)).lstrip("/") or ".") for target in reversed(targets)]
                break
            if not todo:
                found[current] = None
                break
    ordered = sorted(found)
    if "." in ordered:
        return None
    return ordered


def _link_targets(path: str, read: Callable[[str], str | list[str] | None]) -> list[str]:
    directory, name = dirname(path), basename(path)
    if has_wildcard(name):
        names = read(directory)
        candidates = (
            [join(directory, found) for found in names if _matches(name, found)] if isinstance(names, list) else []
        )
    else:
        candidates = [path]
    targets = []
    for candidate in candidates:
        target = read(candidate)
        if isinstance(target, str):
            targets.append(clean(join("/", dirname(candidate), target)))
    return targets


def _matches(pattern: str, name: str) -> bool:
    try:
        return match(pattern, name)
    except InvalidInput:
        return False


def _prefixes(matcher: PatternMatcher | None, *, exclusion: bool) -> list[str] | None:
    """The patterns that can be compared as plain paths; None if one of them can not."""
    if matcher is None:
        return []
    texts = []
    for pattern in matcher.patterns:
        if pattern.exclusion == exclusion:
            text = pattern.text.removesuffix("/**").removesuffix("/*")
            if not _SPECIAL.isdisjoint(text):
                return None
            texts.append(text + "/")
    return texts


def _may_hold(path: str, prefixes: list[str] | None) -> bool:
    if prefixes is None:
        return True
    below = path + "/"
    return any(prefix.startswith(below) for prefix in prefixes)
