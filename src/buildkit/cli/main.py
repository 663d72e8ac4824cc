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
from buildkit.core.errors import BuildkitError, Unsupported

DONE, FAILED, BAD_USAGE, INTERRUPTED = 0, 1, 2, 130

_HELP = Flag("help", "show this", "bool", "h")
_VERSION = Flag("version", "show the version", "bool", "v")
_SUMMARIES = {
    "build": "build something (short form: b)",
    "du": "show what takes space",
    "prune": "free space",
}
_NOT_YET = ("prune-histories", "debug", "dial-stdio")


def command() -> None:
    """The program ``buildctl``: `main`, and the process is over.

    Collecting garbage and tidying up the interpreter cost a tenth of a cached build's time, so the one is made rare
    and the other left out where no thread is at work any more.
    """
    import gc

    gc.set_threshold(100_000, 20, 20)
    status = main()
    threading = sys.modules.get("threading")
    if threading is not None and threading.active_count() > 1:
        sys.exit(status)
    try:
        sys.stdout.flush()
        if not sys.stderr.closed:
            sys.stderr.flush()
    except OSError:
        status = status or FAILED
    os._exit(status)


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
    command, run = _find(rest[0])
    own, _ = parse(rest[1:], (*command.flags, *_inherited(command), _HELP))
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


def _find(word: str) -> tuple[Command, Callable[[Parsed], None]]:
    if word in ("build", "b"):
        from buildkit.cli import build

        return build.COMMAND, _run_build
    if word == "du":
        from buildkit.cli import du

        return du.COMMAND, du.run
    if word == "prune":
        from buildkit.cli import prune

        return prune.COMMAND, prune.run
    if word in _NOT_YET:
        raise Unsupported(f"buildctl {word} is not supported yet")
    raise BadUsage(f"unknown command {word}{nearest(word, _SUMMARIES)}")


def _run_build(parsed: Parsed) -> None:
    from buildkit.cli.build import read_options

    options = read_options(parsed)
    if not parsed.given("addr") and "BUILDKIT_HOST" not in os.environ:
        _import_loop()
    from buildkit.cli.run import run

    run(parsed, options)


def _import_loop() -> None:
    """Import the event loop without what it would need for TLS: registries are spoken to in threads."""
    from buildkit.core.lean import lean_imports

    with lean_imports(absent=("ssl",), later=("inspect", "ipaddress", "linecache", "locale", "traceback")):
        import asyncio  # noqa: F401
        import pathlib  # noqa: F401


def _overview() -> str:
    commands = [f"  {name:<8} {summary}" for name, summary in _SUMMARIES.items()]
    flags = list_flags((*GLOBAL_FLAGS, _HELP, _VERSION))
    usage = "usage: buildctl [flags] COMMAND [flags] ...\n\nCommands (each explains itself with --help):"
    return "\n".join([usage, *commands, "", "Flags:", *flags]) + "\n"
