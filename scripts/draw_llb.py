"""Draw the graph of a program that writes a definition: ``scripts/draw_llb.py PROGRAM [ARGUMENT …] | dot -Tsvg``."""

from __future__ import annotations

import io
import runpy
import sys
from contextlib import redirect_stdout
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))


def graph_of(program: str) -> str:
    """Run a program that writes a definition; gives the graph."""
    from buildkit import llb

    written = io.TextIOWrapper(io.BytesIO())
    with redirect_stdout(written):
        runpy.run_path(program, run_name="__main__")
    content = written.buffer.getvalue()  # type: ignore[attr-defined]
    return llb.load(llb.Definition.from_bytes(content)).to_dot()


if __name__ == "__main__":
    sys.argv = sys.argv[1:]
    print(graph_of(sys.argv[0]), end="")
