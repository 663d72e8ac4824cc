"""``COPY --link`` into another base: the layer is there already, and stays as it is."""

import os

import pytest

pytestmark = pytest.mark.root

FIRST = "FROM base\nCOPY --link src /d/\nRUN test -e /d/f0\n"
OTHER_BASE = "FROM base\nRUN echo other > /other\nCOPY --link src /d/\nRUN test -e /d/f0 && test -e /other\n"


def files_of_steps(project):
    """What tells files of snapshots apart and whether anything was done to them, by path."""
    found = {}
    for folder, _, names in os.walk(project.folder / "state/snapshots"):
        for name in names:
            path = os.path.join(folder, name)
            status = os.lstat(path)
            found[path] = (status.st_ino, status.st_nlink, status.st_mtime_ns, status.st_ctime_ns)
    return found


def test_a_linked_copy_into_a_new_base_touches_none_of_its_files(project):
    project.write(**{f"src__f{number}": str(number) for number in range(50)})
    project.build(FIRST)
    before = files_of_steps(project)
    layer = {path: seen for path, seen in before.items() if path.rsplit("/", 2)[1] == "d"}
    assert len(layer) == 50
    project.build(OTHER_BASE)
    after = files_of_steps(project)
    assert {path: after[path] for path in layer} == layer
    assert len([path for path in after if path.rsplit("/", 2)[1] == "d"]) == 50
