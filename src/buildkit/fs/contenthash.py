"""Digests of parts of a tree as BuildKit's content cache keys use them, remembered per tree.

A directory is the list of its names and their digests, its own header first; a selection by wildcard or patterns is
the list of what it selects. Nothing is read before it is asked for, and nothing twice.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Iterator, Sequence

from buildkit.core import digest as digests
from buildkit.core.digest import Digest
from buildkit.core.errors import BuildkitError, FailedPrecondition, NotFound
from buildkit.core.values import dataclass
from buildkit.fs.filehash import Memory, hash_directory_header, hash_file
from buildkit.fs.patterns import PatternMatcher, State, matcher_of
from buildkit.fs.tree import open_beneath, walk
from buildkit.fs.wildcard import clean, has_wildcard, match

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_LINKS = 255


class Missing(NotFound):
    """A path that a tree does not have."""

    def __init__(self, path: str) -> None:
        super().__init__(f'"{path}": not found')
        self.path = path


@dataclass(frozen=True, slots=True)
class Selector:
    """Which part of a tree counts. ``path`` may hold wildcards if ``wildcard``; the patterns are relative to it."""

    path: str = "/"
    wildcard: bool = False
    follow_links: bool = False
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    required: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Listed:
    """A file as it was listed: its path relative to the root, its own status and owner, what a link points to.

    ``digest`` is empty as long as nothing needed it.
    """

    path: str
    status: os.stat_result
    link: str
    digest: Digest


class _Node:
    """One file; ``children`` of a directory are None until it is listed."""

    __slots__ = ("children", "digest", "header", "link", "status")

    def __init__(self, status: os.stat_result, link: str) -> None:
        self.status = status
        self.link = link
        self.children: dict[str, _Node] | None = None
        self.digest: Digest = ""
        self.header: Digest = ""

    @property
    def is_dir(self) -> bool:
        return stat.S_ISDIR(self.status.st_mode)

    @property
    def is_link(self) -> bool:
        return stat.S_ISLNK(self.status.st_mode)


class ContentTree:
    """The digests of one tree, for as long as the tree does not change.

    A local directory is hashed as its sender describes it: ``owner`` replaces owners, ``root_header`` the header of
    the root (a sender does not describe it: `buildkit.core.digest.EMPTY`), and only what the patterns select is there.
    ``memory`` carries digests of files over to the next tree.
    """

    def __init__(
        self,
        root: str | int,
        *,
        owner: tuple[int, int] | None = None,
        root_header: Digest = "",
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        follow: Sequence[str] = (),
        memory: Memory | None = None,
    ) -> None:
        plain = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        self._root_fd = os.open(root, plain) if isinstance(root, str) else os.open(".", plain, dir_fd=root)
        self._owner = owner
        self._memory = memory
        self._root = _Node(os.fstat(self._root_fd), "")
        self._root.header = root_header
        if include or exclude or follow:
            self._scan(include, exclude, follow)

    def close(self) -> None:
        """Close the tree; digests already computed are still given."""
        if self._root_fd >= 0:
            os.close(self._root_fd)
            self._root_fd = -1

    def __enter__(self) -> ContentTree:
        return self

    def __exit__(self, *args: object) -> None:
        self.close()

    def digest(self, selector: Selector) -> Digest:
        """The digest of one selector; raises `Missing` for a missing path without wildcards."""
        path = clean("/" + selector.path)
        if not selector.wildcard and not selector.include and not selector.exclude:
            return self._digest_path(_key_path(path), selector.follow_links)
        prefix, selected = self._select(path, selector)
        if not selected:
            return digests.EMPTY
        if len(selected) == 1 and posixpath.basename(path.rstrip("/")) == posixpath.basename(selected[0].path):
            return self._selected_digest(selected[0], selector)
        parts: list[bytes] = []
        for item in selected:
            key = item.path.removeprefix(prefix)
            parts.append(os.fsencode(key or "/").replace(b"/", b"\0") + self._selected_digest(item, selector).encode())
        return digests.sha256(b"".join(parts))

    def digest_all(self, selectors: Sequence[Selector]) -> Digest:
        """The digest of a list of selectors, which is what a cache key holds; none at all means the whole tree."""
        found = [self.digest(selector) for selector in selectors or (Selector(),)]
        return digests.sha256("\0".join(found).encode())

    def listed(self, selectors: Sequence[Selector]) -> Iterator[Listed]:
        """The files that `digest_all` of these selectors has seen, each with its digest."""
        for selector in selectors or (Selector(),):
            for path, node in self._seen(selector):
                yield Listed(path[1:], node.status, node.link, node.digest)

    def _seen(self, selector: Selector) -> Iterator[tuple[str, _Node]]:
        path = clean("/" + selector.path)
        if not selector.wildcard and not selector.include and not selector.exclude:
            whole = [self._find(_key_path(path), follow_last=selector.follow_links)]
        else:
            whole = []
            for item in self._select(path, selector)[1]:
                if item.follow and item.node.is_link:
                    whole.append(self._find(item.path, follow_last=True))
                else:
                    yield item.real, item.node
        for place, node in whole:
            for found, one, is_header in self._records(place, node):
                if found and not is_header:
                    yield found, one

    def files(self) -> Iterator[Listed]:
        """Everything below the root, parents first, as it was listed when it was first looked at."""
        for path, node, is_header in self._records("", self._root):
            if path and not is_header:
                yield Listed(path[1:], node.status, node.link, node.digest)

    def find(self, path: str) -> Listed | None:
        """What a path leads to, with links followed inside the tree; None when there is nothing."""
        found, node = self._find(path, follow_last=True)
        return Listed(found[1:], node.status, node.link, node.digest) if node is not None else None

    def look(self, path: str) -> Listed | None:
        """What is at a path, links not followed; None when there is nothing."""
        found, node = self._find(path, follow_last=False)
        return Listed(found[1:], node.status, node.link, node.digest) if node is not None else None

    def below(self, path: str) -> list[tuple[str, os.stat_result]]:
        """Names and statuses of what a directory holds, sorted by name."""
        found, node = self._find(path, follow_last=False)
        if node is None or not node.is_dir:
            return []
        return [(name, child.status) for name, child in self._children(node, found).items()]

    def _scan(self, include: Sequence[str], exclude: Sequence[str], follow: Sequence[str]) -> None:
        nodes = {"": self._root}
        self._root.children = {}
        for entry in walk(self._root_fd, include=include, exclude=exclude, follow=follow):
            node = _Node(entry.stat, entry.link_target)
            if node.is_dir:
                nodes[entry.path] = node
                node.children = {}
            siblings = nodes[posixpath.dirname(entry.path)].children
            if siblings is not None:
                siblings[entry.name] = node

    def _children(self, node: _Node, path: str, fd: int = -1) -> dict[str, _Node]:
        """What a directory holds, sorted by name; read at the first call."""
        if node.children is None:
            own = fd if fd >= 0 else self._open(path)
            try:
                names = os.listdir(own)
                names.sort(key=os.fsencode)
                found = {}
                for name in names:
                    status = os.stat(name, dir_fd=own, follow_symlinks=False)
                    found[name] = _Node(status, os.readlink(name, dir_fd=own) if stat.S_ISLNK(status.st_mode) else "")
                node.children = found
            finally:
                if fd < 0:
                    os.close(own)
        return node.children

    def _open(self, path: str) -> int:
        return open_beneath(self._root_fd, path.strip("/") or ".", _DIRECTORY)

    def _find(self, path: str, *, follow_last: bool) -> tuple[str, _Node | None]:
        """Where a path leads, with links followed inside the tree, and what is there."""
        todo = path.split("/")[::-1]
        done: list[str] = []
        node: _Node | None = self._root
        links = 0
        while todo:
            part = todo.pop()
            if part in ("", "."):
                continue
            if part == "..":
                del done[-1:]
                node = self._lookup(done)
                continue
            here = "/".join(done)
            done.append(part)
            node = self._children(node, here).get(part) if node is not None and node.is_dir else None
            if node is None or not node.is_link or (not follow_last and not any(todo)):
                continue
            links += 1
            if links > _MOST_LINKS:
                raise FailedPrecondition(f'"{path}": too many links')
            target = node.link
            todo += target.split("/")[::-1]
            done = [] if target.startswith("/") else done[:-1]
            node = self._lookup(done)
        return "".join("/" + part for part in done), node

    def _lookup(self, parts: Sequence[str]) -> _Node | None:
        node: _Node | None = self._root
        for depth, part in enumerate(parts):
            if node is None or not node.is_dir:
                return None
            node = self._children(node, "/".join(parts[:depth])).get(part)
        return node

    def _digest_path(self, path: str, follow: bool) -> Digest:
        found, node = self._find(path, follow_last=follow)
        if node is None:
            raise Missing(path)
        return self._digest_node(found, node)

    def _digest_node(self, path: str, node: _Node) -> Digest:
        if not node.digest:
            if node.is_dir:
                fd = self._open(path)
                try:
                    self._digest_directory(node, fd, path)
                finally:
                    os.close(fd)
            else:
                directory, _, name = path.rpartition("/")
                fd = self._open(directory)
                try:
                    self._digest_file(node, name, fd, path)
                finally:
                    os.close(fd)
        return node.digest

    def _digest_file(self, node: _Node, name: str, fd: int, path: str) -> Digest:
        try:
            node.digest = hash_file(name, fd, node.status, node.link, owner=self._owner, memory=self._memory)
        except BuildkitError as error:
            error.message = f"{path}: changed while it was read"
            raise
        except OSError as error:
            raise FailedPrecondition(f"{path}: cannot be read: {error.strerror}") from error
        return node.digest

    def _digest_header(self, path: str, node: _Node) -> Digest:
        if not node.header:
            fd = self._open(path)
            try:
                node.header = hash_directory_header(fd, node.status, owner=self._owner)
            finally:
                os.close(fd)
        return node.header

    def _digest_directory(self, node: _Node, fd: int, path: str) -> None:
        """Hash everything below a directory, depth first, without recursion."""
        frames = [self._frame(node, os.dup(fd), path)]
        try:
            while frames:
                frame = frames[-1]
                for name, child in frame.left:
                    if not child.digest:
                        below = f"{frame.path}/{name}"
                        if child.is_dir:
                            # comes back to the next name once this directory is done
                            frame.pending = name, child
                            frames.append(self._frame(child, os.open(name, _DIRECTORY, dir_fd=frame.fd), below))
                            break
                        self._digest_file(child, name, frame.fd, below)
                    frame.parts.append(f"\0{name}{child.digest}")
                else:
                    frame.node.digest = digests.sha256(os.fsencode("".join(frame.parts)))
                    os.close(frame.fd)
                    frames.pop()
                    if frames and frames[-1].pending is not None:
                        name, child = frames[-1].pending
                        frames[-1].parts.append(f"\0{name}{child.digest}")
        except FileNotFoundError as error:
            raise FailedPrecondition(f"{frames[-1].path}: changed while it was read") from error
        finally:
            for frame in frames:
                os.close(frame.fd)

    def _frame(self, node: _Node, fd: int, path: str) -> _Frame:
        try:
            if not node.header:
                node.header = hash_directory_header(fd, node.status, owner=self._owner)
            return _Frame(node, fd, path, iter(self._children(node, path, fd).items()))
        except BaseException:
            os.close(fd)
            raise

    def _select(self, path: str, selector: Selector) -> tuple[str, list[_Selected]]:
        """What a wildcard or patterns select, in order, and the prefix to cut off the paths."""
        whole = path == "/"
        wanted = _key_path(path)
        include = matcher_of("includepatterns", selector.include)
        exclude = matcher_of("excludepatterns", selector.exclude)
        if selector.wildcard:
            fixed, rest = _split_wildcards(wanted)
            prefix = fixed
            place, node = self._find(fixed, follow_last=bool(rest)) if fixed else ("", self._root)
        else:
            prefix = wanted
            place, node = self._find(wanted, follow_last=False)
        selected: list[_Selected] = []
        above: list[_Selected] = []
        matched_dir = ""
        for real, found, is_header in self._records(place, node):
            shown = prefix + real.removeprefix(place)
            while above and not shown.startswith(above[-1].path + "/"):
                above.pop()
            if is_header and whole and shown == wanted:
                continue
            parent = above[-1] if above else None
            item = _Selected(shown, real, found, is_header, parent is None and selector.follow_links)
            if selector.wildcard:
                if wanted and (not matched_dir or not shown.startswith(matched_dir + "/")):
                    if not match(wanted, shown):
                        continue
                    matched_dir = shown
                base = matched_dir
            else:
                base = wanted
            relative = (shown + "/").removeprefix(base + "/").removesuffix("/")
            chosen = item.judge(relative, include, exclude, parent)
            if found.is_dir and not is_header:
                continue
            if chosen:
                for directory in above:
                    if not directory.included:
                        directory.included = True
                        selected.append(directory)
                item.included = True
                selected.append(item)
            if is_header:
                above.append(item)
        for required in selector.required:
            if not any(item.path.startswith(required) for item in selected):
                raise Missing(required)
        return prefix, selected

    def _records(self, place: str, node: _Node | None) -> Iterator[tuple[str, _Node, bool]]:
        """A file and all below it, in key order; directories twice, as themselves and as their header."""
        if node is None:
            return
        stack = [(place, node)]
        while stack:
            path, found = stack.pop()
            yield path, found, False
            if found.is_dir:
                yield path, found, True
                children = self._children(found, path)
                stack += [(f"{path}/{name}", child) for name, child in reversed(children.items())]

    def _selected_digest(self, item: _Selected, selector: Selector) -> Digest:
        if item.is_header:
            return self._digest_header(item.real, item.node)
        if item.follow and item.node.is_link:
            return self._digest_path(item.path, selector.follow_links)
        return self._digest_node(item.real, item.node)


class _Frame:
    __slots__ = ("fd", "left", "node", "parts", "path", "pending")

    def __init__(self, node: _Node, fd: int, path: str, left: Iterator[tuple[str, _Node]]) -> None:
        self.node = node
        self.fd = fd
        self.path = path
        self.left = left
        self.parts = ["\0" + node.header]
        self.pending: tuple[str, _Node] | None = None


class _Selected:
    """A candidate of a selection: ``path`` as asked for, ``real`` as it is in the tree."""

    __slots__ = ("excluded", "follow", "included", "inclusion", "is_header", "node", "path", "real")

    def __init__(self, path: str, real: str, node: _Node, is_header: bool, follow: bool) -> None:
        self.path = path
        self.real = real
        self.node = node
        self.is_header = is_header
        self.follow = follow
        self.included = False
        self.inclusion: State = ()
        self.excluded: State = ()

    def judge(
        self,
        relative: str,
        include: PatternMatcher | None,
        exclude: PatternMatcher | None,
        parent: _Selected | None,
    ) -> bool:
        if include is not None:
            wanted, self.inclusion = include.matches_below(relative, parent.inclusion if parent else ())
            if not wanted:
                return False
        if exclude is not None:
            unwanted, self.excluded = exclude.matches_below(relative, parent.excluded if parent else ())
            return not unwanted
        return True


def _key_path(path: str) -> str:
    cleaned = posixpath.normpath("/" + path)
    cleaned = "/" + cleaned.lstrip("/")
    return "" if cleaned == "/" else cleaned


def _split_wildcards(path: str) -> tuple[str, str]:
    """The leading names without wildcards (empty for none), and the rest."""
    names = path.split("/")
    for place, name in enumerate(names):
        if has_wildcard(name):
            return "/".join(names[:place]), "/".join(names[place:])
    return path, ""
