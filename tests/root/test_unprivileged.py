import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.root
PROGRAM = "import os, sys; os.setgid(65534); os.setuid(65534); from buildkit.cli.main import main; sys.exit(main())"


@pytest.fixture
def open_folder():
    """A folder that anybody may read, and its parents."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_a_build_without_root_says_so_at_once(open_folder):
    (open_folder / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "XDG_DATA_HOME": "/nowhere", "HOME": "/nowhere"}
    command = [sys.executable, "-c", PROGRAM, "build", "--progress=plain", open_folder]
    done = subprocess.run(command, env=environ, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith(
        "the engine in this command runs as root only: start as root, or name a daemon with --addr"
    )
    assert len(done.stderr.splitlines()) == 1
