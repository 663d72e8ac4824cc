from pathlib import Path

import pytest

from buildkit.core.errors import InvalidInput, Unsupported
from buildkit.daemon.amounts import Space, parse_duration, parse_space
from buildkit.daemon.config import DaemonConfig, GcConfig, PolicyRule, default_places
from buildkit.daemon.flags import BadUsage, overlay, parse_flags
from buildkit.daemon.policies import policies_of
from buildkit.daemon.server import engine_config
from buildkit.daemon.toml import parse_config, read_config
from buildkit.executor.settings import DeviceSettings
from buildkit.oci.hosts import HostConfig, KeyPair

START = DaemonConfig(root=Path("/r"), addresses=("unix:///s",))
GIB = 1 << 30


def read(text):
    return parse_config(text, START).config


def given(*words, **environ):
    return overlay(parse_flags(words, environ), START)


@pytest.mark.row("B30", "B31", "B32", "B68")
def test_the_top_of_the_file():
    config = read("""
        root = "/state"
        insecure-entitlements = ["network.host"]
        [log]
        level = "warn"
        format = "json"
        [grpc]
        address = ["unix:///a", "tcp://0.0.0.0:1"]
        uid = 1
        gid = 2
        [grpc.tls]
        cert = "c"
        key = "k"
        ca = "a"
    """)
    assert (config.root, config.addresses, config.uid, config.gid) == (
        Path("/state"),
        ("unix:///a", "tcp://0.0.0.0:1"),
        1,
        2,
    )
    assert (config.log_level, config.log_format, config.entitlements) == ("warn", "json", {"network.host"})
    assert (config.tls.certificate, config.tls.key, config.tls.authority) == ("c", "k", "a")
    assert START.entitlements == frozenset()


@pytest.mark.row("B34")
def test_the_worker_of_the_file():
    worker = read("""
        [worker.oci]
        snapshotter = "native"
        networkMode = "host"
        platforms = ["linux/arm64"]
        max-parallelism = 3
        defaultCgroupParent = "/builds"
        binary = "crun"
        [worker.oci.labels]
        pool = "a"
    """).worker
    assert (worker.snapshotter, worker.network.mode, worker.platforms) == ("native", "host", ("linux/arm64",))
    assert (worker.max_parallelism, worker.cgroup_parent, worker.binary) == (3, "/builds", "crun")
    assert worker.labels == {"pool": "a"}


@pytest.mark.row("B36")
@pytest.mark.parametrize(
    ("value", "space"),
    [
        (123, Space(123)),
        ("512MB", Space(536870912)),
        ("1.5g", Space(GIB * 3 // 2)),
        ("2GiB", Space(2 * GIB)),
        ("10%", Space(percent=10)),
        ("", Space()),
        ("77", Space(77)),
    ],
)
def test_sizes_count_by_1024(value, space):
    assert parse_space(value) == space


@pytest.mark.row("B36")
@pytest.mark.parametrize("value", ["x", "1 apple", "%", True, 1.5, [1]])
def test_sizes_that_make_no_sense_are_refused(value):
    with pytest.raises(InvalidInput, match="invalid disk space"):
        parse_space(value)


@pytest.mark.row("B37")
def test_shares_of_a_disk_are_round():
    assert [Space(percent=p).of(253 * GIB) for p in (10, 20)] == [26 * 10**9, 51 * 10**9]
    assert Space(percent=10).of(0) == 0


@pytest.mark.row("B36")
def test_durations_are_seconds_or_in_units():
    assert [parse_duration(v) for v in (10, "10", "48h", "1h30m", "500ms", "")] == [10, 10, 172800, 5400, 0.5, 0]
    with pytest.raises(InvalidInput, match="invalid duration soon"):
        parse_duration("soon")


@pytest.mark.row("B36", "B38")
def test_rules_of_the_file_replace_the_built_in_ones():
    gc = read("""
        [worker.oci]
        gc = true
        [[worker.oci.gcpolicy]]
        filters = ["type==source.local"]
        keepDuration = "48h"
        keepBytes = "1GB"
        [[worker.oci.gcpolicy]]
        all = true
        maxUsedSpace = "80%"
    """).worker.gc
    assert gc.rules[0] == PolicyRule(False, ("type==source.local",), 172800, Space(GIB))
    first, second = policies_of(gc, 100 * GIB)
    assert (first.filters, first.keep_duration, first.reserved_space) == (("type==source.local",), 172800, GIB)
    assert (second.all, second.max_used_space) == (True, 81 * 10**9)


@pytest.mark.row("B38")
def test_limits_shape_the_built_in_rules():
    gc = read("[worker.oci]\ngckeepstorage = 1000\n").worker.gc
    assert [policy.reserved_space for policy in policies_of(gc, 100 * GIB)] == [0, 1000, 1000, 1000]
    assert policies_of(GcConfig(), 0)[-1].reserved_space == 2 * 10**9
    assert policies_of(read("[worker.oci]\ngc = false").worker.gc, GIB) == ()


@pytest.mark.row("B39")
def test_registries_of_the_file():
    config = read("""
        [registry."docker.io"]
        mirrors = ["mirror:5000/hub"]
        http = true
        insecure = false
        ca = ["ca.pem"]
        tlsconfigdir = ["/etc/certs"]
        [[registry."docker.io".keypair]]
        key = "k"
        cert = "c"
    """)
    expected = HostConfig(("mirror:5000/hub",), True, False, ("ca.pem",), (KeyPair("c", "k"),), ("/etc/certs",))
    assert config.registries == {"docker.io": expected}


@pytest.mark.row("B42", "B43", "B44")
def test_dns_history_and_frontends_of_the_file():
    config = read("""
        [dns]
        nameservers = ["1.1.1.1"]
        options = ["edns0"]
        searchDomains = ["example.com"]
        [history]
        maxAge = 7200
        maxEntries = 3
        [frontend."dockerfile.v0"]
        enabled = false
    """)
    assert (config.dns.nameservers, config.dns.options, config.dns.search) == (
        ("1.1.1.1",),
        ("edns0",),
        ("example.com",),
    )
    assert (config.history.max_age, config.history.max_entries) == (7200, 3)
    assert config.disabled_frontends == {"dockerfile.v0"}


@pytest.mark.row("B3")
def test_unknown_keys_are_told_and_a_missing_file_is_empty(tmp_path):
    found = parse_config('colour = "red"\n[worker.oci]\nspeed = 3\n[worker.podman]\nx = 1', START)
    assert sorted(found.unknown) == ["colour", "worker.oci.speed", "worker.podman"]
    assert read_config(tmp_path / "none.toml", START).config == START
    (tmp_path / "bad.toml").write_text("root = ")
    with pytest.raises(InvalidInput, match=r"failed to parse config: .*bad\.toml"):
        read_config(tmp_path / "bad.toml", START)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("root = 3", "root: 3 is not a string"),
        ("[grpc]\naddress = 'x'", 'grpc.address: "x" is not a list of strings'),
        ("worker = 3", "worker: 3 is not a table"),
        ("registry = [1]", "registry: [1] is not a table"),
        ("[worker.oci]\nlabels = { a = 1 }", "worker.oci.labels.a: 1 is not a string"),
        ("[worker.oci]\ngc = {}", "worker.oci.gc: a table is not true or false"),
        ("[worker.oci]\ngcpolicy = { all = true }", "worker.oci.gcpolicy: a table is not a list of tables"),
        ("[[worker.oci.gcpolicy]]\nfilters = 1", "worker.oci.gcpolicy[0].filters: 1 is not a list of strings"),
        ("[[worker.oci.gcpolicy]]\nkeepDuration = true", "worker.oci.gcpolicy[0].keepDuration: invalid duration True"),
        ("[worker.oci]\nminFreeSpace = 1.5", "worker.oci.minFreeSpace: invalid disk space 1.5"),
        ("[worker.oci]\nreservedSpace = false", "worker.oci.reservedSpace: invalid disk space False"),
        ("[history]\nmaxEntries = true", "history.maxEntries: true is not a whole number"),
        ("[history]\nmaxAge = 'soon'", "history.maxAge: invalid duration soon"),
        ("[log]\nformat = 1979-05-27", 'log.format: "1979-05-27" is not a string'),
    ],
)
def test_values_of_the_wrong_type_are_named(text, said):
    with pytest.raises(InvalidInput) as caught:
        read(text)
    assert str(caught.value) == said


@pytest.mark.row("B6", "B10", "B34", "B35", "B45")
@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("proxyNetwork = true", "proxyNetwork"),
        ("[worker.oci]\nrootless = true", "worker.oci.rootless"),
        ("[worker.oci]\nselinux = true", "worker.oci.selinux"),
        ("[worker.oci]\nnoProcessSandbox = true", "worker.oci.noProcessSandbox"),
        ('[worker.oci]\nuserRemapUnsupported = "x"', "worker.oci.userRemapUnsupported"),
        ("[worker.containerd]\nenabled = true", "worker.containerd.enabled"),
        ("[system]\nmaxRegistryConcurrency = 4", "system.maxRegistryConcurrency"),
    ],
)
def test_what_is_not_built_is_refused_by_name_when_switched_on(text, name):
    with pytest.raises(Unsupported, match=name.replace(".", r"\.")):
        read(text)
    read(
        text.replace("true", "false").replace('"x"', '""').replace('"/x"', '""').replace("4", "0").replace('[""]', "[]")
    )


@pytest.mark.row("B1", "B2", "B8", "B47")
def test_flags_are_laid_over_the_file():
    words = ["--root", "/other", "--addr=unix:///x", "--addr", "tcp://:1", "--allow-insecure-entitlement=network.host"]
    config = given(*words, "--debug", "--oci-max-parallelism=2", "--oci-worker-labels=a=b,c=d")
    assert (config.root, config.addresses) == (Path("/other"), ("unix:///x", "tcp://:1"))
    assert (config.entitlements, config.log_level) == ({"network.host"}, "debug")
    assert (config.worker.max_parallelism, config.worker.labels) == (2, {"a": "b", "c": "d"})
    assert given() == START


@pytest.mark.row("B12", "B33")
def test_devices_are_described_where_file_and_flags_say():
    assert START.devices == DeviceSettings(("/etc/cdi", "/var/run/cdi", "/etc/buildkit/cdi"))
    text = '[cdi]\nspecDirs = ["/a"]\nautoAllowed = ["v/c"]'
    assert read(text).devices == DeviceSettings(("/a",), ("v/c",))
    assert read("[cdi]\ndisabled = true").devices is None
    assert given("--cdi-spec-dir=/b", "--cdi-spec-dir=/c").devices.spec_dirs == ("/b", "/c")
    assert given("--cdi-disabled", "--cdi-spec-dir=/b").devices is None


@pytest.mark.row("B34")
def test_the_apparmor_profile_of_steps_comes_from_the_file_or_a_flag():
    assert START.worker.apparmor_profile == ""
    assert read('[worker.oci]\napparmor-profile = "a"').worker.apparmor_profile == "a"
    assert given("--oci-worker-apparmor-profile=b").worker.apparmor_profile == "b"


@pytest.mark.row("B11", "B33")
def test_the_socket_for_spans_of_steps_is_where_file_and_flags_say():
    assert START.trace_socket == "/run/buildkit/otel-grpc.sock"
    assert read('[otel]\nsocketPath = "/x"').trace_socket == "/x"
    assert given("--otel-socket-path=/y").trace_socket == "/y"


@pytest.mark.row("B4")
def test_the_log_level_comes_from_a_flag_or_the_environment():
    assert given(BUILDKITD_LOG_LEVEL="error").log_level == "error"
    assert given("--log-level=warn", BUILDKITD_LOG_LEVEL="error").log_level == "warn"


@pytest.mark.row("B5")
def test_a_group_is_a_name_or_a_number():
    assert given("--group=root").gid == 0
    assert given("--group", "1234").gid == 1234
    with pytest.raises(InvalidInput, match="no-such-group"):
        given("--group=no-such-group")


@pytest.mark.row("B22")
def test_space_to_keep_is_in_megabytes():
    gc = given("--oci-worker-gc-keepstorage=1,2,3").worker.gc
    assert (gc.reserved_space, gc.min_free_space, gc.max_used_space) == (
        Space(10**6),
        Space(2 * 10**6),
        Space(3 * 10**6),
    )
    assert not given("--oci-worker-gc=false").worker.gc.enabled


@pytest.mark.row("B14", "B16", "B17", "B19")
def test_flags_of_what_is_not_built_are_refused_by_name():
    for word in ("--rootless", "--oci-worker-selinux", "--containerd-worker=true"):
        with pytest.raises(Unsupported, match=word.partition("=")[0]):
            given(word)
    with pytest.raises(InvalidInput, match="no worker found, rebuild the buildkit daemon"):
        given("--oci-worker=false")
    given("--oci-worker=auto", "--containerd-worker=auto", "--containerd-worker-addr=/x", "--rootless=false")


@pytest.mark.parametrize("words", [("--nope",), ("word",), ("--root",), ("--debug=maybe",)])
def test_a_command_line_that_makes_no_sense_is_refused(words):
    with pytest.raises(BadUsage):
        given(*words)


@pytest.mark.row("B67")
def test_everyone_but_root_keeps_things_at_home():
    places = default_places({"HOME": "/h", "XDG_RUNTIME_DIR": "/run/user/7"}, 7)
    assert (places.root, places.config) == (
        Path("/h/.local/share/buildkit"),
        Path("/h/.config/buildkit/buildkitd.toml"),
    )
    assert places.address == "unix:///run/user/7/buildkit/buildkitd.sock"
    assert default_places({}, 0).root == Path("/var/lib/buildkit")


def test_steps_of_a_daemon_are_limited_only_where_it_is_told_so():
    assert engine_config(given()).max_parallelism is None
    assert engine_config(given("--oci-max-parallelism=2")).max_parallelism == 2
