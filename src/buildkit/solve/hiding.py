"""What explanations must not show: values of secrets, of variables named like secrets, and passwords in addresses."""

from __future__ import annotations

from buildkit.core.explanation import Change
from buildkit.core.pattern import Pattern
from buildkit.core.values import dataclass, replace

HIDDEN = "(hidden)"
_LONGEST = 200
"""Characters of a value that are shown."""
_TELLING = 4
"""Characters from which on a secret in a text has hardly come there by chance."""
_SECRET_NAME = Pattern(
    r"(?i).*(?:^|_|-)(?:api-?key|auth|credentials?|key|passwords?|passwd|pword|secrets?|tokens?|apikey)(?:$|_|-).*"
)
_PASSWORD = Pattern(r"(?<=://)([^/\s@:]*):[^/\s@]*(?=@(?!sha256:))")


@dataclass(frozen=True, slots=True)
class Hiding:
    """Takes out what must not be shown; ``secrets`` are the values that the build was lent."""

    secrets: tuple[str, ...] = ()

    def change(self, change: Change) -> Change:
        """The change as it may be shown. Where one side has a secret, the other may have what it was before."""
        old, new = change.old, change.new
        if self._is_secret(change):
            old, new = (None if text is None else HIDDEN for text in (old, new))
        return replace(change, path=self.text(change.path), old=self._value(old), new=self._value(new))

    def _is_secret(self, change: Change) -> bool:
        if change.field == "env" and _SECRET_NAME.fullmatch(change.path):
            return True
        texts = f"{change.old}\0{change.new}"
        return any(len(secret) >= _TELLING and secret in texts for secret in self.secrets)

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
