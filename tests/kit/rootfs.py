"""A root file system of Debian's static busybox, for containers of tests."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

BUSYBOX = Path("/bin/busybox")
APPLETS = (
    "sh cat chmod echo env false head id kill ln ls mkdir mknod mount printf ps rm sleep stat touch true wc".split()
)
PATH = "PATH=/bin"


def busybox_root(path: Path, *, accounts: bool = True) -> Path:
    """Fill the directory ``path`` (created); skips the test where busybox-static is not installed."""
    if not BUSYBOX.exists():
        pytest.skip("busybox-static is not installed")
    (path / "bin").mkdir(parents=True)
    shutil.copy(BUSYBOX, path / "bin/busybox")
    for applet in APPLETS:
        (path / "bin" / applet).symlink_to("busybox")
    if accounts:
        (path / "etc").mkdir()
        (path / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\nann:x:10:20::/:/bin/sh\n")
        (path / "etc/group").write_text("root:x:0:\nstaff:x:20:\nwheel:x:30:ann\n")
    return path
