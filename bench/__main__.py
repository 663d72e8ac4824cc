"""``python -m bench [WORKLOAD …]``: run workloads, print a table, write JSON below bench/results/.

Put the state where deleting costs nothing (``--work /dev/shm``): ext4 takes long to use freed inodes again.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from bench.peers import ROOT, Bench, peers
from bench.rows import Row, table
from bench.workloads import WORKLOADS


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("workload", nargs="*", help=f"of {', '.join(WORKLOADS)} (default: all)")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--peers", default="buildah,buildkit")
    parser.add_argument("--work", default=None, help="folder for state and contexts (default: a temporary one)")
    options = parser.parse_args()
    if unknown := set(options.workload) - set(WORKLOADS):
        parser.error(f"no such workload: {', '.join(sorted(unknown))}")
    sys.path[:0] = [str(ROOT), str(ROOT / "src")]
    from tests.kit.images import busybox_image, copy_to_registry
    from tests.kit.registry import registry

    results: list[Row] = []
    with tempfile.TemporaryDirectory(dir=options.work, prefix="bench-") as folder:
        work = Path(folder)
        with registry(work / "registry") as host, peers(work, set(options.peers.split(","))) as builders:
            base = f"{host}/base:1"
            copy_to_registry(busybox_image(work / "base"), base)
            bench = Bench(work, base, builders, options.runs)
            for name in options.workload or WORKLOADS:
                found = WORKLOADS[name](bench)
                print(table(found), end="\n\n", flush=True)
                results += found
    if len(results) > len(found):
        print(table(results))
    target = ROOT / "bench/results"
    target.mkdir(exist_ok=True)
    report = {"processors": os.cpu_count(), "load": os.getloadavg(), "rows": [row.fields() for row in results]}
    (target / f"{time.strftime('%Y%m%d-%H%M%S')}.json").write_text(json.dumps(report, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
