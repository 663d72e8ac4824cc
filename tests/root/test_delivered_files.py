"""What only root can export: owners, devices, privileged attributes."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from tests.kit.trees import plant

from buildkit.exporter.delivery import Delivery
from buildkit.exporter.files import TreeTar

pytestmark = pytest.mark.root
CAPABILITY = "security.capability"
NET_RAW = bytes.fromhex("0100000200200000000000000000000000000000")


@pytest.fixture
def tree(tmp_path):
    root = plant(tmp_path / "tree", "d/f", "link -> d/f")
    os.chown(root / "d", 7, 8)
    os.chown(root / "d" / "f", 1000, 1001)
    os.chown(root / "link", 3, 4, follow_symlinks=False)
    os.chmod(root / "d" / "f", 0o4711)
    os.setxattr(root / "d" / "f", CAPABILITY, NET_RAW)
    os.mknod(root / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mkfifo(root / "pipe", 0o640)
    return root


@pytest.mark.row("E84")
def test_root_delivers_owners_devices_and_attributes(tree, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    Delivery(out).write(str(tree))
    owners = {name: (out / name).lstat() for name in ("d", "d/f", "link", "null", "pipe")}
    found = {name: (status.st_uid, status.st_gid) for name, status in owners.items()}
    assert found == {"d": (7, 8), "d/f": (1000, 1001), "link": (3, 4), "null": (0, 0), "pipe": (0, 0)}
    assert stat.S_IMODE(owners["d/f"].st_mode) == 0o4711 and os.getxattr(out / "d" / "f", CAPABILITY) == NET_RAW
    assert stat.S_ISCHR(owners["null"].st_mode) and owners["null"].st_rdev == os.makedev(1, 3)
    assert stat.S_ISFIFO(owners["pipe"].st_mode) and stat.S_IMODE(owners["pipe"].st_mode) == 0o640


@pytest.mark.row("E84")
def test_others_deliver_under_their_own_name(tmp_path):
    root = plant(tmp_path / "tree", "d/f")
    os.chown(root / "d" / "f", 1000, 1001)
    out = tmp_path / "out"
    out.mkdir()
    os.chown(out, 65534, 65534)
    for parent in (tmp_path, *tmp_path.parents):
        if parent.stat().st_uid == 0 and not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o011)
    program = (
        "import os, sys; from pathlib import Path; from buildkit.exporter.delivery import Delivery;"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534); Delivery(Path(sys.argv[1])).write(sys.argv[2])"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    subprocess.run([sys.executable, "-c", program, str(out), str(root)], env=environment, check=True)
    assert (out / "d" / "f").stat().st_uid == 65534 and (out / "d" / "f").read_text() == "d/f"


@pytest.mark.row("E88")
def test_a_tar_carries_owners_devices_and_attributes(tree):
    out = io.BytesIO()
    writer = TreeTar(out, lambda path, seconds: seconds)
    writer.add(str(tree), "", None)
    writer.finish()
    with tarfile.open(fileobj=io.BytesIO(out.getvalue())) as tar:
        found = {member.name: member for member in tar}
    assert (found["d/f"].uid, found["d/f"].gid, found["d/f"].mode) == (1000, 1001, 0o4711)
    assert found["d/f"].pax_headers["SCHILY.xattr.security.capability"].encode("utf-8", "surrogateescape") == NET_RAW
    assert found["null"].ischr() and (found["null"].devmajor, found["null"].devminor) == (1, 3)
    assert found["pipe"].isfifo() and (found["d"].uid, found["d"].gid) == (7, 8)
