"""``buildkitd``: command line and configuration in, a daemon until it is told to stop."""

from __future__ import annotations

import os
import sys
from collections.abc import MutableMapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from buildkit.core.errors import BuildkitError, from_os
from buildkit.core.lean import import_loop

if TYPE_CHECKING:
    from buildkit.daemon.flags import Given

DONE, FAILED, BAD_USAGE = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the daemon; returns the exit status."""
    import_loop(tls=True)
    from buildkit.daemon.flags import BadUsage, parse_flags

    environ = os.environ
    try:
        given = parse_flags(sys.argv[1:] if arguments is None else arguments, environ)
        if given.on("help"):
            from buildkit.daemon.flags import usage_text

            sys.stdout.write(usage_text())
            return DONE
        if given.on("version"):
            from buildkit.core.version import version_line

            sys.stdout.write(version_line("buildkitd") + "\n")
            return DONE
        return _serve(given, environ)
    except BadUsage as error:
        sys.stderr.write(f"buildkitd: {error}\n")
        return BAD_USAGE
    except (BuildkitError, OSError) as error:
        told = from_os(error) if isinstance(error, OSError) and error.errno else error
        sys.stderr.write(f"buildkitd: {told}\n")
        return FAILED


def _serve(given: Given, environ: MutableMapping[str, str]) -> int:
    from logging import getLogger

    from buildkit.core.loop import run as run_loop
    from buildkit.core.memory import be_frugal
    from buildkit.core.values import replace
    from buildkit.daemon.cgroups import set_up_groups
    from buildkit.daemon.config import DaemonConfig, default_places
    from buildkit.daemon.flags import overlay
    from buildkit.daemon.logs import set_up
    from buildkit.daemon.server import run
    from buildkit.daemon.toml import read_config
    from buildkit.daemon.traces import find_destination

    places = default_places(environ, os.geteuid())
    folder = places.config.parent / "provenance.d"
    start = DaemonConfig(root=places.root, addresses=(places.address,), environment=folder)
    named = given.last("config")
    read = read_config(Path(named) if named else places.config, start)
    config = replace(overlay(given, read.config), traces=find_destination(environ))
    set_up(config.log_level, config.log_format)
    for key in read.unknown:
        getLogger("buildkit.daemon").warning("unknown key in the configuration: %s", key)
    os.umask(0)
    set_up_groups(environ)
    be_frugal()
    run_loop(run(config, environ))
    return DONE


if __name__ == "__main__":
    sys.exit(main())
