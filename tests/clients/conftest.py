"""What tests with other programs build on."""

import pytest
from tests.kit.images import busybox_image, copy_to_registry
from tests.kit.registry import registry


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
