"""What is done with files of the store, against the tools of the system."""

from __future__ import annotations

import statistics
from pathlib import Path

from bench.contexts import context, many_files, python
from bench.cost import measure
from bench.peers import Bench
from bench.rows import Row


def copy(bench: Bench) -> list[Row]:
    """``COPY --from`` of 20,000 files: the whole step by our daemon, against ``cp -a`` of the same tree."""
    folder = context(bench.work, "copy", "")
    many_files(folder / "many")
    ours, theirs = [], []
    with bench.daemons("copy") as (peer, *_):
        for run in range(bench.runs + 1):
            copying = f"FROM scratch\nCOPY --from=all / /r{run}\n" if run else "FROM all\n"
            (folder / "Dockerfile").write_text(f"FROM scratch AS all\nCOPY many /\n{copying}")
            (folder / "Dockerfile.dockerignore").write_text("")
            if run > 1:
                ours.append(peer.measure(peer.build(folder)).daemon)
                unchanged = peer.measure(peer.build(folder)).daemon
                ours[-1] -= unchanged  # what sending 20,000 statuses takes
            else:
                peer.measure(peer.build(folder))
            theirs.append(_cp(folder / "many", bench.work / f"cp{run}"))
    return [Row("COPY of 20,000 files", "cp -a", "cpu s", statistics.median(ours), statistics.median(theirs), 1.5)]


def _cp(source: Path, target: Path) -> float:
    return measure(["cp", "-a", str(source), str(target)]).cpu


def hashes(bench: Bench) -> list[Row]:
    """The content digest of 20,000 files, against reading and hashing them with ``sha256sum``."""
    folder = many_files(bench.work / "hash")
    ours = python(
        "from pathlib import Path\nfrom buildkit.store.checksums import digest_tree\n"
        f"digest_tree(Path({str(folder)!r}), ())\n"
    )
    start = python("from pathlib import Path\nimport buildkit.store.checksums\n")
    theirs = ["sh", "-c", f"find {folder} -type f -print0 | xargs -0 sha256sum >/dev/null"]
    found = [[measure(one).cpu for one in (ours, start, theirs)] for _ in range(bench.runs)]
    whole, starting, peer = (statistics.median(column) for column in zip(*found, strict=True))
    return [Row("content digest of 20,000 files", "sha256sum", "cpu s", whole - starting, peer, 2.0)]
