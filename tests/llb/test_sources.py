"""Sources: identifiers, attributes and capabilities."""

import pytest

from buildkit import llb
from buildkit.api import ops_pb2 as pb
from buildkit.core.errors import InvalidInput
from buildkit.llb import caps
from buildkit.llb.giturl import find_git_ref, fragment_form, is_commit, parse_git_url


def source_of(state):
    definition = state.marshal(local_unique_id="u")
    op = pb.Op.FromString(definition.ops[0])
    return op.source.identifier, dict(op.source.attrs), set(definition.metadata[definition.head].caps)


@pytest.mark.row("L30", "L31", "L32", "L33", "L34", "L160", "L200")
def test_image_attributes():
    found = source_of(
        llb.image("busybox", resolve_mode="pull", record_type="internal", layer_limit=2, checksum="sha256:x")
    )
    assert found == (
        "docker-image://docker.io/library/busybox:latest",
        {
            "image.resolvemode": "pull",
            "image.recordtype": "internal",
            "image.layerlimit": "2",
            "image.checksum": "sha256:x",
        },
        {"source.image", "source.image.resolvemode", "source.image.layerlimit", "source.image.checksum"},
    )


@pytest.mark.row("L30")
def test_a_bad_image_reference_fails_when_marshalled():
    state = llb.image("Bad Name")
    with pytest.raises(InvalidInput, match="invalid reference format"):
        state.marshal()


@pytest.mark.row("L39", "L40")
def test_layouts_and_blobs():
    digest = "sha256:" + "a" * 64
    assert source_of(llb.oci_layout("n@" + digest, session="s", store="t", layer_limit=1))[1] == {
        "oci.session": "s",
        "oci.store": "t",
        "oci.layerlimit": "1",
    }
    found = source_of(llb.image_blob("busybox@" + digest, filename="f", mode=0o640, uid=1))
    assert found[0] == "docker-image+blob://docker.io/library/busybox@" + digest
    assert found[1] == {"http.filename": "f", "http.perm": "0640", "http.uid": "1"}
    with pytest.raises(InvalidInput, match="checksum required"):
        llb.image_blob("busybox").marshal()


@pytest.mark.row("L41", "L42", "L43", "L44", "L45", "L46", "L47", "L161")
def test_local_attributes():
    found = source_of(
        llb.local("src", include=["a<"], exclude=["b"], follow=["c"], shared_key="k", differ="none",
                  differ_required=True, metadata_only=True, metadata_exceptions=["d"])
    )  # fmt: skip
    assert found[0] == "local://src"
    assert found[1] == {
        "local.includepattern": '["a\\u003c"]',
        "local.excludepatterns": '["b"]',
        "local.followpaths": '["c"]',
        "local.sharedkeyhint": "k",
        "local.differ": "none",
        "local.metadatatransfer": "true",
        "local.metadatatransferexclude": '["d"]',
        "local.unique": "u",
    }
    assert {"source.local.unique", "source.local.differ", "source.local.metadatatransfer"} <= found[2]


@pytest.mark.row("L64", "L65", "L66", "L67", "L68", "L163")
def test_http_attributes():
    found = source_of(
        llb.http("https://h/f", checksum="sha256:c", filename="n", mode=0o755, gid=2, auth_header_secret="s",
                 accept="a", user_agent="u", signature=b"sig", signature_key=b"key")
    )  # fmt: skip
    assert found[0] == "https://h/f"
    assert found[1] == {
        "http.checksum": "sha256:c",
        "http.filename": "n",
        "http.perm": "0755",
        "http.gid": "2",
        "http.authheadersecret": "s",
        "http.header.accept": "a",
        "http.header.user-agent": "u",
        "http.sig.signature": "sig",
        "http.sig.pubkey": "key",
    }
    assert "soruce.http.uidgid" in found[2]


@pytest.mark.row("L49", "L50", "L51", "L162")
def test_git_over_https():
    found = source_of(llb.git("https://h/o/r.git", "v1", subdir="d", keep_git_dir=True))
    assert found[0] == "git://h/o/r.git#v1:d"
    assert found[1] == {
        "git.keepgitdir": "true",
        "git.fullurl": "https://h/o/r.git",
        "git.authtokensecret": "GIT_AUTH_TOKEN",
        "git.authheadersecret": "GIT_AUTH_HEADER",
    }
    assert "source.git.httpauth" not in found[2]


@pytest.mark.row("L52", "L53", "L54", "L55", "L56", "L57")
def test_git_over_ssh_with_everything():
    found = source_of(
        llb.git("git@h:o/r.git", known_ssh_hosts="h key", checksum="abc", skip_submodules=True, mtime="commit",
                fetch_by_commit=True, bundle="b", bundle_session="s", bundle_store="t", checkout_bundle=True,
                auth_token_secret="tok")
    )  # fmt: skip
    assert found[0] == "git://h/o/r.git"
    assert found[1] == {
        "git.fullurl": "git@h:o/r.git",
        "git.authtokensecret": "tok",
        "git.authheadersecret": "GIT_AUTH_HEADER",
        "git.knownsshhosts": "h key\n",
        "git.mountsshsock": "default",
        "git.checksum": "abc",
        "git.skipsubmodules": "true",
        "git.mtime": "commit",
        "git.fetchbycommit": "true",
        "git.bundle": "b",
        "oci.session": "s",
        "oci.store": "t",
        "git.checkoutbundle": "true",
    }


@pytest.mark.row("L210")
@pytest.mark.parametrize(
    ("text", "host", "remote", "ref", "subdir"),
    [
        ("https://h/a.git#r:s/../t", "h", "https://h/a.git", "r", "t"),
        ("HTTPS://u:p@h:1/a%20b?x=1#r", "h:1", "https://u:p@h:1/a%20b", "r", ""),
        ("git@h:a/b#:s", "h", "git@h:a/b", "", "s"),
        ("ssh://git@h/a", "h", "ssh://git@h/a", "", ""),
        ("https://hü/a?", "hü", "https://h%C3%BC/a?", "", ""),
    ],
)
def test_git_urls(text, host, remote, ref, subdir):
    found = parse_git_url(text)
    assert (found.host, found.remote, found.ref, found.subdir) == (host, remote, ref, subdir)


@pytest.mark.row("D93", "L210")
@pytest.mark.parametrize("text", ["./x.git", "../x.git", "x.git", "https://h/x", "ftp://h/x.git", "/a", "C:\\a"])
def test_what_is_no_git_source(text):
    assert find_git_ref(text) is None


@pytest.mark.row("D93", "L210")
def test_the_query_of_a_git_source():
    found = find_git_ref("https://h/x.git?tag=v1&subdir=d&checksum=c&keep-git-dir&submodules=false&mtime=commit")
    assert found is not None
    assert (found.ref, found.subdir, found.checksum, found.short_name) == ("refs/tags/v1", "d", "c", "x")
    assert (found.keep_git_dir, found.submodules, found.mtime) == (True, False, "commit")
    assert fragment_form("git://h/x?branch=b", with_subdir=True) == "git://h/x#refs/heads/b"


@pytest.mark.row("D93")
@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("ref=a#b", 'ref conflicts: "b" vs "a"'),
        ("tag=a&branch=b", "branch conflicts with tag"),
        ("x=1", 'unexpected query "x"'),
        ("ref=", 'query "ref" has no value'),
        ("ref=a&ref=b", 'query "ref" has multiple values'),
        ("mtime=x", "invalid mtime value"),
        ("submodules=x", 'invalid submodules value: "x"'),
    ],
)
def test_bad_queries_name_the_key(query, message):
    with pytest.raises(InvalidInput, match=message):
        find_git_ref("https://h/x.git?" + query)


def test_commits_are_forty_or_sixty_four_digits():
    assert is_commit("a" * 40)
    assert not is_commit("A" * 40)


@pytest.mark.row("L14", "L15", "L167", "L168")
def test_the_advertised_capabilities():
    assert len(caps.BY_PING) == len(set(caps.BY_PING)) == 88
    assert "exec.meta.removemountstubs.recursive" not in caps.BY_PING
    assert "file.copy.modestring" not in caps.BY_PING


@pytest.mark.row("L165", "L166")
def test_the_capabilities_of_mounts_and_files():
    mounts = [
        llb.bind("/b", llb.image("a"), path="p", readonly=True, content_cache="on"),
        llb.cache("/c", sharing="locked"),
        llb.tmpfs("/t", 1),
        llb.secret("/s"),
        llb.ssh(),
    ]
    definition = llb.image("a").run("x", mounts=mounts).root.marshal()
    required = {cap for cap in definition.metadata[definition.head].caps if cap.startswith("exec.mount.")}
    kinds = "bind cache cache.sharing cache.content selector tmpfs tmpfs.size secret ssh".split()
    assert required == {f"exec.mount.{kind}" for kind in kinds}
    made = llb.scratch().file(llb.mkdir("/a").symlink("a", "/b").rm("/*", allow_wildcard=True)).marshal()
    assert set(made.metadata[made.head].caps) == {"file.base"}  # clients send no more, see L15
    files = "base rm.wildcard rm.nofollowsymlink copy.includeexcludepatterns copy.requiredpaths symlink.create".split()
    advertised = {cap for cap in caps.BY_PING if cap.startswith(("exec.mount.", "file."))}
    assert advertised == {
        *required,
        "exec.mount.bind.readwrite-nooutput",
        *(f"file.{name}" for name in files),
        "file.copy.alwaysreplaceexistingdestpaths",
    }
