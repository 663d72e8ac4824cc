"""A very small terminal: what a step prints, reduced to the few lines that a live display shows of it.

Understands what build tools use to redraw (carriage return, backspace, cursor moves, erasing); colours are dropped.
"""

from __future__ import annotations

import codecs

from buildkit.core.pattern import Pattern

_TOKEN = Pattern(
    r"\x1b\[(?P<args>[0-9;?<=>]*)[ -/]*(?P<command>[@-~])"
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"
    r"|\x1b[()][^\x1b]"
    r"|\x1b[^\[\]()]"
    r"|(?P<control>[\x00-\x1a\x1c-\x1f\x7f-\x9f])"
    r"|(?P<text>[^\x00-\x1f\x7f-\x9f]+)"
)
_LONGEST_SEQUENCE = 256


class Screen:
    """``height`` lines of ``width`` cells that scroll; `rows` are the lines without trailing blanks."""

    def __init__(self, height: int, width: int) -> None:
        self.height = max(height, 1)
        self.width = max(width, 1)
        self.written = 0
        """Bytes written so far."""
        self.shown = 0
        """How often a display has shown it."""
        self._lines: list[list[str]] = [[]]
        self._row = 0
        self._column = 0
        self._rest = ""
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode

    @property
    def rows(self) -> list[str]:
        """The lines that hold something."""
        texts = ("".join(line).rstrip() for line in self._lines)
        return [text for text in texts if text]

    def resize(self, height: int, width: int) -> None:
        """Change the size; the newest lines stay."""
        self.height, self.width = max(height, 1), max(width, 1)
        for line in self._lines:
            del line[self.width :]
        self._trim()
        self._column = min(self._column, self.width)

    def write(self, content: bytes) -> None:
        """Print; sequences cut in two by a chunk's end are put together again."""
        self.written += len(content)
        text = self._rest + self._decode(content)
        at = 0
        while at < len(text):
            match = _TOKEN.match(text, at)
            if match is None:
                if len(text) - at < _LONGEST_SEQUENCE:
                    break
                at += 1
                continue
            at = match.end()
            if match["text"]:
                self._print(match["text"])
            elif match["control"]:
                self._control(match["control"])
            elif match["command"]:
                self._command(match["command"], match["args"])
        self._rest = text[at:]

    def _print(self, text: str) -> None:
        at = 0
        while at < len(text):
            if self._column >= self.width:
                self._line_feed()
                self._column = 0
            line = self._lines[self._row]
            if self._column > len(line):
                line.extend(" " * (self._column - len(line)))
            part = text[at : at + self.width - self._column]
            line[self._column : self._column + len(part)] = part
            self._column += len(part)
            at += len(part)

    def _control(self, character: str) -> None:
        if character == "\n":
            self._line_feed()
            self._column = 0
        elif character == "\r":
            self._column = 0
        elif character == "\b":
            self._column = max(self._column - 1, 0)
        elif character == "\t":
            self._column = min((self._column // 8 + 1) * 8, self.width)

    def _line_feed(self) -> None:
        self._row += 1
        if self._row == len(self._lines):
            self._lines.append([])
        self._trim()

    def _trim(self) -> None:
        surplus = len(self._lines) - self.height
        if surplus > 0:
            del self._lines[:surplus]
            self._row = max(self._row - surplus, 0)

    def _command(self, command: str, text: str) -> None:
        args = [int(part) for part in text.split(";") if part.isascii() and part.isdigit()][:4]
        count = max(args[0] if args else 1, 1)
        if command == "A":
            self._row = max(self._row - count, 0)
        elif command == "B":
            self._row = min(self._row + count, len(self._lines) - 1)
        elif command == "C":
            self._column = min(self._column + count, self.width)
        elif command == "D":
            self._column = max(self._column - count, 0)
        elif command == "G":
            self._column = min(count - 1, self.width)
        elif command in "Hf":
            self._row = min(count - 1, len(self._lines) - 1)
            self._column = min(max((args[1] if len(args) > 1 else 1) - 1, 0), self.width)
        elif command == "K":
            self._erase_line(args[0] if args else 0)
        elif command == "J":
            self._erase_screen(args[0] if args else 0)

    def _erase_line(self, what: int) -> None:
        line = self._lines[self._row]
        if what == 0:
            del line[self._column :]
        elif what == 1:
            line[: self._column] = " " * min(self._column, len(line))
        else:
            line.clear()

    def _erase_screen(self, what: int) -> None:
        if what == 0:
            self._erase_line(0)
            del self._lines[self._row + 1 :]
        elif what in (2, 3):
            self._lines = [[] for _ in range(self._row + 1)]
