"""What end-to-end tests of the engine build on."""

import pytest
from tests.kit.images import busybox_image
from tests.kit.projects import Project


@pytest.fixture(scope="session")
def busybox(tmp_path_factory):
    """``layout@digest`` of a small base image."""
    folder = tmp_path_factory.mktemp("busybox")
    return f"{folder}@{busybox_image(folder).root.digest}"


@pytest.fixture
def project(tmp_path, busybox):
    """An empty project that may say ``FROM base``."""
    return Project(tmp_path, busybox)
