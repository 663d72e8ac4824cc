"""Layers as files of images."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
import zlib
from pathlib import Path

from bench.cost import environment
from bench.peers import Bench
from bench.rows import Row


def gzip_layer(bench: Bench) -> list[Row]:
    """A layer as gzip against one core of zlib level 6 (a fifth of its time), and memory that is flat."""
    sample, reference = _zlib()
    out: list[Row] = []
    peaks: list[float] = []
    for megabytes in (100, 500, 2000):
        folder = bench.work / f"gzip{megabytes}"
        folder.mkdir()
        with (folder / "big").open("wb") as big:
            for index in range(megabytes // 50):
                big.write(index.to_bytes(4, "big") + sample[4:])
        (folder / "Dockerfile").write_text("FROM scratch\nCOPY big /big\n")
        bench.ours.measure(bench.ours.build(folder))
        wall, peak = _run(bench.ours.build(folder, f"type=oci,dest={folder}/out.tar"))
        peaks.append(peak)
        theirs = megabytes * 1e6 / reference
        bar = 0.2 if megabytes == 500 else None
        out.append(Row(f"gzip layer {megabytes} MB", "zlib -6, one core", "wall s", wall, theirs, bar))
        out.append(Row(f"gzip layer {megabytes} MB", "itself at 100 MB", "MB", peak, peaks[0], 1.1))
        shutil.rmtree(folder)
    return out


def _zlib() -> tuple[bytes, float]:
    """50 MB of text, and how many bytes a second the standard library compresses."""
    text = b"".join(path.read_bytes() for path in sorted(Path(os.__file__).parent.glob("**/*.py"))[:600])
    sample = (text * (50_000_000 // len(text) + 1))[:50_000_000]
    started = time.process_time()
    compressor = zlib.compressobj(6)
    for at in range(0, len(sample), 1 << 20):
        compressor.compress(sample[at : at + (1 << 20)])
    compressor.flush()
    return sample, len(sample) / (time.process_time() - started)


def _run(command: list[str]) -> tuple[float, float]:
    """Wall seconds and peak megabytes of a command."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment())
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    if status:
        raise RuntimeError(f"failed: {' '.join(command)}")
    return wall, usage.ru_maxrss / 1024
