"""Text to nodes: one per instruction, with its flags, arguments, lines and here-documents.

Time and memory are linear in the text. What a keyword means is not known here (see ``grammar``).
"""

from __future__ import annotations

from collections.abc import Iterator

from buildkit.core.goquote import quote
from buildkit.core.values import dataclass, field
from buildkit.frontend.dockerfile import lineform
from buildkit.frontend.dockerfile.directives import DirectiveReader, without_bom
from buildkit.frontend.dockerfile.gotext import lower, quote_list, trim_left_space, trim_space
from buildkit.frontend.dockerfile.heredoc import Heredoc, heredocs_of_line
from buildkit.frontend.dockerfile.location import DockerfileError, Location, lines

MAX_LINE = 65535
"""Bytes in a line."""

_HEREDOC_KEYWORDS = frozenset(("add", "copy", "run"))
_FORMS: dict[str, lineform.LineForm] = {
    "add": lineform.parse_json_or_blank_separated,
    "arg": lineform.parse_names,
    "cmd": lineform.parse_json_or_string,
    "copy": lineform.parse_json_or_blank_separated,
    "entrypoint": lineform.parse_json_or_string,
    "env": lineform.parse_pairs("ENV"),
    "expose": lineform.parse_blank_separated,
    "from": lineform.parse_blank_separated,
    "healthcheck": lineform.parse_healthcheck,
    "label": lineform.parse_pairs("LABEL"),
    "maintainer": lineform.parse_string,
    "run": lineform.parse_json_or_string,
    "shell": lineform.parse_json_or_string,
    "stopsignal": lineform.parse_string,
    "user": lineform.parse_string,
    "volume": lineform.parse_json_or_blank_separated,
    "workdir": lineform.parse_string,
}
_UNKNOWN = lineform.Arguments(("",))
_MAX_TRIGGERS = 100


@dataclass(frozen=True, slots=True)
class Node:
    """One instruction as written. ``trigger`` is the instruction inside ONBUILD; ``comments`` stand directly above."""

    keyword: str
    original: str
    flags: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    json: bool = False
    trigger: Node | None = None
    comments: tuple[str, ...] = ()
    heredocs: tuple[Heredoc, ...] = ()
    start_line: int = 0
    end_line: int = 0

    @property
    def location(self) -> Location:
        """The lines of the instruction, here-documents included."""
        return lines(self.start_line, self.end_line)

    def dump(self) -> str:
        """One line in Lisp's manner, for debugging and tests."""
        parts = [lower(self.keyword)]
        if self.flags:
            parts.append(quote_list(self.flags))
        if self.trigger is not None:
            parts.append(f"({self.trigger.dump()})")
        parts += map(quote, self.arguments)
        return trim_space(" ".join(parts))


@dataclass(frozen=True, slots=True)
class Continuation:
    """An instruction continued over an empty line, which will be an error some day; ``line`` is its last."""

    line: int
    text: str


@dataclass(frozen=True, slots=True)
class Dockerfile:
    """The nodes of a file, its escape character, and what is to be warned about."""

    nodes: tuple[Node, ...]
    escape: str = "\\"
    empty_continuations: tuple[Continuation, ...] = field(default=())

    def dump(self) -> str:
        """Every node on a line of its own."""
        return trim_space("".join(f"({node.dump()})\n" for node in self.nodes))


def decode(content: bytes) -> str:
    """The text of a file; bytes that are not UTF-8 become surrogate escapes."""
    return content.decode("utf-8", "surrogateescape")


def encode(text: str) -> bytes:
    """The bytes that `decode` was given."""
    return text.encode("utf-8", "surrogateescape")


def parse(text: str) -> Dockerfile:
    """Parse a Dockerfile; raises `DockerfileError`."""
    return _Parser(text).parse()


class _LineTooLong(Exception):
    pass


class _Parser:
    def __init__(self, text: str) -> None:
        self._lines = _lines_of(text)
        self._line = 0
        self._directives = DirectiveReader()
        self._escape = "\\"
        self._comments: list[str] = []
        self._nodes: list[Node] = []
        self._continuations: list[Continuation] = []
        self._too_long = False

    def parse(self) -> Dockerfile:
        while (raw := self._next()) is not None:
            self._read_instruction(without_bom(raw) if self._line == 1 else raw)
        here = lines(self._line, self._line)
        if not self._nodes:
            raise DockerfileError("file with no instructions", here)
        if self._too_long:
            raise DockerfileError(f"dockerfile line greater than max allowed size of {MAX_LINE}", here)
        return Dockerfile(tuple(self._nodes), self._escape, tuple(self._continuations))

    def _next(self) -> str | None:
        """The next line with its end; None at the end of the text or before a line that is too long."""
        try:
            line = next(self._lines, None)
        except _LineTooLong:
            self._too_long = True
            return None
        self._line += line is not None
        return line

    def _read_instruction(self, raw: str) -> None:
        stripped = trim_left_space(raw.rstrip("\r\n"))
        if not self._read_directive(stripped) and stripped.startswith("#"):
            self._add_comment(raw)
        if stripped.startswith("#"):
            return
        start = self._line
        text, continued = self._cut_continuation(stripped)
        if not text and not continued:
            return
        text = self._join(text) if continued else text
        try:
            node = self._make_node(text, start)
        except DockerfileError as error:
            raise error.at(lines(start, self._line)) from None
        self._nodes.append(node)
        self._comments.clear()

    def _add_comment(self, raw: str) -> None:
        comment = trim_space(raw[1:] if raw.isascii() else decode(encode(raw)[1:]))
        if comment:
            self._comments.append(comment)
        else:
            self._comments.clear()

    def _read_directive(self, line: str) -> bool:
        if self._directives.finished:
            return False
        try:
            directive = self._directives.read(line)
            if directive is not None and directive.name == "escape":
                if directive.value not in ("\\", "`"):
                    raise DockerfileError(f"invalid escape token '{directive.value}' does not match ` or \\")
                self._escape = directive.value
        except DockerfileError as error:
            raise error.at(lines(self._line - 1, self._line - 1)) from None
        return directive is not None

    def _join(self, first: str) -> str:
        """Append the lines that continue the instruction; comments and empty lines between them are dropped."""
        pieces = [first]
        empty_line = False
        continued = True
        while continued and (raw := self._next()) is not None:
            line = raw.rstrip("\r\n")
            stripped = trim_left_space(line)
            if not stripped:
                empty_line = True
            elif not stripped.startswith("#"):
                line, continued = self._cut_continuation(line)
                pieces.append(line)
        text = "".join(pieces)
        if empty_line:
            self._continuations.append(Continuation(self._line, text))
        return text

    def _cut_continuation(self, line: str) -> tuple[str, bool]:
        trimmed = line.rstrip("\t ")
        if not trimmed.endswith(self._escape) or trimmed[-2:-1] == self._escape:
            return line, False
        return trimmed[:-1], True

    def _make_node(self, text: str, start: int) -> Node:
        node = _node(text, self._escape, tuple(self._comments))
        heredocs: tuple[Heredoc, ...] = ()
        if "<<" in text and _may_have_heredocs(node):
            heredocs = tuple(self._read_heredoc(heredoc) for heredoc in heredocs_of_line(text))
        return _placed(node, heredocs, start, self._line)

    def _read_heredoc(self, heredoc: Heredoc) -> Heredoc:
        content: list[str] = []
        while (raw := self._next()) is not None:
            if heredoc.ends_at(raw.rstrip("\r\n")):
                return heredoc.filled("".join(content))
            content.append(raw)
        raise DockerfileError("unterminated heredoc")


def _lines_of(text: str) -> Iterator[str]:
    for line in text.split("\n")[:-1]:
        if len(line) * 4 > MAX_LINE and len(encode(line)) > MAX_LINE:
            raise _LineTooLong
        yield line + "\n"
    last = text[text.rfind("\n") + 1 :]
    if len(encode(last)) > MAX_LINE:
        raise _LineTooLong
    if last:
        yield last


def _node(text: str, escape: str, comments: tuple[str, ...] = (), depth: int = 0) -> Node:
    keyword, flags, rest = lineform.split_command(text, escape)
    name = lower(keyword)
    if name == "onbuild" and depth < _MAX_TRIGGERS:
        trigger = _node(rest, escape, depth=depth + 1) if rest else None
        return Node(keyword, text, flags, trigger=trigger, comments=comments)
    form = _FORMS.get(name)
    arguments = form(rest, escape) if form else _UNKNOWN
    return Node(keyword, text, flags, arguments.values, arguments.json, comments=comments)


def _may_have_heredocs(node: Node) -> bool:
    if lower(node.keyword) == "onbuild" and node.trigger is not None:
        node = node.trigger
    return lower(node.keyword) in _HEREDOC_KEYWORDS and not node.json


def _placed(node: Node, heredocs: tuple[Heredoc, ...], start: int, end: int) -> Node:
    return Node(
        node.keyword,
        node.original,
        node.flags,
        node.arguments,
        node.json,
        node.trigger,
        node.comments,
        heredocs,
        start,
        end,
    )
