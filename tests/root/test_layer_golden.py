from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from tests.kit.trees import digest, listing, unpack

from buildkit.fs.layer import changes_of_upper, write_layer
from buildkit.fs.mount import mounted, opened, overlay_of

pytestmark = pytest.mark.root
GOLDEN = Path(__file__).parent.parent / "golden"


def run(script: str, root: Path | str) -> None:
    environment = {**os.environ, "ROOT": str(root), "TZ": "UTC", "LC_ALL": "C.UTF-8"}
    subprocess.run(["busybox", "sh", str(GOLDEN / script)], env=environment, check=True)


def upper_tar(upper: Path, lower: int | None) -> bytes:
    parts: list[bytes] = []
    write_layer(changes_of_upper(str(upper), lower), parts.append)
    return b"".join(parts)


@pytest.fixture
def steps(tmp_path: Path) -> tuple[Path, Path]:
    """The upper directories of the two recorded steps, made again."""
    for name in ("one", "two", "work"):
        (tmp_path / name).mkdir()
    run("layer_one.sh", tmp_path / "one")
    with mounted([overlay_of([str(tmp_path / "one")], str(tmp_path / "two"), str(tmp_path / "work"))]) as place:
        run("layer_two.sh", place)
    return tmp_path / "one", tmp_path / "two"


@pytest.mark.row("E57", "X62", "X63")
def test_diff_ids_equal_those_of_the_real_daemon(steps: tuple[Path, Path]) -> None:
    one, two = steps
    golden = json.loads((GOLDEN / "layers.json").read_text())
    assert digest(upper_tar(one, None)) == golden["one"]
    with opened(overlay_of([str(one)])) as lower:
        assert digest(upper_tar(two, lower)) == golden["two"]


@pytest.mark.parametrize("whiteouts", ["apply", "overlay"])
def test_layers_of_an_overlay_unpack_to_what_the_overlay_showed(steps, tmp_path: Path, whiteouts: str) -> None:
    one, two = steps
    with opened(overlay_of([str(one)])) as lower:
        first, second = upper_tar(one, None), upper_tar(two, lower)
    with mounted([overlay_of([str(two), str(one)])]) as place:
        wanted = listing(Path(place))
    unpack(first, tmp_path / "a")
    if whiteouts == "apply":
        assert unpack(second, tmp_path / "a") == wanted
    else:
        unpack(second, tmp_path / "b", whiteouts="overlay")
        with mounted([overlay_of([str(tmp_path / "b"), str(tmp_path / "a")])]) as place:
            assert listing(Path(place)) == wanted


def test_owners_devices_and_capabilities_survive_a_round_trip(steps, tmp_path: Path) -> None:
    one, _ = steps
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    os.setxattr(one / "t/same", "security.capability", capability)
    os.utime(one / "t/same", (5, 5))
    content = upper_tar(one, None)
    unpack(content, tmp_path / "copy")
    assert upper_tar(tmp_path / "copy", None) == content
    assert os.getxattr(tmp_path / "copy/t/same", "security.capability") == capability


def test_an_opaque_marker_hides_what_lies_below(tmp_path: Path) -> None:
    from tests.kit.trees import plant, tar_of

    lower = plant(tmp_path / "lower", "d/old", "gone")
    unpack(tar_of(("d/.wh..wh..opq", b""), ("d/new", b"n"), (".wh.gone", b"")), tmp_path / "upper", whiteouts="overlay")
    with mounted([overlay_of([str(tmp_path / "upper"), str(lower)])]) as place:
        assert listing(Path(place)) == {"d": "d", "d/new": "n"}


def test_a_moved_directory_of_an_overlay_is_refused(tmp_path: Path) -> None:
    from buildkit.core.errors import Unsupported

    (tmp_path / "upper/d").mkdir(parents=True)
    os.setxattr(tmp_path / "upper/d", "trusted.overlay.redirect", b"/elsewhere")
    with pytest.raises(Unsupported, match="d: overlay redirects"):
        upper_tar(tmp_path / "upper", None)
