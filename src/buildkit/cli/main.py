"""``buildctl``: find the command, run it, turn its end into an exit status.

0 is done, 1 is failed, 2 is a command line that makes no sense, 130 is Ctrl-C. Nothing that takes time is
imported before the command line is known to be good.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

from buildkit.cli.errors import print_failure
from buildkit.cli.flags import BadUsage, Command, Flag, Parsed, list_flags, nearest, parse, usage_of
from buildkit.cli.target import GLOBAL_FLAGS, check_target
from buildkit.core.errors import BuildkitError

DONE, FAILED, BAD_USAGE, INTERRUPTED = 0, 1, 2, 130

_HELP = Flag("help", "show this", "bool", "h")
_VERSION = Flag("version", "show the version", "bool", "v")
_SUMMARIES = {
    "build": "build something (short form: b)",
    "du": "show what takes space",
    "prune": "free space",
    "prune-histories": "delete the records of builds",
    "debug": "see what a daemon is, does and remembers",
}


def command(at_end: Callable[[], None] = lambda: None) -> None:
    """The program ``buildctl``: `main`, and the process is over; ``at_end`` is called after a success.

    Tidying up the interpreter costs time, too: it is left out where no thread is waited for.
    """
    _open_closed()
    status = main()
    if status == DONE:
        at_end()
    threading = sys.modules.get("threading")
    if threading is not None and any(not one.daemon for one in threading.enumerate()[1:]):
        sys.exit(status)
    try:
        sys.stdout.flush()
        if not sys.stderr.closed:
            sys.stderr.flush()
    except OSError:
        status = status or FAILED
    os._exit(status)


def _open_closed() -> None:
    """Standard streams that the caller closed lead nowhere, lest files that we open take their numbers."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            fd = os.open(os.devnull, os.O_RDWR)
            if fd != number:
                os.dup2(fd, number)
                os.close(fd)
            setattr(sys, name, os.fdopen(number, mode, closefd=False))


_MODULES = {"du": "du", "prune": "prune", "prune-histories": "histories", "dial-stdio": "dialstdio"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; returns the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments
    try:
        return _main(arguments)
    except BadUsage as error:
        print_failure(error, sys.stderr, debug=debug)
        return BAD_USAGE
    except BrokenPipeError:
        sys.stderr.close()
        return FAILED
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted\n")
        return INTERRUPTED
    except (BuildkitError, OSError) as error:
        print_failure(error, sys.stderr, debug=debug)
        return FAILED
    except Exception as error:
        print_failure(error, sys.stderr, debug=debug)
        return FAILED


def _main(arguments: Sequence[str]) -> int:
    shared, rest = parse(arguments, (*GLOBAL_FLAGS, _HELP, _VERSION), stop_at_word=True)
    if shared.on("version"):
        from buildkit.cli.version import version_line

        sys.stdout.write(version_line() + "\n")
        return DONE
    if not rest or shared.on("help") or rest[0] == "help":
        sys.stdout.write(_overview())
        return DONE
    if rest[0] == "debug" and (len(rest) == 1 or rest[1] in ("--help", "-h", "help")):
        from buildkit.cli.debug.commands import overview

        sys.stdout.write(overview())
        return DONE
    command, run, words = _find(rest)
    own, _ = parse(words, (*command.flags, *_inherited(command), _HELP))
    if own.on("help"):
        sys.stdout.write(usage_of(command))
        return DONE
    parsed = Parsed({**shared.values, **own.values}, own.words)
    if parsed.words and not command.words:
        raise BadUsage(f"{command.name} takes no words: {' '.join(parsed.words)}")
    check_target(parsed)
    run(parsed)
    return DONE


def _inherited(command: Command) -> list[Flag]:
    own = {flag.name for flag in command.flags}
    return [flag for flag in GLOBAL_FLAGS if flag.name not in own]


def _find(words: Sequence[str]) -> tuple[Command, Callable[[Parsed], None], Sequence[str]]:
    """The command that ``words`` begin with, what runs it, and the words after it."""
    word, rest = words[0], words[1:]
    if word in ("build", "b"):
        from buildkit.cli import build

        return build.COMMAND, _run_build, rest
    if word == "debug":
        from buildkit.cli.debug.commands import find

        return *find(rest), rest[1:]
    if word not in _MODULES:
        raise BadUsage(f"unknown command {word}{nearest(word, _SUMMARIES)}")
    from importlib import import_module

    module = import_module(f"buildkit.cli.{_MODULES[word]}")
    return module.COMMAND, module.run, rest


def _run_build(parsed: Parsed) -> None:
    from buildkit.cli.build import read_options

    options = read_options(parsed)
    if not parsed.given("tlsdir", "tlscacert", "tlscert", "tlskey"):
        from buildkit.core.lean import import_loop

        import_loop(tls=False)  # only daemons are spoken to with that on the loop
    from buildkit.cli.run import run

    run(parsed, options)


def _overview() -> str:
    commands = [f"  {name:<16} {summary}" for name, summary in _SUMMARIES.items()]
    flags = list_flags((*GLOBAL_FLAGS, _HELP, _VERSION))
    usage = "usage: buildctl [flags] COMMAND [flags] ...\n\nCommands (each explains itself with --help):"
    return "\n".join([usage, *commands, "", "Flags:", *flags]) + "\n"
