"""Git repositories, from real servers: git's own over http and by its own protocol, and sshd."""

from __future__ import annotations

import os
import shutil
import subprocess
from base64 import b64encode
from pathlib import Path

import pytest
from tests.kit.gitworld import GitWorld, Secrets
from tests.kit.steps import Asker
from tests.kit.webs import Origin, basic, git_daemon, git_web_server, ssh_server

from buildkit.core.errors import (
    BuildkitError,
    FailedPrecondition,
    InvalidInput,
    NotFound,
    Unauthenticated,
    Unavailable,
)
from buildkit.session.ssh import SSHAgents
from buildkit.source.pull import Pull
from buildkit.source.source import Inquiry

pytestmark = pytest.mark.net


@pytest.fixture
def world(tmp_path):
    return GitWorld(tmp_path)


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "served"
    made.mkdir()
    return made


@pytest.fixture
def origin(folder):
    return Origin(folder)


@pytest.fixture
def server(folder):
    with git_web_server(folder) as url:
        yield url


@pytest.mark.row("L49", "L59")
async def test_the_default_branch_is_taken_when_no_ref_is_named(world, origin, server):
    commit = origin.commit(a="1", b__c="2")
    assert await world.get(f"{server}/app.git") == {"a": "1", "b/c": "2"}
    assert (world.source.pin, world.keys) == (commit, [commit])


@pytest.mark.row("L49")
async def test_git_speaks_its_own_protocol_too(world, origin, folder):
    origin.commit(a="1")
    with git_daemon(folder) as url:
        assert await world.get(f"{url}/app.git", "main") == {"a": "1"}


@pytest.mark.row("L59")
async def test_a_branch_comes_before_a_tag_of_the_same_name(world, origin, server):
    first = origin.commit(a="tag")
    origin.git("tag", "both")
    origin.git("checkout", "-q", "-b", "both")
    second = origin.commit(a="branch")
    origin.git("push", "-q", "origin", "refs/heads/both:refs/heads/both")
    assert await world.get(f"{server}/app.git", "both") == {"a": "branch"}
    assert await world.get(f"{server}/app.git", "refs/tags/both") == {"a": "tag"}
    assert (world.source.pin, first != second) == (first, True)


@pytest.mark.row("L59", "L60")
async def test_an_annotated_tag_is_pinned_as_itself_and_keyed_by_what_it_tags(world, origin, server):
    commit = origin.commit(a="1")
    origin.git("tag", "-a", "-m", "one", "v1")
    origin.git("push", "-q", "--tags", "origin")
    tag = origin.git("rev-parse", "v1")
    assert await world.get(f"{server}/app.git", "v1") == {"a": "1"}
    assert (world.source.pin, world.keys) == (tag, [commit])
    await world.get(f"{server}/app.git", "v1", keepgitdir="true")
    assert world.keys == [f"{tag}.git#refs/tags/v1"]


@pytest.mark.row("L60")
@pytest.mark.parametrize(
    ("attrs", "suffix"),
    [
        ({}, ""),
        ({"keepgitdir": "true"}, ".git#refs/heads/main"),
        ({"skipsubmodules": "true"}, "(skip-submodules)"),
        ({"mtime": "commit"}, "(mtime=commit)"),
        ({"mtime": "checkout"}, ""),
    ],
)
async def test_the_key_says_what_was_wished(world, origin, server, attrs, suffix):
    commit = origin.commit(a="1")
    source = world.open(f"{server}/app.git", "main", **attrs)
    assert [key async for key in source.keys(Asker())] == [commit + suffix]


@pytest.mark.row("L59")
async def test_a_full_commit_is_not_asked_for(world):
    source = world.open("http://127.0.0.1:1/app.git", "a" * 40)
    assert [key async for key in source.keys(Asker())] == ["a" * 40]


@pytest.mark.row("L59", "L61")
async def test_a_commit_that_no_ref_names_is_found_among_the_ancestors(world, origin, server):
    old = origin.commit(a="1")
    origin.commit(a="2")
    assert await world.get(f"{server}/app.git", old) == {"a": "1"}


@pytest.mark.row("L59")
async def test_a_ref_that_is_not_there_is_told_with_what_is(world, origin, server):
    origin.commit(a="1")
    with pytest.raises(NotFound, match='repository does not contain ref nope, output: ""'):
        await world.get(f"{server}/app.git", "nope")
    with pytest.raises(NotFound) as caught:
        await world.get(f"{server}/app.git", "HEAD")
    commit = origin.git("rev-parse", "HEAD")
    assert str(caught.value) == f'repository does not contain ref HEAD, output: "{commit}\\tHEAD\\n"'


async def test_an_empty_repository_has_no_default_branch(world, origin, server):
    with pytest.raises(NotFound, match="could not find default branch for repository: http://"):
        await world.get(f"{server}/app.git")


@pytest.mark.row("L59")
@pytest.mark.parametrize("ref", ["-x", "--upload-pack=touch /tmp/owned"])
async def test_a_ref_that_begins_with_a_dash_is_refused(world, ref):
    with pytest.raises(InvalidInput, match="invalid git ref"):
        world.open("https://example.org/app.git", ref)


@pytest.mark.parametrize("url", ["ext::sh -c touch% /tmp/owned", "file:///etc", "ftp://example.org/a", "fd::17"])
async def test_protocols_that_run_things_or_read_files_are_refused(world, url):
    with pytest.raises(BuildkitError):
        await world.get(url)


@pytest.mark.row("L61")
async def test_history_is_not_fetched_and_the_repository_is_shared(world, origin, server):
    for number in range(5):
        origin.commit(a=str(number))
    await world.get(f"{server}/app.git")
    origin.commit(a="new")
    assert await world.get(f"{server}/app.git") == {"a": "new"}
    usage = [one for one in await world.store.usage() if one.description.startswith("shared git repo")]
    assert [one.record_type for one in usage] == ["regular"]
    repository = next(world.root.rglob("packed-refs"), None) or next(world.root.rglob("shallow"))
    said = subprocess.run(
        ["git", "--git-dir", repository.parent, "rev-list", "--all", "--count"], capture_output=True, check=True
    )
    assert int(said.stdout) <= 2


async def test_a_tree_that_was_checked_out_is_not_checked_out_again(world, origin, server):
    commit = origin.commit(a="1")
    await world.get(f"{server}/app.git")
    shutil.rmtree(origin.path)
    assert await world.get(f"{server}/app.git", pull=Pull.MISSING) == {"a": "1"}
    assert world.source.pin == commit


@pytest.mark.row("L61")
async def test_a_damaged_shared_repository_is_made_anew(world, origin, server):
    origin.commit(a="1")
    await world.get(f"{server}/app.git")
    objects = [p for p in world.root.joinpath("store").rglob("objects/??/*") if p.is_file()]
    assert objects
    for one in objects:
        one.chmod(0o600)
        one.write_bytes(b"garbage")
    assert await world.get(f"{server}/app.git", "main", mtime="commit") == {"a": "1"}
    assert "is made anew" in world.log


@pytest.mark.row("L61")
async def test_a_repository_that_was_never_finished_is_finished(world, origin, server):
    origin.commit(a="1")
    await world.get(f"{server}/app.git")
    shallow = next(world.root.joinpath("store").rglob("shallow"))
    shallow.with_name("shallow.lock").touch()
    shallow.with_name("HEAD").unlink()
    origin.commit(a="2")
    assert await world.get(f"{server}/app.git") == {"a": "2"}


@pytest.mark.row("L61")
@pytest.mark.parametrize("last", ["refs", "HEAD", "config", "tobell0"])
async def test_a_repository_whose_making_was_interrupted_is_made(world, origin, server, last):
    origin.commit(a="1")
    await world.get(f"{server}/app.git")
    repository = next(world.root.joinpath("store").rglob("shallow")).parent
    made = ("refs", "HEAD", "config", "tobell0", "objects")  # by git, in this order
    (repository / "tobell0").touch()
    for entry in repository.iterdir():
        if entry.name not in made[: made.index(last) + 1]:
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    origin.commit(a="2")
    assert await world.get(f"{server}/app.git") == {"a": "2"}


@pytest.mark.row("L61")
async def test_a_repository_that_git_does_not_take_for_one_is_made_anew(world, origin, server):
    origin.commit(a="1")
    await world.get(f"{server}/app.git")
    next(world.root.joinpath("store").rglob("shallow")).with_name("HEAD").write_text("")
    origin.commit(a="2")
    assert await world.get(f"{server}/app.git") == {"a": "2"}


@pytest.mark.row("L61")
async def test_a_branch_that_becomes_a_folder_of_branches_is_no_trouble(world, origin, server):
    origin.commit(a="1")
    origin.git("push", "-q", "origin", "HEAD:refs/heads/x")
    await world.get(f"{server}/app.git", "x")
    origin.git("push", "-q", "origin", ":refs/heads/x", "HEAD:refs/heads/x/y")
    assert await world.get(f"{server}/app.git", "x/y") == {"a": "1"}


@pytest.mark.row("L61")
async def test_a_tag_that_moves_is_followed(world, origin, server):
    for number in ("1", "2"):
        origin.commit(a=number)
        origin.git("tag", "-f", "v1")
        origin.git("push", "-q", "--force", "--tags", "origin")
        assert await world.get(f"{server}/app.git", "v1") == {"a": number}


@pytest.mark.row("L62")
async def test_a_part_of_a_repository_becomes_the_root(world, origin, server):
    origin.commit(a="1", sub__dir__b="2", sub__c="3")
    assert await world.get(f"{server}/app.git", "main:sub") == {"dir/b": "2", "c": "3"}
    assert world.keys[0].endswith(":sub")
    assert await world.get(f"{server}/app.git", "main:sub/dir") == {"b": "2"}


@pytest.mark.row("L62")
async def test_a_part_must_be_a_real_directory(world, origin, server):
    (origin.work / "link").symlink_to("/etc")
    origin.commit(a="1", d__b="2")
    for part, message in (
        ("link", 'git subpath "link" contains non-directory "link"'),
        ("a", 'contains non-directory "a"'),
        ("d/x", 'failed to lstat "d/x"'),
    ):
        with pytest.raises(InvalidInput, match=message):
            await world.get(f"{server}/app.git", f"main:{part}")
    source = world.open(f"{server}/app.git", "main:../../etc")
    assert await anext(source.keys(Asker())) == origin.git("rev-parse", "HEAD") + ":etc"


@pytest.mark.row("L50")
async def test_a_kept_git_directory_is_a_repository_with_its_origin(world, origin, server):
    commit = origin.commit(a="1")

    def look(root):
        def ask(*args):
            run = subprocess.run(["git", "-C", root, *args], capture_output=True, text=True, check=True)
            return run.stdout.strip()

        refs = ask("for-each-ref", "--format=%(refname)")
        return ask("rev-parse", "HEAD"), ask("remote", "get-url", "origin"), ask("status", "--short"), refs

    url = f"{server}/app.git".replace("//", "//me:secret@")
    assert await world.get(url, "main", keepgitdir="true", look=look) == {"a": "1"}
    assert world.looked == (commit, f"{server}/app.git", "", "refs/heads/main")
    await world.get(url, commit, keepgitdir="true", look=look)
    assert world.looked[0] == commit


@pytest.mark.row("L50")
async def test_without_a_wish_there_is_no_git_directory(world, origin, server):
    origin.commit(a="1")
    await world.get(f"{server}/app.git", look=lambda root: sorted(os.listdir(root)))
    assert world.looked == ["a"]


@pytest.mark.row("L53")
async def test_a_checksum_is_compared_with_the_tag_and_the_commit(world, origin, server):
    commit = origin.commit(a="1")
    origin.git("tag", "-a", "-m", "one", "v1")
    origin.git("push", "-q", "--tags", "origin")
    tag = origin.git("rev-parse", "v1")
    for checksum in (commit, commit[:7], tag, commit.upper()[:9]):
        assert await world.get(f"{server}/app.git", "v1", checksum=checksum) == {"a": "1"}
    wrong = "0" * 7
    with pytest.raises(FailedPrecondition) as caught:
        await world.get(f"{server}/app.git", "v1", checksum=wrong)
    assert str(caught.value) == f"expected checksum to match {wrong}, got {tag} or {commit}"
    with pytest.raises(FailedPrecondition, match=f"expected checksum to match {wrong}, got {commit}$"):
        await world.get(f"{server}/app.git", "main", checksum=wrong)


@pytest.mark.row("L53")
async def test_a_checksum_that_is_none_is_refused(world):
    with pytest.raises(InvalidInput, match="invalid checksum xyz for Git URL, expected hex commit hash"):
        world.open("https://example.org/a.git", "main", checksum="xyz")
    with pytest.raises(InvalidInput, match="expected checksum to match bbb, got a"):
        world.open("https://example.org/a.git", "a" * 40, checksum="bbb")


@pytest.mark.row("L54")
async def test_submodules_come_along_unless_they_are_skipped(world, origin, server, folder):
    inner = Origin(folder, "inner.git")
    inner.commit(x="inner")
    origin.git("-c", "protocol.file.allow=always", "submodule", "add", "-q", str(inner.path), "mod")
    (origin.work / ".gitmodules").write_text('[submodule "mod"]\n\tpath = mod\n\turl = ../inner.git\n')
    origin.commit(a="1")
    files = await world.get(f"{server}/app.git", look=lambda root: sorted(os.listdir(root / "mod")))
    assert (files["mod/x"], world.looked) == ("inner", ["x"])
    assert "mod/x" not in await world.get(f"{server}/app.git", skipsubmodules="true")
    kept = await world.get(f"{server}/app.git", keepgitdir="true")
    assert kept["mod/x"] == "inner"


@pytest.mark.parametrize("url", ["/etc", "file:///etc", "ext::sh -c touch% /tmp/owned"])
async def test_a_submodule_on_this_machine_is_refused(world, origin, server, folder, url):
    inner = Origin(folder, "inner.git")
    inner.commit(x="inner")
    origin.git("-c", "protocol.file.allow=always", "submodule", "add", "-q", str(inner.path), "mod")
    (origin.work / ".gitmodules").write_text(f'[submodule "mod"]\n\tpath = mod\n\turl = {url}\n')
    origin.commit(a="1")
    with pytest.raises(BuildkitError, match="failed to checkout remote"):
        await world.get(f"{server}/app.git")
    assert not Path("/tmp/owned").exists()


@pytest.mark.row("L55")
async def test_files_can_be_as_old_as_their_commit(world, origin, server):
    (origin.work / "link").symlink_to("a")
    origin.commit(a="1", d__b="2")
    await world.get(
        f"{server}/app.git", mtime="commit", look=lambda root: {p.lstat().st_mtime for p in [root, *root.rglob("*")]}
    )
    assert world.looked == {1605952800.0}


@pytest.mark.row("L56")
async def test_a_commit_is_fetched_by_its_id_under_the_name_of_a_ref(world, origin, server):
    old = origin.commit(a="1")
    origin.commit(a="2")
    origin.git("config", "uploadpack.allowAnySHA1InWant", "true", at=origin.path)
    assert await world.get(f"{server}/app.git", "main", checksum=old, fetchbycommit="true") == {"a": "1"}
    with pytest.raises(InvalidInput, match="fetch-by-commit requires a checksum or a commit SHA ref"):
        world.open("https://example.org/a.git", "main", fetchbycommit="true")
    with pytest.raises(InvalidInput, match='fetch-by-commit requires a full commit SHA checksum, got "abc"'):
        world.open("https://example.org/a.git", "main", fetchbycommit="true", checksum="abc")


SECRET = "s3cr3t-value"


@pytest.mark.row("L51")
@pytest.mark.parametrize(
    ("name", "attrs", "expected"),
    [
        ("T", {"authtokensecret": "T"}, "basic " + b64encode(f"x-access-token:{SECRET}".encode()).decode()),
        ("H", {"authheadersecret": "H"}, f"Bearer {SECRET}"),
        ("H.{host}", {"authheadersecret": "H"}, f"Bearer {SECRET}"),
    ],
)
async def test_secrets_open_a_repository_and_are_not_shown(world, origin, folder, name, attrs, expected):
    origin.commit(a="1")
    with git_web_server(folder, authorization=expected) as url:
        value = SECRET if "T" in name else f"Bearer {SECRET}"
        secrets = Secrets(**{name.format(host=url.partition("//")[2]): value})
        assert await world.get(f"{url}/app.git", lends={"secrets": secrets}, **attrs) == {"a": "1"}
        shown = world.log + str(world.asker.facts)
        with pytest.raises(Unauthenticated) as caught:
            await world.get(f"{url}/app.git", "other", lends={"secrets": Secrets(H="wrong " + SECRET)}, **attrs)
        assert SECRET not in shown + str(caught.value)
    held = b"".join(p.read_bytes() for p in world.root.joinpath("store").rglob("*") if p.is_file())
    assert SECRET.encode() not in held
    assert expected.partition(" ")[2].encode() not in held


async def test_a_user_in_the_url_is_used_and_kept_nowhere(world, origin, folder):
    origin.commit(a="1")
    with git_web_server(folder, authorization=basic("me", SECRET)) as url:
        remote = f"{url}/app.git".replace("//", f"//me:{SECRET}@")
        assert await world.get(remote, "main", keepgitdir="true") == {"a": "1"}
        assert SECRET not in world.log + str(world.asker.facts)
        with pytest.raises(BuildkitError) as caught:
            await world.get(remote, "nope")
        assert SECRET not in str(caught.value)
    held = b"".join(p.read_bytes() for p in world.root.rglob("*") if p.is_file())
    assert SECRET.encode() not in held


@pytest.mark.row("L52")
async def test_ssh_goes_through_the_agent_that_is_lent(world, origin, folder, tmp_path):
    origin.commit(a="1")
    with ssh_server(tmp_path / "ssh") as ssh:
        url = f"ssh://root@127.0.0.1:{ssh.port}{origin.path}"
        lends = {"ssh": SSHAgents({"default": (ssh.agent, False)})}
        attrs = {"knownsshhosts": ssh.known_hosts, "mountsshsock": "default"}
        assert await world.get(url, lends=lends, **attrs) == {"a": "1"}
        with pytest.raises(Unauthenticated, match="Host key verification failed"):
            stranger = "[127.0.0.1]:1 ssh-ed25519 AAAA\n"
            await world.get(url, "x", lends=lends, **{**attrs, "knownsshhosts": stranger})
        with pytest.raises(Unauthenticated, match="Permission denied"):
            await world.get(url, "y", knownsshhosts=ssh.known_hosts)


@pytest.mark.row("L52")
async def test_ssh_without_an_agent_is_told(world):
    with pytest.raises(FailedPrecondition, match='no SSH key "default" forwarded from the client'):
        await world.get("ssh://git@127.0.0.1:1/a.git", mountsshsock="default")
    with pytest.raises(NotFound, match="unset ssh forward key other"):
        await world.get("ssh://git@127.0.0.1:1/a.git", mountsshsock="other", lends={"ssh": SSHAgents({})})


async def test_the_configuration_of_this_machine_does_not_count(world, origin, server, tmp_path, monkeypatch):
    origin.commit(a="1")
    config = tmp_path / "config"
    config.write_text('[url "http://127.0.0.1:1/"]\n\tinsteadOf = http://\n')
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    monkeypatch.setenv("GIT_DIR", "/nonsense")
    assert await world.get(f"{server}/app.git") == {"a": "1"}


async def test_a_server_that_is_gone_is_done_without(world, origin, folder):
    origin.commit(a="1")
    with git_web_server(folder) as url:
        await world.get(f"{url}/app.git", "main")
    with pytest.raises(Unavailable):
        await world.get(f"{url}/app.git", "main")
    assert await world.get(f"{url}/app.git", "main", pull=Pull.FALLBACK) == {"a": "1"}
    assert await world.get(f"{url}/app.git", "main", pull=Pull.NEVER, mtime="commit") == {"a": "1"}
    with pytest.raises(NotFound, match="--pull=never forbids"):
        await world.get(f"{url}/app.git", "other", pull=Pull.NEVER)


async def test_a_source_knows_its_commit(world, origin, server):
    commit = origin.commit("first words", a="1")
    async with world.store.lease() as lease:
        known = await world.open(f"{server}/app.git").describe(Asker(), lease, Inquiry(objects=True))
    assert (known.ref, known.checksum, known.tag) == ("refs/heads/main", commit, b"")
    assert b"first words" in known.commit
    assert known.commit == origin.git("cat-file", "commit", commit).encode() + b"\n"


async def test_a_source_knows_its_tag(world, origin, server):
    commit = origin.commit("first words", a="1")
    origin.git("tag", "-a", "-m", "tagged words", "v1")
    origin.git("push", "-q", "--tags", "origin")
    async with world.store.lease() as lease:
        known = await world.open(f"{server}/app.git", "v1").describe(Asker(), lease, Inquiry(objects=True))
        short = await world.open(f"{server}/app.git", "v1").describe(Asker(), lease, Inquiry())
    assert (known.ref, known.commit_checksum) == ("refs/tags/v1", commit)
    assert known.checksum == origin.git("rev-parse", "v1").strip()
    assert b"tagged words" in known.tag and b"first words" in known.commit
    assert (short.commit_checksum, short.commit, short.tag) == (commit, b"", b"")
