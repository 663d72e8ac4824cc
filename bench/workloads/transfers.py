"""What moves between clients and daemons: our daemon against the real one, driven by the same client."""

from __future__ import annotations

from pathlib import Path

from bench.contexts import big_file, definition, many_files, solving
from bench.cost import Cost, median
from bench.peers import Bench, Peer
from bench.rows import Row, compare

_DAEMON = "daemon s"


def files(bench: Bench) -> list[Row]:
    """20,000 files, of which a step uses one: sent for the first time, and unchanged."""
    from buildkit import llb

    folder = many_files(bench.work / "files")
    first: dict[str, list[Cost]] = {}
    again: dict[str, list[Cost]] = {}
    with bench.daemons("files") as daemons:
        for run in range(bench.runs):
            source = llb.local("files", shared_key=f"run {run}")
            state = llb.scratch().file(llb.copy(source, "/d7/f7", "/f"))
            command = solving(definition(bench.work / "files.llb", state))
            for peer in daemons:
                build = command(peer, "--local", f"files={folder}")
                first.setdefault(peer.name, []).append(peer.measure(build))
            for _ in range(3):
                for peer in daemons:
                    build = command(peer, "--local", f"files={folder}")
                    again.setdefault(peer.name, []).append(peer.measure(build))
    return [
        *_judge("20,000 files, first time", first, 0.7),
        *_judge("20,000 files, unchanged", again, 0.7),
    ]


def copied_files(bench: Bench) -> list[Row]:
    """``COPY . /`` of 20,000 files: sent and copied, and again unchanged."""
    folder = many_files(bench.work / "copied")
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
    first: dict[str, list[Cost]] = {}
    again: dict[str, list[Cost]] = {}
    with bench.daemons("copied") as daemons:
        for run in range(bench.runs):
            (folder / "run").write_text(f"{run}")
            for peer in daemons:
                if run:
                    peer.measure(peer.buildctl("prune", "--all"))
                first.setdefault(peer.name, []).append(peer.measure(peer.build(folder)))
            for peer in daemons:
                again.setdefault(peer.name, []).append(peer.measure(peer.build(folder)))
    return [
        *_judge("COPY . of 20,000 files, first time", first, 0.7),
        *_judge("COPY . of 20,000 files, unchanged", again, 0.7),
    ]


def big(bench: Bench) -> list[Row]:
    """A file of 500 MB, sent for the first time."""
    folder = big_file(bench.work / "big")
    costs: dict[str, list[Cost]] = {}
    with bench.daemons("bigfile") as daemons:
        for run in range(bench.runs):
            for peer in daemons:
                costs.setdefault(peer.name, []).append(peer.measure(_sending(bench, peer, folder, f"run {run}")))
                peer.measure(peer.buildctl("prune", "--all"))
    return _judge("500 MB file in", costs, 0.8)


def tar_out(bench: Bench) -> list[Row]:
    """A file of 500 MB that is there already goes out as a tar archive."""
    folder = big_file(bench.work / "tar")
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY big /big\n")
    costs: dict[str, list[Cost]] = {}
    target = bench.work / "out.tar"
    with bench.daemons("tar") as daemons:
        for peer in daemons:
            peer.measure(peer.build(folder))
        for _ in range(bench.runs):
            for peer in daemons:
                command = peer.build(folder, f"type=tar,dest={target}")
                costs.setdefault(peer.name, []).append(peer.measure(command))
                if target.stat().st_size < 500_000_000:
                    raise RuntimeError(f"{target} of {peer.name} is too small")
                target.unlink()
    return _judge("500 MB tar out", costs, 1.2)


def two_at_once(bench: Bench) -> list[Row]:
    """Two clients send 500 MB each at once; wall time counts."""
    folder = big_file(bench.work / "two")
    costs: dict[str, list[Cost]] = {}
    with bench.daemons("two") as daemons:
        for run in range(bench.runs):
            for peer in daemons:
                both = [_sending(bench, peer, folder, f"run {run} {one}") for one in "ab"]
                costs.setdefault(peer.name, []).append(peer.measure(*both))
                peer.measure(peer.buildctl("prune", "--all"))
    medians = {name: median(found) for name, found in costs.items()}
    return compare("two 500 MB files at once", medians, {"buildkit": 1.3}, unit="wall s", beside=(_DAEMON,))


def _sending(bench: Bench, peer: Peer, folder: Path, key: str) -> list[str]:
    """A build that has the daemon fetch a folder with one big file, and reads none of it but that."""
    from buildkit import llb

    source = llb.local("big", shared_key=key)
    state = llb.scratch().file(llb.copy(source, "/nothing*", "/", allow_wildcard=True, allow_empty_wildcard=True))
    name = bench.work / f"{key.replace(' ', '-')}.llb"
    return solving(definition(name, state))(peer, "--local", f"big={folder}")


def _judge(workload: str, costs: dict[str, list[Cost]], bar: float) -> list[Row]:
    medians = {name: median(found) for name, found in costs.items()}
    return compare(workload, medians, {"buildkit": bar}, unit=_DAEMON, beside=("wall s",))
