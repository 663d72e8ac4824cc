"""Find a command of ``buildctl debug``; each is imported when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module

from buildkit.cli.flags import BadUsage, Command, Parsed, nearest

_COMMANDS = {
    "workers": ("workers", "list workers"),
    "info": ("version", "show which BuildKit the daemon is"),
    "dump-llb": ("dumpllb", "show a definition; needs no daemon"),
    "dump-metadata": ("metadata", "show what a state directory has on record; needs no daemon"),
    "monitor": ("monitor", "show builds as they come and go"),
    "logs": ("logs", "show the progress of a build again"),
    "get": ("get", "write a blob to standard output"),
    "histories": ("histories", "list the builds on record"),
    "ctl": ("ctl", "pin, unpin or delete the record of a build"),
}


def find(words: Sequence[str]) -> tuple[Command, Callable[[Parsed], None]]:
    """The command that the words after ``debug`` begin with; raises `BadUsage`."""
    name = words[0] if words else ""
    if name not in _COMMANDS:
        raise BadUsage(f"unknown command debug {name}{nearest(name, _COMMANDS)}")
    module = import_module(f"buildkit.cli.debug.{_COMMANDS[name][0]}")
    return module.COMMAND, module.run


def overview() -> str:
    """What there is."""
    lines = [f"  {name:<14} {summary}" for name, (_, summary) in _COMMANDS.items()]
    return "\n".join(["usage: buildctl debug COMMAND [flags] ...", "", "Commands:", *lines]) + "\n"
