"""Whatever of a Dockerfile changes: each step that runs is told its own changes, and that a step before it ran."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.kit.explaining import DIGEST, Project
from tests.kit.images import BUSYBOX, make_image

pytestmark = [pytest.mark.root, pytest.mark.slow]

TEXT = """\
FROM base AS one
WORKDIR {workdir}
ENV A={env}
ARG B={arg}
RUN --network={network} --mount=type=tmpfs,target=/t,size={size} echo {command} $A > /o
COPY --chown={owner} --chmod={mode} src /src/
RUN --mount=target=/m,source=bound echo second
FROM scratch
COPY --from=one /o /o
COPY --link linked /l/
"""
CHOICES = {
    "workdir": ("/a", "/b"),
    "env": ("1", "2"),
    "arg": ("3", "4"),
    "network": ("default", "none"),
    "size": ("4096", "8192"),
    "command": ("x", "y"),
    "owner": ("1:1", "2:2"),
    "mode": ("0600", "0640"),
    "src/f": ("1", "2"),
    "src/d/g": ("1", "2"),
    "bound": ("1", "2"),
    "linked": ("1", "2"),
    "unused": ("1", "2"),
    "image": (0, 1),
}
MODES = {"default": "sandbox"}
VARIABLES = {"env": ("env", "A"), "arg": ("env", "B"), "workdir": ("workdir", "")}
STEPS = {
    "WORKDIR": (None, {"workdir": ("path", ""), "image": ("image", "docker.io/library/base")}),
    "RUN --network": (
        "WORKDIR",
        {**VARIABLES, "network": ("network", ""), "size": ("mount", "/t"), "command": ("command", "")},
    ),
    "COPY --chown": (
        "RUN --network",
        {
            "owner": ("chown", ""),
            "mode": ("chmod", ""),
            "src/f": ("content", "/src/f"),
            "src/d/g": ("content", "/src/d/g"),
        },
    ),
    "RUN --mount": ("COPY --chown", {**VARIABLES, "bound": ("content", "/bound")}),
    "COPY --from": (None, {"command": ("content", "/o"), "env": ("content", "/o")}),
    "COPY --link": (None, {"linked": ("content", "/linked")}),
    "LINK": ("COPY --from", {}),
}
"""Of each step, as its name begins: the one before it, and what changes with which choice."""


def told_values(name, before, after):
    """How the values of a choice are told."""
    if name in ("src/f", "src/d/g", "bound", "linked"):
        return DIGEST, DIGEST
    if name == "size":
        return f"tmpfs, size={before}", f"tmpfs, size={after}"
    if name == "command":
        return f"echo {before} $A > /o", f"echo {after} $A > /o"
    return MODES.get(before, before), MODES.get(after, after)


def expected(before, after):
    """The changes of each step that is to run, by the beginning of its name."""
    found = {}
    for step, (previous, fields) in STEPS.items():
        changes = set()
        for name, (field, path) in fields.items():
            if before[name] != after[name]:
                values = (
                    (DIGEST, DIGEST)
                    if path == "/o" or name == "image"
                    else told_values(name, before[name], after[name])
                )
                changes.add((field, path, *values))
        if previous in found:
            changes.add(("input", previous))
        if step == "LINK" and "COPY --link" in found:
            changes.add(("input", "COPY --link"))
        if changes:
            found[step] = changes
    return found


class Version:
    """A project that is built again and again with other choices."""

    def __init__(self, folder, capsys, images):
        self.project = Project(folder, capsys)
        self.images = images

    def why(self, choices):
        files = {name.replace("/", "__"): value for name, value in choices.items() if name in FILES}
        self.project.write(Dockerfile=TEXT.format(**choices), **files, **{".dockerignore": "Dockerfile"})
        image = self.images[choices["image"]]
        base = f"base=oci-layout://base@{image.root.digest}"
        return self.project.build("--build-context", base, "--oci-layout", f"base={image.layout.root}")


FILES = ("src/f", "src/d/g", "bound", "linked", "unused")


def step_of(name):
    """The beginning of a step's name, as `STEPS` has it; None for one that reads a source."""
    return next((step for step in STEPS if name.partition("] ")[2].startswith(step)), None)


def changes_of(entry):
    for one in entry.get("changes", [entry]):
        if one["field"] == "input":
            assert one["new"] == one["path"]
            yield ("input", step_of(one["path"]))
        elif one["field"] == "image" or one["path"] == "/o":
            assert one["old"] != one["new"]
            yield (one["field"], one["path"], DIGEST, DIGEST)
        elif one["field"] == "content":
            assert one["old"] == DIGEST == one["new"] and one["old"] is not one["new"]
            yield (one["field"], one["path"], DIGEST, DIGEST)
        else:
            yield (one["field"], one["path"], one["old"], one["new"])


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    layers = [{"bin/sh": BUSYBOX.read_bytes(), "version": version} for version in "12"]
    return [make_image(tmp_path_factory.mktemp("image"), [layer]) for layer in layers]


choices = st.fixed_dictionaries({name: st.sampled_from(values) for name, values in CHOICES.items()})


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(choices, st.sets(st.sampled_from(list(CHOICES)), max_size=3))
def test_what_changed_is_told_and_nothing_else(capsys, images, before, changed):
    after = {
        name: value if name not in changed else next(one for one in CHOICES[name] if one != value)
        for name, value in before.items()
    }
    with TemporaryDirectory() as folder:
        version = Version(Path(folder) / "project", capsys, images)
        assert {entry["reason"] for entry in version.why(before)} == {"new"}
        entries = [entry for entry in version.why(after) if step_of(entry["name"])]
        told = {step_of(entry["name"]): set(changes_of(entry)) for entry in entries}
        assert len(told) == len(entries)
        assert told == expected(before, after)
        for entry in entries:
            only = {one[0] for one in told[step_of(entry["name"])]} == {"input"}
            assert entry["reason"] == ("input" if only else "changed")
        assert version.why(after) == []
