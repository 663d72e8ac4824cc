import json

import pytest

from buildkit.core.errors import FailedPrecondition, InvalidInput, Unsupported
from buildkit.executor.cdi import DeviceMount, DeviceNode, Edits, Hook, number, parse_spec
from buildkit.executor.device_edits import apply_edits
from buildkit.executor.devices import load_devices
from buildkit.executor.executor import Process
from buildkit.executor.settings import DeviceSettings
from buildkit.executor.spec import Place, make_spec
from buildkit.executor.user import Identity

GPU = """
cdiVersion: "0.6.0"
kind: acme.com/gpu
annotations: {org.mobyproject.buildkit.device.class: accelerator}
containerEdits:
  env: [ALL=1]
devices:
- name: 0
  containerEdits: {env: [WHICH=0]}
- name: "1"
  annotations: {org.mobyproject.buildkit.device.autoallow: "true"}
  containerEdits: {env: [WHICH=1]}
"""
SIMPLE = "cdiVersion: 0.3.0\nkind: acme.com/gpu\ndevices:\n- name: a\n  containerEdits:\n    "


@pytest.fixture
def folder(tmp_path):
    def write(**files):
        for name, text in files.items():
            path = tmp_path / name.replace("__", "/")
            path.parent.mkdir(exist_ok=True)
            path.with_suffix(path.suffix or ".yaml").write_text(text)
        return load_devices(DeviceSettings((f"{tmp_path}/low", f"{tmp_path}/high"), ("acme.com/net",)))

    return write


@pytest.mark.row("L92")
def test_numbers_are_read_as_names_where_names_are_meant():
    spec = parse_spec(GPU.encode())
    assert [device.name for device in spec.devices] == ["0", "1"]
    assert spec.devices[1].container_edits.env == ("WHICH=1",)


@pytest.mark.row("L92")
def test_everything_a_device_may_need_is_read_from_yaml_and_json_alike():
    edits = {
        "env": ["A=1"],
        "deviceNodes": [
            {"path": "/dev/a", "hostPath": "/dev/null", "type": "c", "major": 1, "fileMode": 438, "uid": 0}
        ],
        "hooks": [{"hookName": "createContainer", "path": "/h", "args": ["h", "x"], "timeout": 3}],
        "mounts": [{"hostPath": "/a", "containerPath": "/b", "options": ["ro"], "type": "bind"}],
        "additionalGids": [0, 7],
    }
    text = json.dumps({"cdiVersion": "0.7.0", "kind": "a.b/c.d", "devices": [{"name": "x", "containerEdits": edits}]})
    found = parse_spec(text.encode(), is_json=True)
    assert found == parse_spec(text.encode())
    assert found.devices[0].container_edits == Edits(
        env=("A=1",),
        device_nodes=(DeviceNode("/dev/a", "/dev/null", "c", "1", file_mode="438", uid="0"),),
        hooks=(Hook("createContainer", "/h", ("h", "x"), timeout="3"),),
        mounts=(DeviceMount("/a", "/b", ("ro",), "bind"),),
        additional_gids=("0", "7"),
    )


@pytest.mark.parametrize(("text", "value"), [("0", 0), ("438", 438), ("0666", 438), ("0o666", 438), ("0x1b6", 438)])
def test_numbers_are_written_as_yaml_has_them(text, value):
    assert number(text) == value


@pytest.mark.row("L92")
@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("cdiVersion: 9.9.9\nkind: a/b\n", 'invalid version "9.9.9"'),
        (SIMPLE.replace("acme.com/gpu", "gpu") + "env: [A=1]", "invalid vendor"),
        (SIMPLE.replace("acme.com/gpu", "a/_") + "env: [A=1]", "invalid class"),
        (SIMPLE + "env: []", "invalid device, empty device edits"),
        (SIMPLE + "env: [A]", 'invalid environment variable "A"'),
        (SIMPLE + "envs: [A=1]", "unknown field `envs`"),
        (SIMPLE + "env: [A=1]\n    env: [B=1]", 'key "env" is there more than once'),
        (SIMPLE + "hooks: [{hookName: x, path: /a}]", 'invalid hook name "x"'),
        (SIMPLE + "hooks: [{hookName: prestart, path: ''}]", "with empty path"),
        (SIMPLE + "mounts: [{hostPath: '', containerPath: /a}]", "invalid mount, empty host path"),
        (SIMPLE + "deviceNodes: [{path: /d, type: x}]", 'device "/d": invalid type "x"'),
        (SIMPLE + "deviceNodes: [{path: /d, permissions: rx}]", 'invalid permissions "rx"'),
        (SIMPLE + "deviceNodes: [{path: /d, major: one}]", 'invalid number "one"'),
        (SIMPLE + "deviceNodes: [{path: /d, hostPath: /e}]", "the spec version must be at least v0.5.0"),
        (SIMPLE + "additionalGids: [1]", "the spec version must be at least v0.7.0"),
        (SIMPLE + "netDevices: [{hostInterfaceName: a, name: b}]", "the spec version must be at least v1.1.0"),
        (SIMPLE.replace("0.3.0", "0.7.0") + "intelRdt: {closID: ..}", "invalid ClosID"),
        ("cdiVersion: 0.3.0\nkind: a/b\n", "invalid spec, no devices"),
        ("[" * 100_000, "nested too deeply"),
        ("kind: [", "failed to unmarshal CDI Spec"),
        ("", "failed to unmarshal CDI Spec"),
        ("kind: &a x\ncdiVersion: *a\n", "aliases are not supported"),
    ],
)
def test_a_specification_that_makes_no_sense_is_told_why(text, complaint):
    with pytest.raises(InvalidInput) as caught:
        parse_spec(text.encode())
    assert complaint in str(caught.value)


@pytest.mark.row("L92")
@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        ("acme.com/gpu=1", ["acme.com/gpu=1"]),
        ("acme.com/gpu", ["acme.com/gpu=0"]),
        ("acme.com/gpu=*", ["acme.com/gpu=0", "acme.com/gpu=1"]),
        ("accelerator", ["acme.com/gpu=0", "acme.com/gpu=1"]),
    ],
)
def test_devices_are_named_in_full_by_kind_by_wildcard_and_by_class(folder, wanted, names):
    devices = folder(low__a=GPU, low__b=SIMPLE.replace("gpu", "net") + "env: [A=1]")
    assert devices.resolve([(wanted, False), (wanted, True)]) == names


@pytest.mark.row("L92")
def test_what_is_allowed_to_everyone_is_said_by_the_file_or_by_the_settings(folder):
    devices = folder(low__a=GPU, low__b=SIMPLE.replace("gpu", "net") + "env: [A=1]")
    allowed = {name: device.auto_allowed for name, device in devices.found.items()}
    assert allowed == {"acme.com/gpu=0": False, "acme.com/gpu=1": True, "acme.com/net=a": True}


@pytest.mark.row("L92")
def test_a_device_that_nobody_knows_is_an_error_unless_it_is_optional(folder):
    devices = folder(low__a=GPU)
    assert devices.resolve([("acme.com/gpu=7", True)]) == []
    with pytest.raises(FailedPrecondition, match=r'^required device "acme.com/gpu=7" is not registered$'):
        devices.resolve([("acme.com/gpu=7", False)])
    with pytest.raises(FailedPrecondition, match=r'"nvidia.com/gpu" is not registered \(installing it on demand'):
        devices.resolve([("nvidia.com/gpu", False)])


@pytest.mark.row("L92")
def test_a_broken_file_is_told_to_whoever_misses_a_device(folder):
    devices = folder(low__a=GPU, low__broken="kind: x")
    assert list(devices.found) == ["acme.com/gpu=0", "acme.com/gpu=1"]
    with pytest.raises(FailedPrecondition, match=r"is not registered \(.*/broken.yaml: invalid CDI Spec: invalid ver"):
        devices.resolve([("x", False)])


@pytest.mark.row("L92")
def test_a_later_directory_wins_and_two_files_of_one_cancel_each_other_out(folder):
    low, high = SIMPLE + "env: [A=low]", SIMPLE + "env: [A=high]"
    devices = folder(low__a=low, low__b=low, high__a=high)
    assert devices.edits_of(["acme.com/gpu=a"]).env == ("A=high",)
    devices = folder(low__a=low, high__a=high, high__b=high)
    assert not devices.found and 'conflicting device "acme.com/gpu=a"' in " ".join(devices.broken.values())


@pytest.mark.row("L92")
def test_what_a_file_says_for_all_its_devices_comes_once(folder):
    edits = folder(low__a=GPU).edits_of(["acme.com/gpu=0", "acme.com/gpu=1"])
    assert edits.env == ("ALL=1", "WHICH=0", "WHICH=1")


def config(edits, uid=0, mounts=()):
    process = Process(("true",), ("PATH=/bin", "A=0"), devices=edits)
    place = Place("x1", "/root", "/resolv.conf", "/hosts")
    return make_spec(process, Identity(uid, uid), mounts, place, [mount(m.container_path) for m in edits.mounts])


def mount(destination):
    return {"destination": destination, "type": "bind", "source": "/s", "options": ["rbind"]}


@pytest.mark.row("L92")
def test_devices_enter_the_runtime_configuration():
    hook = Hook("prestart", "/h", ("h",), ("B=2",), "5")
    nodes = (DeviceNode("/dev/mine", "/dev/null"), DeviceNode("/dev/far", type="c", major="9", minor="8", uid="3"))
    made = config(Edits(env=("A=1", "C=3"), device_nodes=nodes, hooks=(hook,), additional_gids=("0", "7")), uid=5)
    assert made["process"]["env"] == ["PATH=/bin", "A=1", "C=3"]
    assert made["process"]["user"]["additionalGids"] == [5, 7]
    assert made["hooks"] == {"prestart": [{"path": "/h", "args": ["h"], "env": ["B=2"], "timeout": 5}]}
    mine, far = made["linux"]["devices"]
    assert mine == {"path": "/dev/mine", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666, "uid": 5, "gid": 5}
    assert far == {"path": "/dev/far", "type": "c", "major": 9, "minor": 8, "uid": 3, "gid": 5}
    rules = made["linux"]["resources"]["devices"]
    assert rules[1:] == [
        {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rwm"},
        {"allow": True, "type": "c", "major": 9, "minor": 8, "access": "rwm"},
    ]


@pytest.mark.row("L92")
def test_mounts_of_devices_stand_among_the_usual_ones_and_those_of_the_step_come_after():
    edits = Edits(mounts=(DeviceMount("/s", "/a/b"), DeviceMount("/s", "/dev/shm")))
    order = [one["destination"] for one in config(edits, mounts=[mount("/z"), mount("/a/b")])["mounts"]]
    assert order.index("/dev") < order.index("/dev/shm") < order.index("/z")
    assert order.count("/a/b") == order.count("/dev/shm") == 1
    assert [len([c for c in path if c == "/"]) for path in order[:-1]] == [1, 1, 1, 2, 2, 2, 2, 2, 2, 3]


@pytest.mark.row("L92")
@pytest.mark.parametrize(
    ("node", "complaint"),
    [
        (DeviceNode("/dev/nope"), 'failed to stat CDI host device "/dev/nope": no such file or directory'),
        (DeviceNode("/etc/hosts"), 'failed to stat CDI host device "/etc/hosts": not a device node'),
        (DeviceNode("/d", "/dev/null", "b"), r'CDI device \("/d", "/dev/null"\), host type mismatch \(b, c\)'),
    ],
)
def test_a_device_that_the_host_lacks_ends_the_step(node, complaint):
    with pytest.raises(
        FailedPrecondition, match=f"^CDI device injection failed: failed to inject devices: {complaint}$"
    ):
        config(Edits(device_nodes=(node,)))


def test_what_runtimes_would_pass_over_in_silence_is_refused():
    edits = (
        parse_spec(SIMPLE.replace("0.3.0", "1.1.0").encode() + b"netDevices: [{hostInterfaceName: eth1, name: e}]")
        .devices[0]
        .container_edits
    )
    with pytest.raises(Unsupported, match="net device eth1 is not supported yet"):
        apply_edits({"process": {}, "linux": {}}, edits, ())
