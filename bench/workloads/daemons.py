"""Builds that move nothing: what a daemon and its client spend on them."""

from __future__ import annotations

import time

from bench.contexts import context, definition, solving
from bench.peers import Bench, Peer
from bench.rows import Row, compare


def chain(bench: Bench) -> list[Row]:
    """500 file steps in a chain, all cached."""
    from buildkit import llb

    state = llb.scratch()
    for step in range(500):
        state = state.file(llb.mkfile(f"/f{step}", f"{step}"))
    command = solving(definition(bench.work / "chain.llb", state))
    with bench.daemons("chain") as peers:
        for peer in peers:
            peer.measure(command(peer))
        costs = bench.interleave(peers, bench.runs, lambda peer, _: command(peer))
    return compare("500 chained cached steps", costs, {"buildkit": 0.2}, unit="daemon s", beside=("wall s",))


def noop(bench: Bench) -> list[Row]:
    """A cached build of a small Dockerfile: our client on our daemon against theirs on theirs."""
    small = context(bench.work, "noop", "FROM scratch\nCOPY f /f\n")
    (small / "f").write_text("content\n")
    steps = "".join(f"RUN echo {i} > /r{i}\nCOPY src/d{i} /c{i}\n" for i in range(9))
    large = context(bench.work, "noop20", f"FROM {bench.base}\n{steps}WORKDIR /w\nENV A=b\n", 1000)
    rows: list[Row] = []
    with bench.daemons("noop", own_clients=True) as peers:
        for name, folder in (("2 steps", small), ("20 steps", large)):
            for peer in peers:
                peer.measure(peer.build(folder))
                peer.measure(peer.build(folder))
            costs = bench.interleave(peers, bench.runs * 5, lambda peer, _, folder=folder: peer.build(folder))
            title = f"cached build on daemons, {name}"
            rows += compare(title, costs, {"buildkit": 1.5}, unit="wall s", beside=("cpu s", "daemon s"))
    return rows


def steps(bench: Bench) -> list[Row]:
    """20 x RUN true, cold, by daemons."""
    folder = context(bench.work, "steps", "")

    def command(peer: Peer, run: int) -> list[str]:
        lines = "".join(f"RUN true {peer.name}-{run}-{i}-{time.time_ns()}\n" for i in range(20))
        (folder / "Dockerfile").write_text(f"FROM {bench.base}\n{lines}")
        return peer.build(folder)

    with bench.daemons("steps") as peers:
        for peer in peers:
            peer.measure(command(peer, -1))
        costs = bench.interleave(peers, bench.runs, command)
    return compare("20 x RUN true on daemons", costs, {"buildkit": 0.5}, unit="wall s", beside=("cpu s",))
