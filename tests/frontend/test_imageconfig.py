"""Configs of base images come from anywhere: read or refused, whatever stands in their fields."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from buildkit import llb
from buildkit.core.errors import BuildkitError
from buildkit.frontend.dockerfile.imageconfig import parse_image

PROCESS = (
    "User ExposedPorts Env Entrypoint Cmd Volumes WorkingDir Labels StopSignal ArgsEscaped Healthcheck OnBuild Shell"
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=4)
ANYTHING = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)
CONFIG = st.dictionaries(st.sampled_from([*PROCESS.split(), "env"]), ANYTHING, max_size=4)
WHOLE = "os architecture variant os.version os.features created author rootfs history".split()
IMAGE = st.dictionaries(st.sampled_from(WHOLE), ANYTHING, max_size=4)


@settings(max_examples=300, deadline=None)
@given(IMAGE, CONFIG | ANYTHING)
def test_any_config_is_read_or_refused(image, config):
    content = json.dumps({**image, "config": config})
    for read in (lambda: parse_image(content).to_json().encode(), lambda: llb.scratch().with_image_config(content)):
        try:
            read()
        except BuildkitError as error:
            assert str(error).startswith(("failed to parse image config: ", "not an image config: "))
