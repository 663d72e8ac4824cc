"""Programs of this machine in the root of a container."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path


def add_program(root: Path, program: str) -> None:
    """Copy a program and the libraries that it is linked with into ``root``, at the same paths."""
    found = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    for path in (program, *re.findall(r"(/\S+) \(0x", found)):
        place = root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)
