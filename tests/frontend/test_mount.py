import pytest

from buildkit.frontend.dockerfile.location import DockerfileError
from buildkit.frontend.dockerfile.mount import Device, Mount, parse_device, parse_mount


@pytest.mark.row("D62", "D63", "D64", "D65", "D66", "D67")
@pytest.mark.parametrize(
    ("text", "mount"),
    [
        ("target=/a", Mount(target="/a")),
        ("type=BIND,from=x,src=s,dst=/a,rw", Mount("bind", "x", "s", "/a", read_only=False)),
        (
            "type=cache,target=/c,id=i,sharing=locked,uid=1,gid=2,mode=0755,ro",
            Mount("cache", target="/c", id="i", sharing="locked", uid=1, gid=2, mode=0o755),
        ),
        ("type=cache,target=/c", Mount("cache", target="/c", read_only=False)),
        ("type=tmpfs,target=/t,size=1.5m", Mount("tmpfs", target="/t", size=1536 * 1024, read_only=False)),
        ("type=secret,id=s,required,env=E", Mount("secret", id="s", required=True, env="E")),
        ('type=ssh,"id=a,b",required=false', Mount("ssh", id="a,b")),
    ],
)
def test_mounts_are_read(text, mount):
    assert parse_mount(text, str) == mount


@pytest.mark.row("D67")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("type=bnd", 'unsupported mount type "bnd" (did you mean bind?)'),
        ("type=bind,size=1", "unexpected key 'size' for mount type 'bind'"),
        ("type=bind,mode=1", 'mode not allowed for "bind" type mounts'),
        ("type=cache,mode=9", "invalid value 9 for mode"),
        ("tarhet=/a", "unexpected key 'tarhet' in 'tarhet=/a' (did you mean target?)"),
        ("loud", "invalid field 'loud' must be a key=value pair"),
        ("required", "unexpected key 'required' for mount type 'bind'"),
        ("ro=maybe", "invalid value for ro: maybe"),
        ("type=tmpfs,size=1x", "invalid value for size: 1x"),
        ("type=secret", "invalid secret mount. one of source, target required"),
        ("type=secret,id=a,source=b", "both source and id can't be set"),
        ("type=secret,from=a", "secret mount should not have a from"),
        ("type=bind,sharing=locked", "invalid cache sharing set for bind mount"),
        ("type=cache,sharing=lock", 'unsupported sharing value "lock" (did you mean locked?)'),
        ('a"b', 'failed to parse csv mounts: parse error on line 1, column 2: bare " in non-quoted field'),
        ("", "failed to parse csv mounts: EOF"),
    ],
)
def test_wrong_mounts_are_refused(text, message):
    with pytest.raises(DockerfileError) as caught:
        parse_mount(text, str)
    assert str(caught.value).replace("(did you mean locked?)", "") == message.replace("(did you mean locked?)", "")


@pytest.mark.row("D67")
def test_values_are_expanded():
    assert parse_mount("target=$x", lambda word: word.replace("$x", "/y")).target == "/y"


@pytest.mark.row("D71")
def test_devices_have_a_name_and_may_be_required():
    assert parse_device("vendor/class=a,required") == Device("vendor/class=a", required=True)
