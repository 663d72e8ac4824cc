"""Devices of the machine in real containers."""

from functools import partial

import pytest
from tests.root.test_executor import either  # noqa: F401 - a fixture

from buildkit.client import embedded
from buildkit.engine.engine import EngineConfig
from buildkit.executor.cdi import parse_spec
from buildkit.executor.settings import DeviceSettings

pytestmark = pytest.mark.root

LABS = "# syntax=docker/dockerfile:1-labs\n"
SPEC = """
cdiVersion: "0.7.0"
kind: acme.com/toy
devices:
- name: one
  containerEdits:
    env: [TOY=one]
    additionalGids: [77]
    deviceNodes: [{{path: /dev/toys/nil, hostPath: /dev/null, fileMode: 0600}}]
    mounts: [{{hostPath: {host}/lib, containerPath: /opt/toy/lib, options: [ro, nosuid]}}]
    hooks: [{{hookName: createRuntime, path: /bin/sh, args: [sh, -c, "cat > {host}/state"]}}]
"""
SCRIPT = """
echo $TOY; id -G
echo gone > /dev/toys/nil && stat -c '%a %t:%T' /dev/toys/nil
cat /opt/toy/lib; touch /opt/toy/lib 2>/dev/null || echo kept
"""


@pytest.fixture
def spec(tmp_path):
    (tmp_path / "host").mkdir()
    (tmp_path / "host/lib").write_text("library\n")
    return SPEC.format(host=tmp_path / "host")


@pytest.mark.row("L92")
async def test_a_container_gets_what_its_device_needs_and_keeps_none_of_it(either, spec, tmp_path):  # noqa: F811
    edits = parse_spec(spec.encode()).devices[0].container_edits
    out = await either.run(SCRIPT, devices=edits)
    assert out.splitlines() == ["one", "0 77", "600 1:3", "library", "kept"]
    assert (tmp_path / "host/lib").read_text() == "library\n"
    assert '"ociVersion"' in (tmp_path / "host/state").read_text()
    assert not [one for one in either.upper.rglob("*") if not one.is_dir()]
    assert "toys" not in await either.run("ls /dev")


@pytest.mark.row("L92", "D71")
def test_a_build_asks_for_a_device_by_name(project, spec, tmp_path, monkeypatch):
    (tmp_path / "cdi").mkdir()
    (tmp_path / "cdi/toy.yaml").write_text(spec)
    devices = DeviceSettings((str(tmp_path / "cdi"),))
    monkeypatch.setattr(embedded, "EngineConfig", partial(EngineConfig, devices=devices))
    dockerfile = f"{LABS}FROM base\nRUN --device=acme.com/toy,required --device=acme.com/nope env > /out\n"
    assert "device acme.com/toy=one is requested by the build but not allowed" in project.fail(dockerfile)
    assert "TOY=one\n" in project.text(dockerfile, "--allow", "device=acme.com/toy=one")
    missing = (
        'process "/bin/sh -c true" did not complete successfully: CDI device injection failed: required device "x"'
    )
    assert missing in project.fail(f"{LABS}FROM base\nRUN --device=x,required true\n", "--allow", "device")
