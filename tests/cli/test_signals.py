"""Signals end a build cleanly: its scopes are left, and the status tells what happened."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """
import asyncio, sys
from contextlib import asynccontextmanager
from buildkit.core.progress import VertexUpdate
from tests.kit.fake_client import FakeClient
import pytest

class Hanging(FakeClient):
    @asynccontextmanager
    async def build(self, options):
        self.ended = asyncio.Event()
        try:
            yield self
        finally:
            print("left", flush=True)
            self.ended.set()

    async def progress(self):
        yield [VertexUpdate("d", "step", (), 1)]
        print("running", flush=True)
        await self.ended.wait()
        yield [VertexUpdate("d", "step", (), 1, 2, error="context canceled")]

    async def result(self):
        await self.ended.wait()

Hanging().install(pytest.MonkeyPatch())
from buildkit.cli.main import main
sys.exit(main(["build", "--frontend", "x", "--progress", "plain"]))
"""


@pytest.mark.parametrize(
    ("sent", "status", "told"),
    [(signal.SIGINT, 130, "error: interrupted\n"), (signal.SIGTERM, 143, "error: terminated\n")],
)
def test_a_signal_ends_the_build_and_leaves_its_scopes(sent, status, told):
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout.readline() == "running\n"
    process.send_signal(sent)
    out, err = process.communicate()
    assert (out, err, process.returncode) == ("left\n", f"#1 step\n#1 CANCELED\n{told}", status)
