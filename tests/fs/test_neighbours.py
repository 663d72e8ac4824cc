"""Why a path may be missing."""

from __future__ import annotations

import pytest
from tests.kit.trees import plant

from buildkit.fs.neighbours import explain_missing

RULES = ["*.log", "tmp", "!tmp/keep"]


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/servr.py", " (did you mean server.py?)"),
        ("/SRC/main.py", " (did you mean src?)"),
        ("/src/mian.py", " (did you mean src/main.py?)"),
        ("/a.log", ' (it is there, but the rule "*.log" of .dockerignore hides it)'),
        ("/tmp/x", ' (it is there, but the rule "tmp" of .dockerignore hides it)'),
        ("/b.log", ""),
        ("/../../../../etc/passw", ""),
    ],
)
def test_a_missing_path_is_explained(tmp_path, path, told):
    plant(tmp_path, "server.py", "src/main.py", "a.log", "tmp/x", "tmp/keep")
    assert explain_missing(str(tmp_path), path, RULES) == told
