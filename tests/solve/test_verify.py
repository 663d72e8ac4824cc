"""Results are compared with what was asked for."""

import json

import pytest

from buildkit.core.result import Result
from buildkit.frontend.requestopts import KEY, capture
from buildkit.solve.verify import verify_platforms


def warnings(wanted, *found):
    platforms = [dict(zip(("os", "architecture"), one.split("/"), strict=True)) for one in found]
    known = [{"ID": name, "Platform": platform} for name, platform in zip(found, platforms, strict=True)]
    refs = dict.fromkeys(found, "tree") if len(found) > 1 else {"": "tree"}
    metadata = {KEY: capture({"platform": wanted}), "refs.platforms": json.dumps({"Platforms": known}).encode()}
    return list(verify_platforms(Result(refs, len(found) == 1, metadata)))


@pytest.mark.row("D179")
def test_what_was_asked_for_is_kept_with_the_result():
    options = {"platform": "linux/amd64,linux/arm64", "label:b": "2", "label:a": "1", "requestid": "r", "target": "t"}
    assert capture(options) == (b'{"Platforms":["linux/amd64","linux/arm64"],"Labels":{"a":"1","b":"2"},"Request":"r"}')


@pytest.mark.row("D179")
@pytest.mark.parametrize(
    ("wanted", "found", "warning"),
    [
        ("linux/arm64", ["linux/arm64"], None),
        (
            "linux/arm64",
            ["linux/amd64"],
            'Requested platform "linux/arm64" does not match result platform "linux/amd64"',
        ),
        ("linux/s390x,linux/s390x", ["linux/s390x"], 'Duplicate platform result requested "linux/s390x"'),
        ("linux/amd64,linux/arm64", ["linux/arm64"], "Multiple platforms requested but result is not multi-platform"),
        (
            "linux/amd64,linux/arm64",
            ["linux/arm64", "linux/s390x"],
            "Requested platforms linux/amd64,linux/arm64 do not match result platforms linux/arm64,linux/s390x",
        ),
    ],
)
def test_other_platforms_than_asked_for_are_told(wanted, found, warning):
    assert warnings(wanted, *found) == ([warning] if warning else [])
