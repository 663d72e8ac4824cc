"""Whole commands: the engine in the command against buildah, and against a client of a real daemon."""

from __future__ import annotations

import time

from bench.contexts import context
from bench.peers import Bench, Peer
from bench.rows import Row, compare


def cached(bench: Bench) -> list[Row]:
    """A fully cached rebuild of 20 steps with a 1,000-file context."""
    steps = "".join(f"RUN echo {i} > /r{i}\nCOPY src/d{i} /c{i}\n" for i in range(9))
    folder = context(bench.work, "cached", f"FROM {bench.base}\n{steps}WORKDIR /w\nENV A=b\n", 1000)
    for peer in bench.peers:
        peer.measure(peer.build(folder))
    costs = bench.interleave(bench.peers, bench.runs * 3, lambda peer, _: peer.build(folder))
    return compare(
        "cached rebuild, 20 steps", costs, {"buildah": 0.3, "buildkit": 1.5}, unit="wall s", beside=("cpu s",)
    )


def lines(bench: Bench) -> list[Row]:
    """A fully cached rebuild of a Dockerfile of 500 lines in ten stages."""
    stages = []
    for stage in range(10):
        body = "".join(f"ENV A{i}=b{i} C{i}=$A{i}\nLABEL l{i}=${{A{i}:-none}}\nARG x{i}=1\n" for i in range(14))
        copies = "".join(f"COPY src/d{(stage + i) % 37} /s{stage}/{i}/\n" for i in range(6))
        stages.append(f"FROM {bench.base} AS s{stage}\nWORKDIR /w{stage}\n{body}{copies}")
    last = f"FROM {bench.base}\n" + "".join(f"COPY --from=s{stage} /s{stage} /all/{stage}\n" for stage in range(9))
    folder = context(bench.work, "lines", "".join(stages) + last, 1000)
    for peer in bench.peers:
        peer.measure(peer.build(folder))
    costs = bench.interleave(bench.peers, bench.runs * 3, lambda peer, _: peer.build(folder))
    return compare("cached rebuild, 500 lines", costs, {"buildkit": 1.5}, unit="wall s", beside=("cpu s",))


def execs(bench: Bench) -> list[Row]:
    """20 x RUN true, cold: every run has commands that were never seen."""
    folder = context(bench.work, "execs", "")

    def command(peer: Peer, run: int) -> list[str]:
        lines = "".join(f"RUN true {peer.name}-{run}-{i}-{time.time_ns()}\n" for i in range(20))
        (folder / "Dockerfile").write_text(f"FROM {bench.base}\n{lines}")
        return peer.build(folder)

    for peer in bench.peers:
        peer.measure(command(peer, -1))
    costs = bench.interleave(bench.peers, bench.runs, command)
    return compare("20 x RUN true, cold", costs, {"buildah": 0.5, "buildkit": 0.5}, unit="wall s", beside=("cpu s",))


def big_context(bench: Bench) -> list[Row]:
    """A 20,000-file context of which one file is used."""
    folder = context(bench.work, "many", f"FROM {bench.base}\nCOPY src/d0/f0.txt /f\n", 20_000)
    for peer in bench.peers:
        peer.measure(peer.build(folder))
    costs = bench.interleave(bench.peers, bench.runs, lambda peer, _: peer.build(folder))
    return compare("20,000-file context, one used", costs, {}, unit="wall s", beside=("cpu s",))
