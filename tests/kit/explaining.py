"""Projects whose builds are explained."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.kit.images import BUSYBOX, copy_to_registry, make_image

from buildkit.cli.main import main

CHANGE = ("field", "path", "old", "new")
Told = list[tuple[object, ...]]
"""(name, reason, field, path, old, new) of each change."""


class Like:
    """Equal to every text that a pattern matches."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and re.fullmatch(self._pattern, other) is not None

    def __hash__(self) -> int:
        return hash(self._pattern)

    def __repr__(self) -> str:
        return f"Like({self._pattern!r})"


DIGEST = Like("sha256:[0-9a-f]{64}")
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"


def shell_image(folder: Path, host: str) -> str:
    """The name of an image with a shell in the registry at ``host``."""
    image = make_image(folder, [{"bin/sh": BUSYBOX.read_bytes(), "etc/passwd": "u:x:7:7::/:/bin/sh\n"}])
    copy_to_registry(image, f"{host}/shell:1")
    return f"{host}/shell:1"


class Project:
    """A directory with a Dockerfile, built again and again."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str], where: Sequence[str] = ()) -> None:
        """``where`` says who builds: an engine with its state beside ``root`` unless it is a daemon's address."""
        self.root, self._capsys = root, capsys
        self._where = (*where,) or ("--root", str(root.parent / "state"))
        self.context = root / "context"
        self.context.mkdir(parents=True)

    def write(self, **files: str) -> Project:
        """Write files of the context; ``__`` is a slash."""
        for name, content in files.items():
            path = self.context / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        return self

    def run(self, *arguments: str) -> int:
        """Run a command; gives its status."""
        name, value = self._where
        if name == "--addr":
            return main([name, value, *arguments])
        return main([arguments[0], name, value, *arguments[1:]])

    def build(self, *flags: str, status: int = 0) -> list[dict[str, object]]:
        """Build; gives what ``--explain=json`` says."""
        file = self.root / "explained"
        said = self.run("build", "--progress=plain", "--explain-file", str(file), *flags, str(self.context))
        assert said == status, self._capsys.readouterr().err
        return [json.loads(line) for line in file.read_text().splitlines()]

    def why(self, *flags: str, status: int = 0) -> Told:
        """The same in short, and all of it."""
        found = []
        for one in self.build(*flags, status=status):
            assert list(one)[:7] == ["vertex", "name", "reason", *CHANGE] and set(list(one)[7:]) <= {"changes"}
            assert one["vertex"] == DIGEST
            changes = one.get("changes", [one])
            if one["reason"] in ("changed", "input"):
                assert all(c["old"] != c["new"] or "(hidden)" in c["new"] for c in changes)
            assert len(changes) > 1 or "changes" not in one
            assert [one[k] for k in CHANGE] == [changes[0][k] for k in CHANGE]
            found += [(one["name"], one["reason"], *(change[k] for k in CHANGE)) for change in changes]
        return found
