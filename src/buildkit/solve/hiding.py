"""What explanations must not show: values of secrets, of variables named like secrets, and passwords in addresses."""

from __future__ import annotations

from collections.abc import Iterable

from buildkit.core.explanation import Change
from buildkit.core.pattern import Pattern
from buildkit.core.values import dataclass, replace

HIDDEN = "(hidden)"
_LONGEST = 200
"""Characters of a value that are shown."""
_TELLING, _TELLING_LINE = 4, 8
"""Characters from which on a secret, or a line of one, has hardly come into a text by chance."""
_SECRET_NAME = Pattern(
    r"(?i).*(?:^|_|-)(?:api-?key|auth|credentials?|key|passwords?|passwd|pword|secrets?|tokens?|apikey)(?:$|_|-).*"
)
_PLAIN = ("SSH_AUTH_SOCK",)
"""Variables whose names look like those of secrets, and which are none."""
_PASSWORD = Pattern(r"(?<=://)([^/\s@:]*):[^/\s@]*(?=@(?!sha256:))")


@dataclass(frozen=True, slots=True)
class Hiding:
    """Takes out what must not be shown; ``secrets`` are texts that would tell a secret, the longest first."""

    secrets: tuple[str, ...] = ()

    @classmethod
    def of(cls, values: Iterable[str]) -> Hiding:
        """Hides these values, and what they look like within a command or JSON, and lines of theirs."""
        import json
        import shlex

        found: set[str] = set()
        for value in values:
            lines = [line.strip() for line in value.splitlines()]
            for text in (value, *(line for line in lines if len(line) >= _TELLING_LINE)):
                found |= {text, shlex.quote(text), shlex.quote(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}
        return cls(tuple(sorted((text for text in found if len(text) >= _TELLING), key=len, reverse=True)))

    def change(self, change: Change) -> Change:
        """The change as it may be shown. Where one side has a secret, the other may have what it was before."""
        old, new = change.old, change.new
        if self._is_secret(change):
            old, new = (None if text is None else HIDDEN for text in (old, new))
        return replace(change, path=self.text(change.path), old=self._value(old), new=self._value(new))

    def _is_secret(self, change: Change) -> bool:
        if change.field == "env" and change.path not in _PLAIN and _SECRET_NAME.fullmatch(change.path):
            return True
        texts = f"{change.old}\0{change.new}"
        return any(secret in texts for secret in self.secrets)

    def _value(self, text: str | None) -> str | None:
        if text is None:
            return None
        text = self.text(text)
        return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"

    def text(self, text: str) -> str:
        """A text without secrets and passwords."""
        for secret in self.secrets:
            text = text.replace(secret, HIDDEN)
        return _PASSWORD.compiled.sub(rf"\1:{HIDDEN}", text) if "://" in text else text
