"""What tests with other programs build on."""

import pytest
from tests.kit.images import busybox_image, copy_to_registry
from tests.kit.registry import registry
from tests.kit.webs import Origin, git_web_server


@pytest.fixture(scope="session")
def registry_host(tmp_path_factory):
    """``127.0.0.1:port`` of a real registry."""
    with registry(tmp_path_factory.mktemp("shared-registry")) as address:
        yield address


@pytest.fixture(scope="session")
def base(registry_host, tmp_path_factory):
    """The name of a small base image in the registry."""
    copy_to_registry(busybox_image(tmp_path_factory.mktemp("busybox")), f"{registry_host}/base:1")
    return f"{registry_host}/base:1"


@pytest.fixture
def origin(tmp_path):
    """A git repository that a server may serve."""
    folder = tmp_path / "served"
    folder.mkdir()
    return Origin(folder)


@pytest.fixture
def url(origin):
    """Where ``origin`` is served."""
    with git_web_server(origin.path.parent) as server:
        yield f"{server}/app.git"
