"""What a fully cached rebuild imports: start-up time is most of it, so every module is on a committed list.

A module that is missing there is imported where it is used, or costs every build: then it is added by hand.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

ALLOWED = (Path(__file__).parent / "allowed_cached_imports.txt").read_text().split()
SOURCE = Path(__file__).parents[2] / "src"
PROGRAM = """
import sys
import typing, contextlib, enum, re, functools
before = set(sys.modules)
from buildkit.cli.main import main
assert main(sys.argv[1:]) == 0
print("\\n".join(name for name in set(sys.modules) - before if sys.modules[name] is not None))
"""


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """The modules of the second build of a project."""
    root = tmp_path_factory.mktemp("cached")
    context = root / "context"
    (context / "src/d").mkdir(parents=True)
    (context / "src/d/file").write_text("content")
    (context / "Dockerfile").write_text("FROM scratch AS base\nCOPY src /src\nFROM base\nCOPY src/d /d\nENV A=b\n")
    (context / ".dockerignore").write_text("*.tmp\n")
    command = [sys.executable, "-S", "-c", PROGRAM, "build", "--root", str(root / "state"), "--progress", "plain"]
    command += ["--frontend", "dockerfile.v0", "--local", f"context={context}", "--local", f"dockerfile={context}"]
    environment = {**os.environ, "PYTHONPATH": f"{SOURCE}:{Path(msgspec.__file__).parents[1]}"}
    environment.pop("BUILDKIT_HOST", None)
    for _ in range(2):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stderr.count("CACHED") >= 2
    return set(done.stdout.split())


def test_a_cached_rebuild_imports_nothing_but_the_allowed_modules(imported):
    assert imported - set(ALLOWED) == set()


@pytest.mark.parametrize(
    "heavy",
    "ssl _ssl http.client email urllib.request google.protobuf tarfile inspect logging subprocess ctypes "
    "buildkit.executor.runc buildkit.fs.copy buildkit.store.gc buildkit.oci.compress".split(),
)
def test_a_cached_rebuild_does_without_heavy_modules(imported, heavy):
    assert heavy not in imported
