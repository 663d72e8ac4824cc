"""What is built, by name. Each gives one row for each peer."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import time
import zlib
from collections.abc import Callable
from pathlib import Path

from bench.peers import Cost, Peer, measure

Row = dict[str, object]


def median(costs: list[Cost]) -> Cost:
    return Cost(statistics.median(c.wall for c in costs), statistics.median(c.cpu for c in costs))


def interleave(peers: list[Peer], runs: int, command: Callable[[Peer, int], list[str]]) -> dict[str, Cost]:
    costs: dict[str, list[Cost]] = {peer.name: [] for peer in peers}
    for run in range(runs):
        for peer in peers:
            costs[peer.name].append(measure(peer, command(peer, run)))
    return {name: median(found) for name, found in costs.items()}


def rows(workload: str, costs: dict[str, Cost], bars: dict[str, float]) -> list[Row]:
    ours = costs["ours"]
    out: list[Row] = []
    for name, cost in costs.items():
        row: Row = {"workload": workload, "peer": name, "wall": round(cost.wall, 4), "cpu": round(cost.cpu, 4)}
        if name != "ours":
            row |= {"wall ratio": round(ours.wall / cost.wall, 3), "cpu ratio": round(ours.cpu / cost.cpu, 3)}
            row["bar (wall)"] = bars.get(name, "")
        out.append(row)
    return out


def context(work: Path, name: str, dockerfile: str, files: int) -> Path:
    folder = work / name
    folder.mkdir()
    (folder / "Dockerfile").write_text(dockerfile)
    for index in range(files):
        path = folder / f"src/d{index % 37}/f{index}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"file {index}\n" * 20)
    return folder


def cached(work: Path, base: str, peers: list[Peer], runs: int) -> list[Row]:
    """A fully cached rebuild of 20 steps with a 1,000-file context, whole command."""
    steps = "".join(f"RUN echo {i} > /r{i}\nCOPY src/d{i} /c{i}\n" for i in range(9))
    folder = context(work, "cached", f"FROM {base}\n{steps}WORKDIR /w\nENV A=b\n", 1000)
    for peer in peers:
        measure(peer, peer.build(folder))
    costs = interleave(peers, runs * 3, lambda peer, _: peer.build(folder))
    return rows("cached rebuild, 20 steps", costs, {"buildah": 0.3, "buildkit": 1.5})


def execs(work: Path, base: str, peers: list[Peer], runs: int) -> list[Row]:
    """20 x RUN true, cold: every run has commands that were never seen."""
    folder = context(work, "execs", "", 0)

    def command(peer: Peer, run: int) -> list[str]:
        lines = "".join(f"RUN true {peer.name}-{run}-{i}-{time.time_ns()}\n" for i in range(20))
        (folder / "Dockerfile").write_text(f"FROM {base}\n{lines}")
        return peer.build(folder)

    for peer in peers:
        measure(peer, command(peer, -1))
    return rows("20 x RUN true, cold", interleave(peers, runs, command), {"buildah": 0.5, "buildkit": 0.6})


def big_context(work: Path, base: str, peers: list[Peer], runs: int) -> list[Row]:
    """A 20,000-file context of which one file is used."""
    folder = context(work, "big", f"FROM {base}\nCOPY src/d0/f0.txt /f\n", 20_000)
    for peer in peers:
        measure(peer, peer.build(folder))
    return rows("20,000-file context, one used", interleave(peers, runs, lambda p, _: p.build(folder)), {})


def gzip_layer(work: Path, base: str, peers: list[Peer], runs: int) -> list[Row]:
    """A layer as gzip against one core of stdlib zlib level 6, and peak memory by layer size."""
    ours = next(peer for peer in peers if peer.name == "ours")
    out: list[Row] = []
    text = b"".join(path.read_bytes() for path in sorted(Path(os.__file__).parent.glob("**/*.py"))[:600])
    sample = (text * (50_000_000 // len(text) + 1))[:50_000_000]
    started = time.process_time()
    compressor = zlib.compressobj(6)
    for at in range(0, len(sample), 1 << 20):
        compressor.compress(sample[at : at + (1 << 20)])
    compressor.flush()
    reference = len(sample) / (time.process_time() - started)
    for megabytes in (100, 500, 2000):
        folder = work / f"gzip{megabytes}"
        folder.mkdir()
        with (folder / "big").open("wb") as big:
            for index in range(megabytes // 50):
                big.write(index.to_bytes(4, "big") + sample[4:])
        (folder / "Dockerfile").write_text("FROM scratch\nCOPY big /big\n")
        measure(ours, ours.build(folder))
        command = ours.build(folder, f"type=oci,dest={folder}/out.tar")
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        if status:
            raise RuntimeError(f"failed: {' '.join(command)}")
        out.append(
            {
                "workload": f"gzip layer {megabytes} MB",
                "peer": "zlib -6, one core",
                "wall": round(wall, 2),
                "cpu": round(usage.ru_utime + usage.ru_stime, 2),
                "times zlib": round(megabytes * 1e6 / wall / reference, 2),
                "peak MB": usage.ru_maxrss // 1024,
                "bar": "5 times at 500 MB, memory flat",
            }
        )
        shutil.rmtree(folder)
    return out


WORKLOADS: dict[str, Callable[[Path, str, list[Peer], int], list[Row]]] = {
    "cached": cached,
    "execs": execs,
    "context": big_context,
    "gzip": gzip_layer,
}
