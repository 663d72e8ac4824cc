import pytest

from buildkit.daemon.cgroups import set_up_groups


@pytest.fixture
def root(tmp_path):
    for name, content in (("procs", "1\n77\n"), ("controllers", "cpu memory pids\n"), ("subtree_control", "")):
        (tmp_path / f"cgroup.{name}").write_text(content)
    return tmp_path


@pytest.mark.row("B69")
@pytest.mark.parametrize("value", ["1", "true", "T"])
def test_processes_move_aside_and_all_controllers_are_handed_on(root, value):
    set_up_groups({"BUILDKIT_SETUP_CGROUPV2_ROOT": value}, root)
    assert (root / "init/cgroup.procs").read_text() == "1\n77\n"
    assert (root / "cgroup.subtree_control").read_text() == "+cpu\n+memory\n+pids\n"


@pytest.mark.row("B69")
@pytest.mark.parametrize(
    "environ", [{}, {"BUILDKIT_SETUP_CGROUPV2_ROOT": "0"}, {"BUILDKIT_SETUP_CGROUPV2_ROOT": "yes"}]
)
def test_groups_stay_as_they_are_unless_that_is_asked_for(root, environ):
    set_up_groups(environ, root)
    assert not (root / "init").exists()


def test_the_older_kind_of_groups_is_left_alone(tmp_path):
    set_up_groups({"BUILDKIT_SETUP_CGROUPV2_ROOT": "1"}, tmp_path)
    assert list(tmp_path.iterdir()) == []
