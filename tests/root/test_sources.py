"""Builds whose inputs come from elsewhere: git, the web, a registry; with policies, and with no network."""

from __future__ import annotations

import io
import json
import tarfile

import pytest
from tests.kit.images import copy_to_registry, make_image
from tests.kit.registry import registry
from tests.kit.signers import gpg_home, sign_commit, ssh_signer
from tests.kit.webs import DATE, Origin, git_web_server, web_server

import buildkit
from buildkit import llb
from buildkit.cli.main import main
from buildkit.signing.refused import SignatureRefused

pytestmark = [pytest.mark.root, pytest.mark.net]


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    with registry(tmp_path_factory.mktemp("registry")) as found:
        copy_to_registry(make_image(tmp_path_factory.mktemp("one"), [{"v": "1"}]), f"{found}/base:1")
        copy_to_registry(make_image(tmp_path_factory.mktemp("two"), [{"v": "2"}]), f"{found}/base:2")
        yield found


@pytest.fixture
def build(monkeypatch, tmp_path, capsys):
    """Runs ``buildctl build`` on a Dockerfile; gives the files of the result, or what went wrong."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "context").mkdir()

    def run(dockerfile, *flags, context="context", policy=None):
        if dockerfile is not None:
            (tmp_path / "context/Dockerfile").write_text(dockerfile)
        if policy is not None:
            (tmp_path / "policy.json").write_text(json.dumps({"rules": policy}))
            flags = (*flags, "--source-policy-file", "policy.json")
        status = main(["build", "--root", "state", "--progress=plain", *flags, "-o", "type=tar,dest=out.tar", context])
        said = capsys.readouterr().err
        if status:
            return said
        with tarfile.open(tmp_path / "out.tar") as tar:
            return {one.name: tar.extractfile(one).read().decode() for one in tar if one.isfile()}

    return run


def rule(action, identifier, **more):
    return {"action": action, "selector": {"identifier": identifier}, **more}


@pytest.mark.row("L63", "L49")
def test_a_dockerfile_adds_from_the_web_and_from_git(build, tmp_path):
    origin = Origin(tmp_path)
    origin.commit(inside="git")
    with web_server() as web, git_web_server(tmp_path) as git:
        url = web.put("/file", b"web", modified=DATE)
        assert build(f"FROM scratch\nADD {url} /w\nADD {git}/app.git#main /g/\n") == {"g/inside": "git", "w": "web"}


@pytest.mark.row("D120", "D123")
def test_a_repository_can_be_the_context(build, tmp_path):
    origin = Origin(tmp_path)
    origin.commit(Dockerfile="FROM scratch\nCOPY a /\n", a="1", sub__Dockerfile="FROM scratch\nCOPY b /\n", sub__b="2")
    with git_web_server(tmp_path) as git:
        assert build(None, context=f"{git}/app.git") == {"a": "1"}
        assert build(None, context=f"{git}/app.git#main:sub") == {"b": "2"}


@pytest.mark.row("D120", "D122")
def test_an_archive_of_the_web_can_be_the_context(build):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in (("Dockerfile", b"FROM scratch\nCOPY a /\n"), ("a", b"1")):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    with web_server() as web:
        assert build(None, context=web.put("/context.tar.gz", packed.getvalue())) == {"a": "1"}
        assert build(None, context=web.put("/Dockerfile", b"FROM scratch\nADD --chmod=644 <<E /x\nhi\nE\n")) == {
            "x": "hi\n"
        }


def test_a_build_whose_inputs_are_known_needs_no_network(build, tmp_path, host):
    origin = Origin(tmp_path)
    origin.commit(inside="git")
    with web_server() as web, git_web_server(tmp_path) as git:
        text = f"FROM {host}/base:1\nADD {web.put('/file', b'web')} /w\nADD {git}/app.git#main /g/\n"
        first = build(text)
        assert first == {"g/inside": "git", "v": "1", "w": "web"}
        web.requests.clear()
        assert build(text, "--pull=never") == first
        assert build(text, "--pull=missing") == first
        assert web.requests == []
    assert build(text, "--pull=never") == first
    assert build(text, "--pull=fallback") == first


def test_what_is_not_known_is_named_when_asking_is_forbidden(build, host):
    assert f"{host}/base:2 is not known here and --pull=never forbids" in build(f"FROM {host}/base:2\n", "--pull=never")


def test_a_pull_mode_that_does_not_exist_is_refused(build):
    assert "invalid pull mode sometimes" in build("FROM scratch\n", "--pull=sometimes")


@pytest.mark.row("L180", "L182", "L185")
def test_a_source_that_a_policy_denies_is_not_built(build, host):
    said = build(f"FROM {host}/base:1\n", policy=[rule("DENY", f"docker-image://{host}/base:*")])
    assert f'source "docker-image://{host}/base:1" denied by policy' in said
    with web_server() as web:
        url = web.put("/file")
        said = build(f"FROM scratch\nADD {url} /\n", policy=[rule("DENY", "http://*")])
        assert f'error evaluating the source policy: source "{url}" denied by policy' in said
        assert web.requests == []


@pytest.mark.row("L181", "L183")
def test_a_policy_puts_another_image_in_the_place_of_one(build, host):
    wild = rule("CONVERT", f"docker-image://{host}/base:1", updates={"identifier": f"docker-image://{host}/base:2"})
    assert build(f"FROM {host}/base:1\n", policy=[wild]) == {"v": "2"}
    assert build(f"FROM {host}/base:1\n") == {"v": "1"}


@pytest.mark.row("L181")
def test_the_last_rule_that_allows_or_denies_wins(build, host):
    rules = [rule("DENY", "docker-image://*"), rule("ALLOW", f"docker-image://{host}/*")]
    assert build(f"FROM {host}/base:1\n", policy=rules) == {"v": "1"}


@pytest.mark.row("L184")
def test_a_policy_pins_a_file_of_the_web(build):
    with web_server() as web:
        url = web.put("/file", b"web")
        pin = rule("CONVERT", url, updates={"attrs": {"http.checksum": "sha256:" + "0" * 64}})
        assert f"digest mismatch for {url}" in build(f"FROM scratch\nADD {url} /\n", policy=[pin])


@pytest.mark.row("L181")
def test_policies_that_chase_each_other_end(build, host):
    rules = [
        rule("CONVERT", f"docker-image://{host}/base:{a}", updates={"identifier": f"docker-image://{host}/base:{b}"})
        for a, b in (("1", "2"), ("2", "1"))
    ]
    assert "too many operations" in build(f"FROM {host}/base:1\n", policy=rules)


@pytest.mark.row("L185")
def test_a_policy_that_cannot_be_read_is_named(build, tmp_path):
    (tmp_path / "bad.json").write_text("{")
    said = build("FROM scratch\n", "--source-policy-file", "bad.json")
    assert 'failed to unmarshal source-policy-file "bad.json"' in said


@pytest.mark.row("L58", "L184")
def test_a_policy_wants_the_git_source_of_a_dockerfile_signed(build, tmp_path):
    origin, signer = Origin(tmp_path), ssh_signer(tmp_path / "keys")
    with git_web_server(tmp_path) as git:
        dockerfile = f"FROM scratch\nADD {git}/app.git#main /g/\n"
        signed = {"git.sig.pubkey": signer.public.decode()}
        wish = [rule("CONVERT", f"git://{git.partition('//')[2]}/*", updates={"attrs": signed})]
        sign_commit(origin, None, inside="unsigned")
        assert "git object is not signed" in build(dockerfile, policy=wish)
        sign_commit(origin, signer, inside="signed")
        assert build(dockerfile, policy=wish) == {"g/inside": "signed"}


@pytest.mark.row("L58", "L68")
def test_a_program_wants_its_sources_signed(tmp_path):
    origin, signer, other = Origin(tmp_path), ssh_signer(tmp_path / "keys"), ssh_signer(tmp_path / "keys", "other")
    sign_commit(origin, signer, inside="git")
    with git_web_server(tmp_path) as git, web_server() as web, gpg_home() as home:
        gpg, url = home.signer("signer"), web.put("/file", b"web")

        def program(key: bytes, signature: bytes) -> llb.State:
            file = llb.http(url, signature_key=gpg.public, signature=signature)
            return file.file(llb.copy(llb.git(f"{git}/app.git", "main", signature_key=key), "/inside", "/inside"))

        with buildkit.Client(root=tmp_path / "state") as client:
            where = {"outputs": [f"type=local,dest={tmp_path}/out"]}
            client.build(program(signer.public, gpg.sign(b"web")), **where)
            assert {one.name: one.read_text() for one in (tmp_path / "out").iterdir()} == {
                "inside": "git",
                "file": "web",
            }
            with pytest.raises(SignatureRefused, match="failed to verify ssh signature: public key does not match"):
                client.build(program(other.public, gpg.sign(b"web")), **where)
            with pytest.raises(SignatureRefused, match="EdDSA verification failure"):
                client.build(program(signer.public, gpg.sign(b"other")), **where)
