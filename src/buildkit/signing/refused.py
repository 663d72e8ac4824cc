"""What is said of a signature or key that does not do."""

from __future__ import annotations

from buildkit.core.errors import FailedPrecondition


class SignatureRefused(FailedPrecondition):
    """A signature that does not hold, a key that may not be used, or what is neither."""


class Broken(SignatureRefused):
    """Not as the format wants it."""

    def __init__(self, what: str) -> None:
        super().__init__(f"openpgp: invalid data: {what}")


class Foreign(SignatureRefused):
    """Well-formed, of a kind that is not understood: readers of key rings pass over it."""

    def __init__(self, what: str) -> None:
        super().__init__(f"openpgp: unsupported feature: {what}")


class DoesNotFit(SignatureRefused):
    """Not made by this key over these bytes."""
