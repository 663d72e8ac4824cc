import pytest

from buildkit.core.errors import InvalidInput
from buildkit.frontend.dockerfile.syntax import find_request, wants_forward


@pytest.mark.row("D5")
@pytest.mark.parametrize(
    ("image", "built_in"),
    [
        ("docker/dockerfile:1", True),
        ("docker.io/docker/dockerfile:1.7-labs", True),
        ("docker/dockerfile-upstream:master", True),
        ("example.org/docker/dockerfile:1", False),
        ("dockerfile", False),
        ("NOT a reference", False),
    ],
)
def test_only_dockers_frontends_are_built_in(image, built_in):
    assert find_request(f"# syntax={image}\nFROM a", {}).is_dockerfile == built_in


@pytest.mark.parametrize(("tag", "labs"), [("1-labs", True), ("labs", True), ("1-labs@sha256:0", True), ("1", False)])
def test_the_labs_channel_is_known_by_its_tag(tag, labs):
    assert find_request(f"# syntax=docker/dockerfile:{tag}\nFROM a", {}).is_labs == labs


@pytest.mark.row("D5", "D157")
def test_the_build_argument_wins_and_a_command_line_means_we_are_the_image():
    text = "# syntax=a/b x\n"
    assert find_request(text, {}).command_line == "a/b x"
    assert find_request(text, {"build-arg:BUILDKIT_SYNTAX": " c y"}).image == "c"
    assert find_request(text, {"build-arg:BUILDKIT_SYNTAX": "dockerfile.v0"}) is None
    assert find_request(text, {"cmdline": "a/b"}) is None


def test_the_option_overrides_the_setting():
    assert not wants_forward({}, default=False)
    assert wants_forward({"syntax": "forward"}, default=False)
    assert not wants_forward({"syntax": "builtin"}, default=True)
    with pytest.raises(InvalidInput, match="invalid value for syntax: x"):
        wants_forward({"syntax": "x"}, default=False)
