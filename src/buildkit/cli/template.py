"""``--format``: the part of Go's template language that people use on lists of records.

``{{.Field}}``, ``{{json .}}``, ``{{len .}}``, ``{{println .}}``, ``{{"text"}}``, ``{{range .}}…{{else}}…{{end}}``,
``{{if .}}…{{else}}…{{end}}``, and the trim marks ``{{-`` and ``-}}``. Anything else is refused by name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from buildkit.cli.flags import BadUsage
from buildkit.core.errors import Unsupported
from buildkit.core.values import dataclass, field

Render = Callable[[Any], str]

_ACTION = re.compile(r"(?:\s*\{\{-\s|\{\{)\s*(.*?)\s*(?:\s-\}\}\s*|\}\})", re.DOTALL)
_PATH = re.compile(r"\.(?:[A-Za-z]\w*(?:\.[A-Za-z]\w*)*)?")
_TEXT = re.compile(r'"((?:[^"\\]|\\.)*)"|`([^`]*)`')
_ALIASES = {"json": "{{json .}}"}


def to_json(value: Any) -> str:
    """Compact JSON, nothing escaped that need not be."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


@dataclass(slots=True)
class _Block:
    """The inside of a range or an if."""

    kind: str
    value: Callable[[Any], Any]
    main: list[Render] = field(default_factory=list[Render])
    other: list[Render] | None = None

    def render(self, dot: Any) -> str:
        found = self.value(dot)
        if not found:
            return _all(self.other or [], dot)
        dots: Iterator[Any] = iter(found.values() if isinstance(found, dict) else found)
        return "".join(_all(self.main, one) for one in dots) if self.kind == "range" else _all(self.main, dot)


def parse_template(text: str) -> Render:
    """Turn a template into a function of its dot; raises `BadUsage` or `Unsupported`."""
    text = _ALIASES.get(text, text)
    blocks = [_Block("", lambda dot: dot)]
    at = 0
    for match in _ACTION.finditer(text):
        _append(blocks[-1], _constant(text[at : match.start()]))
        at = match.end()
        word, _, rest = match[1].partition(" ")
        if word in ("range", "if"):
            blocks.append(_Block(word, _value(rest.strip())))
        elif word == "else" and not rest and len(blocks) > 1 and blocks[-1].other is None:
            blocks[-1].other = []
        elif word == "end" and not rest and len(blocks) > 1:
            done = blocks.pop()
            _append(blocks[-1], done.render)
        else:
            _append(blocks[-1], _action(match[1]))
    if len(blocks) > 1:
        raise BadUsage(f"template {text!r}: {{{{{blocks[-1].kind}}}}} has no {{{{end}}}}")
    if "{{" in text[at:]:
        raise BadUsage(f"template {text!r}: {{{{ has no }}}}")
    _append(blocks[0], _constant(text[at:]))
    return lambda dot: _all(blocks[0].main, dot)


def _append(block: _Block, render: Render) -> None:
    (block.main if block.other is None else block.other).append(render)


def _all(renders: list[Render], dot: Any) -> str:
    return "".join(render(dot) for render in renders)


def _constant(text: str) -> Render:
    return lambda dot: text


def _action(expression: str) -> Render:
    word, _, rest = expression.partition(" ")
    if word in ("json", "len", "println") and rest:
        value = _value(rest.strip())
        if word == "json":
            return lambda dot: to_json(value(dot))
        if word == "len":
            return lambda dot: str(len(value(dot) or ()))
        return lambda dot: _printed(value(dot)) + "\n"
    value = _value(expression)
    return lambda dot: _printed(value(dot))


def _value(expression: str) -> Callable[[Any], Any]:
    if match := _TEXT.fullmatch(expression):
        text = match[2] if match[1] is None else json.loads(f'"{match[1]}"')
        return lambda dot: text
    if not _PATH.fullmatch(expression):
        raise Unsupported(
            f"template action {{{{{expression}}}}} is not supported; --format '{{{{json .}}}}' always works"
        )
    names = [name for name in expression.split(".") if name]
    return lambda dot: _walk(dot, names)


def _walk(dot: Any, names: list[str]) -> Any:
    for name in names:
        lowered = name.lower() if name.isupper() else name[0].lower() + name[1:]
        found = [key for key in (name, lowered) if isinstance(dot, dict) and key in dot]
        if not found:
            raise BadUsage(f"template: there is no field {name}")
        dot = dot[found[0]]
    return dot


def _printed(value: Any) -> str:
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return f"[{' '.join(map(_printed, value))}]"
    if isinstance(value, dict):
        return f"map[{' '.join(f'{key}:{_printed(value[key])}' for key in sorted(value))}]"
    return str(value)
