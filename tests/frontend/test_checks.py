"""What build checks say, and where: the name of the rule, its text, the line."""

import pytest
from tests.kit.bridges import FakeBridge
from tests.kit.conversions import converted

from buildkit.frontend.dockerfile.build import DockerfileFrontend

X = {"X": "a"}
SIGNALS = "to prevent unintended behavior related to OS signals"
MAJORITY = "should match the case of the command majority"


def case(text, finding, **build_args):
    return text, finding, build_args


@pytest.mark.row("D192", "D193", "D196", "D198", "D200", "D206", "D211")
@pytest.mark.parametrize(
    ("text", "finding", "build_args"),
    [
        case("FROM a\nRUN x \\\n\n  y\n", "NoEmptyContinuation: Empty continuation line (line 4)"),
        case(
            "FROM a\nRUN x\nrun y\n",
            f"ConsistentInstructionCasing: Command 'run' {MAJORITY} (uppercase) (line 3)",
        ),
        case(
            "from a\nrun x\nRUN y\n",
            f"ConsistentInstructionCasing: Command 'RUN' {MAJORITY} (lowercase) (line 3)",
        ),
        case(
            'FROM a\nCMD x\nENTRYPOINT ["y"]\n',
            f"JSONArgsRecommended: JSON arguments recommended for CMD {SIGNALS} (line 2)",
        ),
        case(
            'FROM a\nENTRYPOINT x\nSHELL ["y"]\nCMD z\n',
            f"JSONArgsRecommended: JSON arguments recommended for ENTRYPOINT {SIGNALS} (line 2)",
        ),
        case("FROM a$X\n", "UndefinedArgInFrom: FROM argument 'X' is not declared (line 1)"),
        case(
            "ARG VERSION=1\nFROM a:1$VERSOIN\n",
            "UndefinedArgInFrom: FROM argument 'VERSOIN' is not declared (did you mean VERSION?) (line 2)",
        ),
        case("FROM a\nUSER $nobody\n", "UndefinedVar: Usage of undefined variable '$nobody' (line 2)"),
        case(
            "FROM a\nARG VERSION=1\nUSER $VERSOIN\n",
            "UndefinedVar: Usage of undefined variable '$VERSOIN' (did you mean $VERSION?) (line 3)",
        ),
        case(
            "ARG X\nFROM $X\n",
            "InvalidDefaultArgInFrom: Default value for ARG $X results in empty or invalid base image name (line 2)",
            **X,
        ),
        case(
            "ARG X=:\nFROM b:$X\n",
            "InvalidDefaultArgInFrom: Default value for ARG b:$X results in empty or invalid base image name (line 2)",
            **X,
        ),
        *(
            case(
                f"FROM a\nEXPOSE {port}\n",
                "ExposeInvalidFormat: EXPOSE instruction should not define an IP address or host-port mapping, "
                f"found '{port}' (line 2)",
            )
            for port in ("127.0.0.1:80:81", "80:81")
        ),
    ],
)
def test_a_check_says(text, finding, build_args):
    assert converted(text, build_args=build_args).findings == [finding]


LAYERS = {"type": "layers", "diff_ids": ["sha256:" + "1" * 64]}


async def warnings(dockerfile, ignored="", **image):
    files = {"Dockerfile": dockerfile.encode(), ".dockerignore": ignored.encode()}
    bridge = FakeBridge({"local://dockerfile": files, "local://context": files}, image={"rootfs": LAYERS, **image})
    await DockerfileFrontend().solve(bridge.bridge(), {"platform": "linux/amd64"}, {})
    return [warning.message for warning in bridge.warnings]


@pytest.mark.row("D203")
async def test_a_base_image_for_another_platform_is_told():
    assert await warnings("FROM a\n", architecture="arm64") == [
        'InvalidBaseImagePlatform: Base image a was pulled with platform "linux/arm64", expected "linux/amd64" '
        "for current build (line 1)"
    ]
    assert await warnings("FROM a\n") == []


@pytest.mark.row("D130", "D208")
async def test_copies_of_what_is_ignored_are_told():
    text = "FROM a\nCOPY x /\nADD d/y z /\nCOPY --from=a x /\n"
    assert await warnings(text, "x\nd\n") == [
        'CopyIgnoredFile: Attempting to Copy file "x" that is excluded by .dockerignore (line 2)',
        'CopyIgnoredFile: Attempting to Add file "d/y" that is excluded by .dockerignore (line 3)',
    ]
    assert await warnings(text, "x\nd\n!x\n") == []
