"""FileOp: copies, directories, files, links and removals, made without a container."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypedDict, Unpack

from buildkit.core.errors import InvalidInput
from buildkit.core.values import dataclass, replace
from buildkit.llb import caps
from buildkit.llb.constraints import Constraints, refuse_unknown
from buildkit.llb.paths import clean, join
from buildkit.llb.settings import Filesystem
from buildkit.llb.vertex import Encoded, Marshalling, Output

if TYPE_CHECKING:
    from buildkit.api import ops as pb

_NOTHING = -1
UserId: TypeAlias = int | str


@dataclass(frozen=True, slots=True)
class Owner:
    """Whom a file belongs to: numbers, or names looked up in the filesystem that is changed. None is not given."""

    user: UserId | None = None
    group: UserId | None = None


def parse_owner(text: str) -> Owner:
    """``user[:group]``; ``root`` and numbers are ids."""
    user, colon, group = text.partition(":")
    return Owner(_parse_id(user), _parse_id(group) if colon else None)


def _parse_id(text: str) -> UserId:
    if text == "root":
        return 0
    digits = text[1:] if text[:1] in ("+", "-") else text
    if digits.isascii() and digits.isdigit() and -(2**31) <= (number := int(text)) < 2**31:
        return number
    return text


@dataclass(frozen=True, slots=True)
class Mkdir:
    """Make a directory; times are in ns since 1970, None is now."""

    path: str
    mode: int
    parents: bool
    owner: Owner | None
    created: int | None


@dataclass(frozen=True, slots=True)
class Mkfile:
    """Write a file."""

    path: str
    mode: int
    content: bytes
    owner: Owner | None
    created: int | None


@dataclass(frozen=True, slots=True)
class Symlink:
    """Make a symbolic link at ``new`` that says ``old``."""

    old: str
    new: str
    owner: Owner | None
    created: int | None


@dataclass(frozen=True, slots=True)
class Rm:
    """Remove a file or a tree."""

    path: str
    allow_not_found: bool
    allow_wildcard: bool


@dataclass(frozen=True, slots=True)
class Copy:
    """Copy out of another filesystem, or out of what another chain of actions made."""

    source: Filesystem | FileAction
    src: str
    dest: str
    owner: Owner | None = None
    mode: int | str | None = None
    follow_symlinks: bool = False
    contents_only: bool = False
    unpack: bool = False
    create_parents: bool = False
    allow_wildcard: bool = False
    allow_empty_wildcard: bool = False
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    always_replace: bool = False
    created: int | None = None

    def full_source(self) -> str:
        """The path in the source's filesystem."""
        path = clean(self.src)
        if path.startswith("/"):
            return path
        state = self.source.state if isinstance(self.source, FileAction) else self.source
        return join(state.settings.dir if state is not None else "/", path)


class CopyOptions(TypedDict, total=False):
    """How `copy` copies."""

    owner: Owner | None
    mode: int | str | None
    """A number, or a string as for chmod."""
    follow_symlinks: bool
    contents_only: bool
    """Of a directory, copy what is in it and not itself."""
    unpack: bool
    """Extract archives."""
    create_parents: bool
    allow_wildcard: bool
    allow_empty_wildcard: bool
    include: Sequence[str]
    exclude: Sequence[str]
    """Patterns as in ``.dockerignore``."""
    required: Sequence[str]
    """Paths that must exist."""
    always_replace: bool
    created: int | None


Action: TypeAlias = Mkdir | Mkfile | Symlink | Rm | Copy


@dataclass(frozen=True, slots=True, eq=False)
class FileAction:
    """One change after all of ``previous``; make the first with the functions of this module."""

    action: Action
    previous: FileAction | None = None
    state: Filesystem | None = None
    """The filesystem that the chain starts from, once it is known."""

    def mkdir(self, path: str, mode: int = 0o755, *, parents: bool = False, owner: Owner | None = None,
              created: int | None = None) -> FileAction:  # fmt: skip
        """Then make a directory."""
        return replace(mkdir(path, mode, parents=parents, owner=owner, created=created), previous=self)

    def mkfile(self, path: str, content: bytes | str, mode: int = 0o644, *, owner: Owner | None = None,
               created: int | None = None) -> FileAction:  # fmt: skip
        """Then write a file."""
        return replace(mkfile(path, content, mode, owner=owner, created=created), previous=self)

    def symlink(self, old: str, new: str, *, owner: Owner | None = None, created: int | None = None) -> FileAction:
        """Then make a symbolic link at ``new`` that says ``old``."""
        return replace(symlink(old, new, owner=owner, created=created), previous=self)

    def rm(self, path: str, *, allow_not_found: bool = False, allow_wildcard: bool = False) -> FileAction:
        """Then remove something."""
        return replace(rm(path, allow_not_found=allow_not_found, allow_wildcard=allow_wildcard), previous=self)

    def copy(self, source: Filesystem | FileAction, src: str, dest: str, **options: Unpack[CopyOptions]) -> FileAction:
        """Then copy; see `copy`."""
        return replace(copy(source, src, dest, **options), previous=self)

    def then(self, action: Action) -> FileAction:
        """Then do ``action``."""
        return FileAction(action, self)

    def on(self, state: Filesystem) -> FileAction:
        """The chain applied to ``state``, as a source to copy from."""
        first, *others = self.chain()
        out = FileAction(first.action, None, state)
        for link in others:
            out = FileAction(link.action, out, state)
        return out

    def chain(self) -> list[FileAction]:
        """All actions, first to last."""
        links = [self]
        while (previous := links[-1].previous) is not None:
            links.append(previous)
        return links[::-1]


def mkdir(path: str, mode: int = 0o755, *, parents: bool = False, owner: Owner | None = None,
          created: int | None = None) -> FileAction:  # fmt: skip
    """Make a directory (``parents``: and those above); only the lowest nine bits of ``mode`` count."""
    return FileAction(Mkdir(path, mode, parents, owner, created))


def mkfile(path: str, content: bytes | str, mode: int = 0o644, *, owner: Owner | None = None,
           created: int | None = None) -> FileAction:  # fmt: skip
    """Write a file."""
    content = content.encode() if isinstance(content, str) else content
    return FileAction(Mkfile(path, mode, content, owner, created))


def symlink(old: str, new: str, *, owner: Owner | None = None, created: int | None = None) -> FileAction:
    """Make a symbolic link at ``new`` that says ``old``."""
    return FileAction(Symlink(old, new, owner, created))


def rm(path: str, *, allow_not_found: bool = False, allow_wildcard: bool = False) -> FileAction:
    """Remove a file or a tree."""
    return FileAction(Rm(path, allow_not_found, allow_wildcard))


def copy(source: Filesystem | FileAction, src: str, dest: str, **options: Unpack[CopyOptions]) -> FileAction:
    """Copy ``src`` of a state, or of a chain of actions bound with `FileAction.on`, to ``dest``."""
    return FileAction(Copy(source, src, dest, **_copy_fields(options)))


def _copy_fields(options: CopyOptions) -> dict[str, Any]:
    refuse_unknown(options, CopyOptions.__optional_keys__)
    fields: dict[str, Any] = dict(options)
    for key in ("include", "exclude", "required"):
        if key in fields:
            fields[key] = tuple(fields[key])
    return fields


class _Step(NamedTuple):
    action: Action
    dir: str
    base: int
    """Position of the changed filesystem's origin, where names of owners are looked up."""
    input: int
    source: int


class FileOp:
    """A vertex that performs a chain of file actions."""

    def __init__(self, state: Filesystem, action: FileAction, constraints: Constraints) -> None:
        self._action = action.on(state)
        self.constraints = constraints.requiring(caps.FILE_BASE)

    def inputs(self) -> Sequence[Output]:
        """Filesystems that are changed or copied from, last action first."""
        found: dict[Output, None] = {}
        todo: list[FileAction | None] = [self._action]
        while todo:
            link = todo.pop()
            if link is None:
                continue
            if link.state is not None and link.state.output is not None:
                found.setdefault(link.state.output)
            todo.append(link.previous)
            if isinstance(link.action, Copy):
                source = link.action.source
                if isinstance(source, FileAction):
                    todo.append(source)
                elif source.output is not None:
                    found.setdefault(source.output)
        return list(found)

    def encode(self, marshalling: Marshalling) -> Encoded:
        """See `Vertex.encode`."""
        op = marshalling.op(self.constraints, platform=False)
        steps = _Plan(op, marshalling).steps_of(self._action)
        last = len(steps) - 1
        for number, step in enumerate(steps):
            message = op.file.actions.add(
                input=_index(step.input, len(op.inputs)),
                secondaryInput=_index(step.source, len(op.inputs)),
                output=0 if number == last else _NOTHING,
            )
            _write(message, step)
        return marshalling.finish(op, self.constraints)


def _index(position: int, inputs: int) -> int:
    return position if position >= _NOTHING else inputs + (-position - 2)


class _Plan:
    """Puts actions in order and numbers what they read: inputs of the op from 0, earlier actions as -2 and below."""

    def __init__(self, op: pb.Op, marshalling: Marshalling) -> None:
        self._op = op
        self._marshalling = marshalling
        self._positions: dict[tuple[str, int], int] = {}
        self._numbers: dict[FileAction, int] = {}
        self._steps: list[_Step] = []

    def steps_of(self, action: FileAction) -> list[_Step]:
        self._add(action)
        return self._steps

    def _add(self, last: FileAction) -> int:
        for link in last.chain():
            if link not in self._numbers:
                self._add_one(link)
        return self._numbers[last]

    def _add_one(self, link: FileAction) -> None:
        base = self._position(link.state)
        reads = base if link.previous is None else -2 - self._numbers[link.previous]
        source = _NOTHING
        if isinstance(link.action, Copy):
            origin = link.action.source
            if not isinstance(origin, FileAction):
                source = self._position(origin)
            elif origin.state is None:
                raise InvalidInput("invalid empty source for copy")
            else:
                source = -2 - self._add(origin)
        self._numbers[link] = len(self._steps)
        directory = link.state.settings.dir if link.state is not None else ""
        self._steps.append(_Step(link.action, directory, base, reads, source))

    def _position(self, state: Filesystem | None) -> int:
        if state is None or state.output is None:
            return _NOTHING
        reference = self._marshalling.input(state.output)
        position = self._positions.setdefault((reference.digest, reference.index), len(self._positions))
        if position == len(self._op.inputs):
            self._op.inputs.append(reference)
        return position


def _write(message: pb.FileAction, step: _Step) -> None:
    action = step.action
    if isinstance(action, Copy):
        _write_copy(message.copy, action, step)
    elif isinstance(action, Mkfile):
        mkfile = message.mkfile
        mkfile.path = placed(step.dir, action.path)
        mkfile.mode = action.mode & 0o777
        mkfile.data = action.content
        mkfile.timestamp = _time(action.created)
        _write_owner(mkfile, action.owner, step.base)
    elif isinstance(action, Mkdir):
        mkdir = message.mkdir
        mkdir.path = placed(step.dir, action.path)
        mkdir.mode = action.mode & 0o777
        mkdir.makeParents = action.parents
        mkdir.timestamp = _time(action.created)
        _write_owner(mkdir, action.owner, step.base)
    elif isinstance(action, Symlink):
        link = message.symlink
        link.oldpath, link.newpath = action.old, action.new
        link.timestamp = _time(action.created)
        _write_owner(link, action.owner, step.base)
    else:
        message.rm.path = placed(step.dir, action.path)
        message.rm.allowNotFound, message.rm.allowWildcard = action.allow_not_found, action.allow_wildcard


def _write_copy(message: pb.FileActionCopy, action: Copy, step: _Step) -> None:
    message.src = action.full_source()
    message.dest = placed(step.dir, action.dest, keep_slash=True)
    message.include_patterns.extend(action.include)
    message.exclude_patterns.extend(action.exclude)
    message.required_paths.extend(action.required)
    message.allowWildcard = action.allow_wildcard
    message.allowEmptyWildcard = action.allow_empty_wildcard
    message.followSymlink = action.follow_symlinks
    message.dirCopyContents = action.contents_only
    message.attemptUnpackDockerCompatibility = action.unpack
    message.createDestPath = action.create_parents
    message.alwaysReplaceExistingDestPaths = action.always_replace
    message.timestamp = _time(action.created)
    if isinstance(action.mode, str):
        message.modeStr = action.mode
    else:
        message.mode = -1 if action.mode is None else action.mode
    _write_owner(message, action.owner, step.base)


def _write_owner(
    message: pb.FileActionCopy | pb.FileActionMkFile | pb.FileActionMkDir | pb.FileActionSymlink,
    owner: Owner | None,
    base: int,
) -> None:
    if owner is None:
        return
    message.owner.SetInParent()
    for target, who in ((message.owner.user, owner.user), (message.owner.group, owner.group)):
        if isinstance(who, str) and who:
            target.byName.name, target.byName.input = who, base
        elif who is not None:
            target.byID = int(who or 0) % 2**32


def _time(created: int | None) -> int:
    return -1 if created is None else created


def placed(parent: str, path: str, *, keep_slash: bool = False) -> str:
    """``path`` below ``parent`` unless absolute; ``keep_slash`` keeps an ending ``/`` or ``/.``."""
    out = clean(path)
    if not out.startswith("/"):
        out = join("/", parent, out)
    if keep_slash:
        if path.endswith("/"):
            out = out if out.endswith("/") else out + "/"
        elif path.endswith("/."):
            out = (out if out == "/" else out + "/") + "."
    return out
