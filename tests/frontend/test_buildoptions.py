import pytest

from buildkit.core.errors import BuildkitError, InvalidInput
from buildkit.core.platform import Platform
from buildkit.frontend.dockerfile.buildoptions import Sbom, parse_attestations, parse_options
from buildkit.frontend.frontend import CacheImport
from buildkit.llb.metadata import LinuxResources


@pytest.mark.row("D142", "D143")
def test_several_platforms_make_a_map():
    options = parse_options({"platform": "linux/arm64/v8,linux/amd64"})
    assert options.target_platforms == (Platform("linux", "arm64"), Platform("linux", "amd64"))
    assert options.multi_platform
    assert not parse_options({"platform": "linux/arm64"}).multi_platform
    assert parse_options({"platform": "linux/arm64", "multi-platform": "1"}).multi_platform
    assert parse_options({"build-arg:BUILDKIT_MULTI_PLATFORM": "true", "multi-platform": "0"}).multi_platform


@pytest.mark.row("D144")
def test_the_cache_is_off_for_all_stages_or_some():
    everything, some, none = (parse_options(o) for o in ({"no-cache": ""}, {"no-cache": "A,b"}, {}))
    assert [o.is_no_cache("a") for o in (everything, some, none)] == [True, True, False]
    assert [o.is_no_cache("c") for o in (everything, some, none)] == [True, False, False]


@pytest.mark.row("D146", "D129")
def test_prefixed_options_are_maps():
    options = parse_options({"build-arg:a": "1", "label:b": "2", "local-sessionid:c": "3"})
    assert (options.build_args, options.labels, options.local_sessions) == ({"a": "1"}, {"b": "2"}, {"c": "3"})


@pytest.mark.row("D147", "D148", "D149", "D150", "D151", "D152")
@pytest.mark.parametrize(
    ("options", "name", "expected"),
    [
        ({"add-hosts": "A=10.0.0.1,b=::ffff:1.2.3.4"}, "extra_hosts", (("a", "10.0.0.1"), ("b", "1.2.3.4"))),
        ({"shm-size": "1024"}, "shm_size", 1024),
        ({"ulimit": "nofile=1:2,core=-1"}, "ulimits", (("nofile", 1, 2), ("core", -1, -1))),
        ({"cgroup-parent": "x"}, "cgroup_parent", "x"),
        ({"hostname": "x", "build-arg:BUILDKIT_SANDBOX_HOSTNAME": "y"}, "hostname", "y"),
        ({"force-network-mode": "none"}, "network", "none"),
        (
            {"memory": "5", "memswap": "-1", "cpusetcpus": "0-3,5"},
            "resources",
            LinuxResources(5, -1, cpuset_cpus="0-3,5"),
        ),
        ({"image-resolve-mode": "pull"}, "resolve_mode", "pull"),
    ],
)
def test_options_of_steps(options, name, expected):
    assert getattr(parse_options(options), name) == expected


@pytest.mark.row("D43", "D143", "D145", "D147", "D149", "D151", "D152")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image-resolve-mode": "x"}, "invalid image-resolve-mode: x"),
        ({"add-hosts": "a=b"}, "failed to parse additional hosts: failed to parse IP b"),
        ({"add-hosts": "a"}, "failed to parse additional hosts: invalid key-value pair a"),
        ({"shm-size": "1k"}, 'failed to parse shm size: strconv.ParseInt: parsing "1k": invalid syntax'),
        ({"ulimit": "x=1"}, "failed to parse ulimit: invalid ulimit type: x"),
        (
            {"ulimit": "core=2:1"},
            "failed to parse ulimit: ulimit soft limit must be less than or equal to hard limit: 2 > 1",
        ),
        ({"force-network-mode": "x"}, "invalid netmode x"),
        ({"multi-platform": "x"}, "invalid boolean value for multi-platform: x"),
        ({"memory": "0"}, "failed to parse resource limits: invalid memory value: 0: must be > 0"),
        (
            {"cpusetcpus": "3-1"},
            'failed to parse resource limits: invalid cpusetcpus value: 3-1: invalid cpuset range "3-1"',
        ),
        ({"override-copy-image": "x"}, 'support for "override-copy-image" was removed in BuildKit 0.11'),
        (
            {"build-arg:BUILDKIT_DISABLE_FILEOP": "1"},
            'support for "BUILDKIT_DISABLE_FILEOP" build-arg was removed in BuildKit 0.11',
        ),
        (
            {"platform": "linux/amd64,linux/arm64", "multi-platform": "false"},
            "conflicting config: returning multiple target platforms is not allowed",
        ),
        ({"attest:sbom": "generator="}, "failed to parse sbom scanner : invalid reference format"),
        ({"attest:x": ""}, 'unknown attestation type "x"'),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(InvalidInput) as caught:
        parse_options(options)
    assert str(caught.value) == message


@pytest.mark.row("D153")
def test_caches_to_look_into_come_in_two_forms():
    options = parse_options({"cache-imports": '[{"Type":"local","Attrs":{"src":"x"}}]', "cache-from": "a,b"})
    assert options.cache_imports == (
        CacheImport("local", {"src": "x"}),
        CacheImport("registry", {"ref": "a"}),
        CacheImport("registry", {"ref": "b"}),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "json: cannot unmarshal object into Go value of type []*moby_buildkit_v1.CacheOptionsEntry"),
        ('["x"]', "json: cannot unmarshal string into Go value of type moby_buildkit_v1.CacheOptionsEntry"),
        ('[{"type":1}]', "json: cannot unmarshal number into Go struct field CacheOptionsEntry.Type of type string"),
        (
            '[{"Attrs":[]}]',
            "json: cannot unmarshal array into Go struct field CacheOptionsEntry.Attrs of type map[string]string",
        ),
        (
            '[{"Attrs":{"a":true}}]',
            "json: cannot unmarshal bool into Go struct field CacheOptionsEntry.Attrs of type string",
        ),
        ("[null]", "an entry is null"),
    ],
)
def test_caches_that_are_none_are_refused(text, message):
    with pytest.raises(InvalidInput) as caught:
        parse_options({"cache-imports": text})
    assert str(caught.value).endswith(f"): {message}")


def test_caches_may_be_spelt_in_any_case_and_be_empty():
    options = parse_options({"cache-imports": '[{"type":"local","ATTRS":null,"x":1},{"Type":null}]'})
    assert options.cache_imports == (CacheImport("local", {}), CacheImport("", {}))


def test_a_bad_platform_is_refused_as_from_refuses_it():
    with pytest.raises(BuildkitError, match=r"failed to parse target platform a/b/c/d: .*: invalid argument"):
        parse_options({"platform": "linux/amd64,a/b/c/d"})


@pytest.mark.row("D155", "D159")
def test_attestations_are_asked_for_by_option_or_build_argument():
    asked = parse_attestations({"attest:provenance": "mode=max", "build-arg:BUILDKIT_ATTEST_SBOM": "generator=x,a=b"})
    assert asked == {"provenance": {"version": "v1", "mode": "max"}, "sbom": {"generator": "x", "a": "b"}}
    assert parse_options({"attest:sbom": "generator=x,a=b"}).sbom == Sbom("docker.io/library/x:latest", {"a": "b"})
