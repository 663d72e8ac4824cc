"""Yes and no as Go's ``strconv.ParseBool`` reads them: the form of many flags, attributes and variables."""

from __future__ import annotations

TRUE = frozenset(("1", "t", "T", "TRUE", "true", "True"))
FALSE = frozenset(("0", "f", "F", "FALSE", "false", "False"))
