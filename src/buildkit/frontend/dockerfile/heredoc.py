"""Here-documents: ``<<NAME`` words and the text that follows their line."""

from __future__ import annotations

import re

from buildkit.core.values import dataclass, replace
from buildkit.frontend.dockerfile.location import DockerfileError
from buildkit.frontend.dockerfile.shell import Expansion, ExpansionError, Lexer

_FORM = re.compile(r"([0-9]*)<<(-?)[\t\n\f\r ]*([^<]*)\Z")
_LEADING_TABS = re.compile(r"^\t+", re.MULTILINE)
_MAX_DESCRIPTOR = (1 << 64) - 1
_LINE_LEXER = Lexer(keep_quotes=True, keep_escapes=True, keep_unset=True)
_NAME_LEXER = Lexer(keep_unset=True)
_RAW_NAME_LEXER = Lexer(keep_unset=True, keep_quotes=True)


@dataclass(frozen=True, slots=True)
class Heredoc:
    """``[descriptor]<<[-]name`` and its text; ``expand`` is False when the name was quoted, ``chomp`` for ``<<-``."""

    name: str
    descriptor: int
    expand: bool
    chomp: bool
    content: str = ""

    @property
    def chomped(self) -> str:
        """The content without the tabs that begin its lines, when the document asks for that."""
        return _LEADING_TABS.sub("", self.content) if self.chomp else self.content

    def ends_at(self, line: str) -> bool:
        """Whether this line, without its end, is the terminator."""
        return (line.lstrip("\t") if self.chomp else line) == self.name

    def filled(self, content: str) -> Heredoc:
        """The same document with its text."""
        return replace(self, content=content)


def parse_heredoc(word: str) -> Heredoc | None:
    """Read one word; None if it is no here-document. Raises `DockerfileError` when its name cannot be read."""
    match = _FORM.match(word)
    if match is None or not match[3]:
        return None
    names = _NAME_LEXER.split(match[3], {})
    if len(names) != 1:
        return None
    raw_names = _RAW_NAME_LEXER.split(match[3], {})
    if len(raw_names) != 1:
        raise DockerfileError(f"internal lexing of heredoc produced inconsistent results: {match[3]}")
    digits = match[1].lstrip("0")
    descriptor = int(digits or "0") if len(digits) <= 20 else _MAX_DESCRIPTOR
    expand = _quotes(names[0]) == _quotes(raw_names[0])
    return Heredoc(names[0], min(descriptor, _MAX_DESCRIPTOR), expand, match[2] == "-")


def find_heredoc(word: str) -> Heredoc | None:
    """Like `parse_heredoc`; None too when the name cannot be read."""
    try:
        return parse_heredoc(word)
    except DockerfileError:
        return None


def heredocs_of_line(line: str) -> list[Heredoc]:
    """The here-documents that a line announces, in order; none when the line cannot be read as words."""
    if "<<" not in line:
        return []
    try:
        words: Expansion = _LINE_LEXER.read(line, {})
    except ExpansionError:
        return []
    found = (parse_heredoc(word) for word in words.words)
    return [heredoc for heredoc in found if heredoc is not None]


def _quotes(text: str) -> int:
    return text.count("'") + text.count('"')
