"""Keyword arguments that there are not."""

import pytest

from buildkit import llb
from buildkit.client.builds import solve_options
from buildkit.core.errors import InvalidInput

BASE = llb.image("busybox")

CALLS = {
    "image": lambda **wrong: llb.image("busybox", **wrong),
    "oci_layout": lambda **wrong: llb.oci_layout("n", **wrong),
    "image_blob": lambda **wrong: llb.image_blob("n", **wrong),
    "oci_layout_blob": lambda **wrong: llb.oci_layout_blob("n", **wrong),
    "local": lambda **wrong: llb.local("src", **wrong),
    "http": lambda **wrong: llb.http("https://h/f", **wrong),
    "git": lambda **wrong: llb.git("https://h/r.git", **wrong),
    "merge": lambda **wrong: llb.merge([BASE, BASE], **wrong),
    "diff": lambda **wrong: llb.diff(BASE, BASE, **wrong),
    "nested": lambda **wrong: llb.nested(BASE, **wrong),
    "copy": lambda **wrong: llb.copy(BASE, "a", "b", **wrong),
    "run": lambda **wrong: BASE.run("true", **wrong),
    "file": lambda **wrong: BASE.file(llb.mkdir("/d"), **wrong),
    "requires": lambda **wrong: BASE.requires("after", BASE, **wrong),
    "marshal": lambda **wrong: BASE.marshal(**wrong),
    "with_marshal_defaults": lambda **wrong: BASE.with_marshal_defaults(**wrong),
}


@pytest.mark.parametrize("name", CALLS)
def test_an_unknown_keyword_argument_is_refused_by_name(name):
    with pytest.raises(TypeError, match=rf"^{name}\(\) got an unexpected keyword argument 'exclud'$"):
        CALLS[name](exclud=["a"])


def test_a_shortcut_reads_its_keyword_arguments_too():
    with pytest.raises(TypeError, match="'nam'"):
        llb.merge([], nam="x")
    with pytest.raises(TypeError, match="'nam'"):
        llb.diff(llb.scratch(), BASE, nam="x")
    with pytest.raises(TypeError, match="'nam'"):
        BASE.requires("id", nam="x")


async def test_an_image_is_not_resolved_when_its_options_are_wrong():
    async def resolver(ref, *, platform, resolve_mode):
        raise AssertionError("asked")

    with pytest.raises(TypeError, match=r"resolved_image\(\) got an unexpected keyword argument 'pins'"):
        await llb.resolved_image("busybox", resolver, pins=True)


def test_an_unknown_option_of_a_build_is_refused_by_name():
    def build():
        return solve_options(".", ouputs=["x"])

    with pytest.raises(TypeError, match=r"^build\(\) got an unexpected keyword argument 'ouputs'$"):
        build()


def test_platforms_may_be_written_as_text():
    arm = llb.Platform("linux", "arm", "v7")
    assert llb.image("a", platform="linux/arm").marshal().ops == llb.image("a", platform=arm).marshal().ops
    assert BASE.platform("linux/aarch64").settings.platform == llb.Platform("linux", "arm64")
    with pytest.raises(InvalidInput, match="unknown operating system or architecture"):
        llb.image("a", platform="nowhere")
