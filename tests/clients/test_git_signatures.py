"""Git sources that have to be signed, by keys of the real gpg and ssh-keygen."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from tests.kit.gitworld import GitWorld
from tests.kit.signers import gpg_home, sign_commit, sign_tag, ssh_signer
from tests.kit.steps import Asker
from tests.kit.webs import git_web_server

from buildkit.core.errors import BuildkitError
from buildkit.signing.refused import SignatureRefused
from buildkit.source.gitsigned import Objects, Signing, verify_objects
from buildkit.source.pull import Pull
from buildkit.source.source import Inquiry

pytestmark = pytest.mark.net


@pytest.fixture(scope="module")
def home():
    with gpg_home() as made:
        yield made


@pytest.fixture(scope="module")
def gpg(home):
    return home.signer("signer")


@pytest.fixture(scope="module")
def ssh(tmp_path_factory):
    return ssh_signer(tmp_path_factory.mktemp("ssh"))


@pytest.fixture
def world(tmp_path):
    return GitWorld(tmp_path)


def wishes(signer, **flags):
    return {"sig.pubkey": signer.public.decode()} | {f"sig.{name}": "true" for name, wish in flags.items() if wish}


async def refusal(world, url, ref="", **attrs) -> str:
    with pytest.raises(SignatureRefused) as caught:
        await world.get(url, ref, **attrs)
    return str(caught.value)


@pytest.mark.row("L58")
@pytest.mark.parametrize("kind", ["gpg", "ssh"])
async def test_a_signed_commit_is_taken_by_branch_and_by_id(world, origin, url, kind, request):
    signer = request.getfixturevalue(kind)
    commit = sign_commit(origin, signer, a="1")
    assert await world.get(url, "main", **wishes(signer)) == {"a": "1"}
    assert world.keys == [commit]
    assert await world.get(url, commit, mtime="commit", **wishes(signer)) == {"a": "1"}


@pytest.mark.row("L58")
async def test_a_commit_without_a_signature_or_of_somebody_else_is_refused(
    world, origin, url, home, gpg, ssh, tmp_path
):
    stranger, other = home.signer("another"), ssh_signer(tmp_path, "other")
    sign_commit(origin, None, a="1")
    assert await refusal(world, url, "main", **wishes(gpg)) == "git object is not signed"
    sign_commit(origin, stranger, a="2")
    unknown = f"signature by {stranger.id.lstrip('0')}: openpgp: signature made by unknown entity"
    assert await refusal(world, url, "main", **wishes(gpg)) == unknown
    assert await refusal(world, url, "main", **wishes(ssh)) == (
        "failed to read armored public key: no armored data found"
    )
    sign_commit(origin, other, a="3")
    assert (
        await refusal(world, url, "main", **wishes(ssh)) == "failed to verify ssh signature: public key does not match"
    )
    assert (await refusal(world, url, "main", **wishes(gpg))).startswith("failed to parse ssh public key: ssh: no key")


@pytest.mark.row("L58")
async def test_a_signed_tag_vouches_for_a_commit_that_is_not_signed(world, origin, url, gpg, ssh):
    sign_commit(origin, None, a="1")
    for name, signer in (("v1", gpg), ("v2", ssh)):
        sign_tag(origin, signer, name)
        assert await world.get(url, name, **wishes(signer, requiresignedtag=True)) == {"a": "1"}
        assert await world.get(url, name, keepgitdir="true", **wishes(signer)) == {"a": "1"}
        said = await refusal(world, url, name, **wishes(signer, ignoresignedtag=True))
        assert said == "git object is not signed"


@pytest.mark.row("L58")
async def test_a_tag_that_is_not_signed_leaves_it_to_the_commit_unless_it_must_be(world, origin, url, gpg):
    sign_commit(origin, gpg, a="1")
    sign_tag(origin, None, "v1")
    origin.git("tag", "light")
    origin.git("push", "-q", "origin", "light")
    assert await world.get(url, "v1", **wishes(gpg)) == {"a": "1"}
    assert await refusal(world, url, "v1", **wishes(gpg, requiresignedtag=True)) == "git object is not signed"
    for ref in ("light", "main"):
        said = await refusal(world, url, ref, **wishes(gpg, requiresignedtag=True))
        assert said == "signed tag required but no signed tag found"


@pytest.mark.row("L58")
async def test_a_tag_named_by_its_id_is_a_tag_too(world, origin, url, ssh):
    sign_commit(origin, None, a="1")
    tag = sign_tag(origin, ssh, "v1")
    assert await world.get(url, tag, **wishes(ssh, requiresignedtag=True)) == {"a": "1"}


@pytest.mark.row("L58")
async def test_an_expired_key_is_good_for_what_it_signed_unless_that_is_refused(world, origin, url, home):
    old = home.signer("old", expires="1y", when="20200101T000000")
    sign_commit(origin, old, a="1")
    assert await world.get(url, "main", **wishes(old)) == {"a": "1"}
    assert (await refusal(world, url, "main", **wishes(old, rejectexpired=True))).endswith("openpgp: key expired")


@pytest.mark.row("L58")
def test_a_tampered_object_is_refused(origin, ssh):
    commit_id = sign_commit(origin, ssh, a="1")
    tag_id = sign_tag(origin, ssh, "v1")
    commit, tag = (
        subprocess.run(["git", "-C", origin.work, "cat-file", kind, id], capture_output=True, check=True).stdout
        for kind, id in (("commit", commit_id), ("tag", tag_id))
    )
    signing = Signing(ssh.public)
    verify_objects(Objects(commit_id, commit, tag_id, tag), signing)
    changed = commit.replace(b"change", b"chance")
    with pytest.raises(SignatureRefused, match="commit object checksum verification failed: checksum mismatch"):
        verify_objects(Objects(commit_id, changed), signing)
    with pytest.raises(SignatureRefused, match="tag object checksum verification failed: checksum mismatch"):
        verify_objects(Objects(commit_id, commit, tag_id, tag.replace(b"tagged", b"tampered")), signing)
    lying = origin.git("hash-object", "-w", "-t", "commit", "--stdin", input=changed)
    with pytest.raises(SignatureRefused, match="ssh: signature did not verify"):
        verify_objects(Objects(lying, changed), signing)


@pytest.mark.row("L58")
async def test_what_was_accepted_once_is_looked_at_again_without_the_network(world, origin, gpg, ssh):
    sign_commit(origin, gpg, a="1")
    with git_web_server(origin.path.parent) as server:
        await world.get(f"{server}/app.git", "main", **wishes(gpg))
    url = f"{server}/app.git"
    assert await world.get(url, "main", pull=Pull.NEVER, **wishes(gpg)) == {"a": "1"}
    with pytest.raises(BuildkitError, match="no armored data found"):
        await world.get(url, "main", pull=Pull.NEVER, **wishes(ssh))


@pytest.mark.row("L58")
async def test_who_asks_about_a_source_hears_of_the_signature_too(world, origin, url, gpg, ssh):
    sign_commit(origin, gpg, a="1")
    async with world.store.lease() as lease:
        known = await world.open(url, "main", **wishes(gpg)).describe(Asker(), lease, Inquiry())
        assert b"gpgsig" in known.commit
        with pytest.raises(SignatureRefused):
            await world.open(url, "main", **wishes(ssh)).describe(Asker(), lease, Inquiry())


@pytest.mark.row("L58")
async def test_repositories_with_long_ids_are_signed_alike(world, origin, url, gpg, ssh):
    for folder, bare in ((origin.path, ["--bare"]), (origin.work, [])):
        shutil.rmtree(folder)
        origin.git("init", "-q", *bare, "-b", "main", "--object-format=sha256", str(folder), at=Path("/"))
    origin.git("remote", "add", "origin", str(origin.path))
    commit = sign_commit(origin, gpg, a="1")
    assert len(commit) == 64
    assert await world.get(url, "main", **wishes(gpg)) == {"a": "1"}
    sign_tag(origin, ssh, "v1")
    assert await world.get(url, "v1", **wishes(ssh, requiresignedtag=True)) == {"a": "1"}
    assert (await refusal(world, url, "main", **wishes(ssh))).startswith("failed to read armored public key")
