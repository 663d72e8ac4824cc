from __future__ import annotations

import os
from pathlib import Path

import pytest

from buildkit.core.errors import FailedPrecondition
from buildkit.fs import overlay, syscalls
from buildkit.fs.mount import Mount, bind, mount, mounted, mounts_below, opened, overlay_of, unmount

pytestmark = pytest.mark.root


def layers(root: Path, count: int) -> list[str]:
    """``count`` directories, topmost first, each with one file named by its number."""
    made = []
    for number in range(count):
        directory = root / f"layer-{number:05}" / "fs"
        directory.mkdir(parents=True)
        (directory / str(number)).write_text("x")
        made.append(str(directory))
    return made[::-1]


def writable(root: Path, lowers: list[str]) -> Mount:
    (root / "upper").mkdir()
    (root / "work").mkdir()
    return overlay_of(lowers, str(root / "upper"), str(root / "work"))


@pytest.mark.parametrize("count", [1, 2, 20, 300, 500])
def test_an_overlay_shows_all_its_layers_and_leaves_no_mount(tmp_path: Path, count: int) -> None:
    with mounted([overlay_of(layers(tmp_path, count))]) as place:
        assert len(os.listdir(place)) == count
    assert mounts_below(place) == []
    assert not os.path.exists(place)


def test_more_layers_than_the_kernel_takes_are_refused_by_number(tmp_path: Path) -> None:
    with pytest.raises(FailedPrecondition, match="501 lower directories"):
        with mounted([overlay_of(layers(tmp_path, 501))]):
            pass


def test_a_helper_process_mounts_by_relative_names_where_the_kernel_is_old(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(overlay, "has_mount_api", lambda: False)
    monkeypatch.setattr(overlay, "has_lowerdir_plus", lambda: False)
    with mounted([writable(tmp_path, layers(tmp_path, 200))]) as place:
        assert len(os.listdir(place)) == 200
        Path(place, "new").write_text("y")
    assert (tmp_path / "upper" / "new").read_text() == "y"


def test_names_too_long_even_when_relative_are_refused(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(overlay, "has_mount_api", lambda: False)
    monkeypatch.setattr(overlay, "has_lowerdir_plus", lambda: False)
    with pytest.raises(FailedPrecondition, match="flatten"):
        with mounted([overlay_of(layers(tmp_path, 400))]):
            pass


@pytest.mark.parametrize("fallback", [False, True])
def test_an_opened_overlay_is_written_through_a_descriptor_and_is_in_no_table(tmp_path, monkeypatch, fallback) -> None:
    if fallback:
        monkeypatch.setattr(overlay, "has_mount_api", lambda: False)
    with opened(writable(tmp_path, layers(tmp_path, 3))) as fd:
        assert sorted(os.listdir(fd)) == ["0", "1", "2"]
        os.mkdir("made", dir_fd=fd)
        os.unlink("1", dir_fd=fd)
        assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()
        assert sorted(os.listdir(fd)) == ["0", "2", "made"]
    assert (tmp_path / "upper" / "made").is_dir()


def test_paths_longer_than_a_configuration_string_are_mounted(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 200) / ("e" * 200)
    with opened(writable(deep, layers(deep, 3))) as fd:
        os.mkdir("made", dir_fd=fd)
    assert (deep / "upper" / "made").is_dir()


@pytest.mark.parametrize("name", ["co:lon", "com,ma", "back\\slash"])
@pytest.mark.parametrize("count", [2, 150])
def test_separators_in_directory_names_are_escaped(tmp_path: Path, name: str, count: int) -> None:
    root = tmp_path / name
    with mounted([writable(root, layers(root, count))]) as place:
        assert len(os.listdir(place)) == count
        Path(place, "new").touch()
    assert (root / "upper" / "new").exists()


@pytest.mark.parametrize("fallback", [False, True])
def test_a_read_only_bind_refuses_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fallback: bool) -> None:
    if fallback:
        monkeypatch.setattr(overlay, "has_mount_api", lambda: False)
    (tmp_path / "source").mkdir()
    with mounted([bind(str(tmp_path / "source"), readonly=True)]) as place:
        with pytest.raises(OSError, match="Read-only"):
            Path(place, "new").touch()
    with mounted([bind(str(tmp_path / "source"))]) as place:
        Path(place, "new").touch()


def test_an_opened_read_only_bind_refuses_writing(tmp_path: Path) -> None:
    with opened(bind(str(tmp_path), readonly=True)) as fd:
        with pytest.raises(OSError, match="Read-only"):
            os.mkdir("new", dir_fd=fd)


def test_a_target_behind_a_symlink_stays_in_the_root(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "inner").mkdir(parents=True)
    os.symlink("/inner", root / "link")
    mount(Mount("tmpfs", "tmpfs", "/link", ("size=1m",)), str(root))
    assert mounts_below(str(root)) == [str(root / "inner")]
    unmount(str(root / "inner"))


def test_a_failed_mount_names_the_file_system_and_the_place(tmp_path: Path) -> None:
    with pytest.raises(FailedPrecondition, match=f"cannot mount bind {tmp_path}/gone on {tmp_path}"):
        mount(bind(str(tmp_path / "gone")), str(tmp_path))


def test_unmounting_what_is_not_mounted_says_so(tmp_path: Path) -> None:
    with pytest.raises(FailedPrecondition, match=f"cannot unmount {tmp_path}"):
        unmount(str(tmp_path))


def test_a_busy_mount_is_detached(tmp_path: Path) -> None:
    mount(Mount("tmpfs", "tmpfs"), str(tmp_path))
    fd = os.open(tmp_path, os.O_RDONLY)
    unmount(str(tmp_path))
    os.close(fd)
    assert mounts_below(str(tmp_path)) == []


def test_mount_points_below_a_place_come_deepest_first(tmp_path: Path) -> None:
    with mounted([Mount("tmpfs", "tmpfs")], str(tmp_path)):
        (tmp_path / "a b").mkdir()
        with mounted([Mount("tmpfs", "tmpfs")], str(tmp_path / "a b")):
            assert mounts_below(str(tmp_path)) == [str(tmp_path / "a b"), str(tmp_path)]


def test_mount_flags_reach_the_kernel(tmp_path: Path) -> None:
    with mounted([Mount("tmpfs", "tmpfs", "", ("nosuid", "noexec", "ro", "rprivate"))], str(tmp_path)):
        flags = os.statvfs(tmp_path).f_flag
        assert flags & syscalls.MS_NOSUID and flags & syscalls.MS_NOEXEC and flags & syscalls.MS_RDONLY
