"""The daemon's log, as logrus writes it: text or JSON lines on standard error."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

from buildkit.core.errors import InvalidInput

LEVELS = {
    "trace": logging.DEBUG,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "fatal": logging.CRITICAL,
    "panic": logging.CRITICAL,
}
_FORMATS = ("text", "json")
_NAMES = {logging.WARNING: "warning", logging.CRITICAL: "fatal"}


class _Lines(logging.Formatter):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self._kind = kind

    def format(self, record: logging.LogRecord) -> str:
        level = _NAMES.get(record.levelno, record.levelname.lower())
        time = datetime.fromtimestamp(record.created, UTC)
        message = record.getMessage()
        if record.exc_info:
            message += "\n" + self.formatException(record.exc_info)
        if self._kind == "json":
            return json.dumps({"level": level, "msg": message, "time": f"{time:%Y-%m-%dT%H:%M:%SZ}"})
        quoted = json.dumps(message, ensure_ascii=False)
        return f'time="{time:%Y-%m-%dT%H:%M:%S.%fZ}" level={level} msg={quoted}'


def set_up(level: str, kind: str) -> None:
    """Log to standard error from now on; raises `InvalidInput`."""
    if level not in LEVELS:
        raise InvalidInput(f'not a valid log level: "{level}"')
    if kind not in _FORMATS:
        raise InvalidInput(f'unsupported log type "{kind}"')
    lines = logging.StreamHandler(sys.stderr)
    lines.setFormatter(_Lines(kind))
    root = logging.getLogger("buildkit")
    root.handlers[:] = [lines]
    root.propagate = False
    root.setLevel(LEVELS[level])
