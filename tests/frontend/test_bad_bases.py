"""Bases that are no image names, and what is asked and reported besides."""

import pytest
from tests.kit.conversions import Images, converted

from buildkit.frontend.dockerfile.location import DockerfileError

DIGEST = "sha256:" + "a" * 63


@pytest.mark.parametrize(
    ("base", "message"),
    [
        ("b\u200bx", r'failed to parse stage name "b\u200bx": invalid reference format'),
        (f"b@{DIGEST}", f'failed to parse stage name "b@{DIGEST}": invalid checksum digest length'),
        ("b:\u0130", 'failed to parse stage name "b:\u0130": repository name must be lowercase'),
        ("b\udcff", 'failed to parse stage name "b\ufffd": invalid reference format'),
    ],
)
def test_a_base_that_is_no_name_is_quoted(base, message):
    with pytest.raises(DockerfileError) as caught:
        converted(f"FROM {base}\n".encode(errors="surrogateescape"))
    assert str(caught.value).startswith(message)


def test_other_bases_are_asked_for_all_the_same():
    images = Images()
    with pytest.raises(DockerfileError, match='stage name "a/"'):
        converted("FROM a/ AS one\nFROM b AS two\nFROM c\nCOPY --from=two x y\n", images=images)
    assert sorted(images.asked) == ["docker.io/library/b:latest", "docker.io/library/c:latest"]


def test_of_several_bad_bases_the_last_is_reported_then_the_first():
    with pytest.raises(DockerfileError, match='"c/"'):
        converted("FROM a/ AS one\nFROM b/ AS two\nFROM c/\n")
    with pytest.raises(DockerfileError, match='"a/"'):
        converted("FROM a/ AS one\nFROM b/ AS two\nFROM c\n")


def test_the_first_part_of_a_name_need_not_be_a_host():
    assert converted("FROM a_b.c/d\n").sources()[0].startswith("docker-image://a_b.c/d:latest@")
