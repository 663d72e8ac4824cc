"""Git repositories in one file: fetched as a blob, and made of a checkout."""

from __future__ import annotations

import hashlib
import subprocess
import urllib.request

import pytest
from tests.kit.gitworld import GitWorld

from buildkit.core.errors import BuildkitError, FailedPrecondition, InvalidInput, NotFound
from buildkit.session.stores import Layouts
from buildkit.source.pull import Pull

pytestmark = pytest.mark.net
NOWHERE = "http://127.0.0.1:1/app.git"


@pytest.fixture
def world(tmp_path):
    return GitWorld(tmp_path)


class Shelf:
    """An OCI layout that the client lends as ``shelf``."""

    def __init__(self, folder) -> None:
        self.folder = folder
        (folder / "blobs/sha256").mkdir(parents=True)
        (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        (folder / "index.json").write_text('{"schemaVersion":2,"manifests":[]}')
        self.lends = {"stores": Layouts({"shelf": folder})}

    def put(self, content: bytes) -> str:
        hex = hashlib.sha256(content).hexdigest()
        (self.folder / "blobs/sha256" / hex).write_bytes(content)
        return f"oci-layout+blob://shelf@sha256:{hex}"


@pytest.fixture
def shelf(tmp_path):
    return Shelf(tmp_path / "shelf")


def bundled(origin, *refs) -> bytes:
    file = origin.work.parent / "file.bundle"
    origin.git("bundle", "create", "-q", str(file), *(refs or ("main",)))
    return file.read_bytes()


@pytest.mark.row("L57")
async def test_a_bundle_stands_in_for_a_remote_that_is_not_there(world, origin, shelf):
    old, commit = origin.commit(a="1"), origin.commit(a="2", sub__b="3")
    how = {"bundle": shelf.put(bundled(origin)), "lends": shelf.lends}
    assert await world.get(NOWHERE, "main", checksum=commit, **how) == {"a": "2", "sub/b": "3"}
    assert (world.keys, world.source.pin) == ([commit], commit)
    assert await world.get(NOWHERE, "main:sub", checksum=commit[:7], **how) == {"b": "3"}
    assert await world.get(NOWHERE, "", checksum=old, **how) == {"a": "1"}
    assert await world.get(NOWHERE, old, checksum=old[:9], mtime="commit", **how) == {"a": "1"}


@pytest.mark.row("L57")
async def test_a_tag_in_a_bundle_is_a_tag(world, origin, shelf):
    commit = origin.commit(a="1")
    origin.git("tag", "-a", "-m", "one", "v1")
    tag = origin.git("rev-parse", "v1")
    how = {"bundle": shelf.put(bundled(origin, "main", "v1")), "lends": shelf.lends}
    assert await world.get(NOWHERE, "v1", checksum=commit, **how) == {"a": "1"}
    assert (world.keys, world.source.pin) == ([commit], tag)
    await world.get(NOWHERE, "v1", checksum=tag, keepgitdir="true", look=lambda root: git(root, "remote", "-v"), **how)
    assert world.keys == [f"{tag}.git#refs/tags/v1"]
    assert NOWHERE in world.looked


@pytest.mark.row("L57")
async def test_a_bundle_is_fetched_once_from_a_registry(world, origin, registry_host):
    commit = origin.commit(a="1")
    content = bundled(origin)
    hex = hashlib.sha256(content).hexdigest()
    start = urllib.request.Request(f"http://{registry_host}/v2/bundles/blobs/uploads/", method="POST")
    with urllib.request.urlopen(start) as answer:
        place = answer.headers["Location"]
    put = urllib.request.Request(f"{place}&digest=sha256:{hex}", data=content, method="PUT")
    put.add_header("Content-Type", "application/octet-stream")
    urllib.request.urlopen(put).close()
    locator = f"docker-image+blob://{registry_host}/bundles@sha256:{hex}"
    with pytest.raises(NotFound, match="--pull=never"):
        await world.get(NOWHERE, "main", checksum=commit, bundle=locator, pull=Pull.NEVER)
    assert await world.get(NOWHERE, "main", checksum=commit, bundle=locator) == {"a": "1"}
    again = await world.get(NOWHERE, "main", checksum=commit, bundle=locator, pull=Pull.NEVER, mtime="commit")
    assert again == {"a": "1"}


@pytest.mark.row("L57")
async def test_what_is_not_in_the_bundle_or_not_the_bundle_is_told(world, origin, shelf):
    commit = origin.commit(a="1")
    locator = shelf.put(bundled(origin))
    name, missing = locator.partition("://")[2], "b" * 40
    with pytest.raises(FailedPrecondition, match=f"^commit {missing} not found in bundle {name}$"):
        await world.get(NOWHERE, missing, checksum=missing, bundle=locator, lends=shelf.lends)
    with pytest.raises(NotFound, match="repository does not contain ref nope"):
        await world.get(NOWHERE, "nope", checksum=commit, bundle=locator, lends=shelf.lends)
    with pytest.raises(BuildkitError, match="failed to inspect git bundle"):
        await world.get(NOWHERE, commit, checksum=commit, bundle=shelf.put(b"not a bundle"), lends=shelf.lends)
    other = shelf.put(b"other")
    (shelf.folder / "blobs/sha256" / other.rpartition(":")[2]).write_bytes(bundled(origin))
    with pytest.raises(BuildkitError, match=r"failed to fetch git bundle shelf@sha256:.*: "):
        await world.get(NOWHERE, commit, checksum=commit, bundle=other, lends=shelf.lends)
    assert await world.get(NOWHERE, commit, checksum=commit, bundle=locator, lends=shelf.lends) == {"a": "1"}


DIGEST = "sha256:" + "c" * 64


@pytest.mark.row("L57")
@pytest.mark.parametrize(
    ("attrs", "said"),
    [
        ({"bundle": "x"}, 'failed to parse git.bundle locator "x": missing scheme'),
        (
            {"bundle": "http://x"},
            'git.bundle locator scheme "http" is not supported; expected "docker-image+blob" or "oci-layout+blob"',
        ),
        (
            {"bundle": "oci-layout+blob://x"},
            'failed to parse git.bundle locator "oci-layout+blob://x": invalid digest: ',
        ),
        (
            {"bundle": "oci-layout+blob://x@sha512:" + "c" * 128, "checksum": "aa"},
            'digest algorithm "sha512" not supported, expected "sha256"',
        ),
        ({"bundle": f"oci-layout+blob://x@{DIGEST}"}, "git.bundle requires git.checksum to be set"),
        (
            {"bundle": f"oci-layout+blob://x@{DIGEST}", "checksum": "aa"},
            "git.bundle without a ref needs a full commit in git.checksum, got aa",
        ),
        ({"checkoutbundle": "true", "keepgitdir": "true"}, "git.checkoutbundle is incompatible with git.keepgitdir"),
    ],
)
def test_bundles_that_make_no_sense_are_refused(world, attrs, said):
    with pytest.raises(InvalidInput) as caught:
        world.open(NOWHERE, **attrs)
    assert said in str(caught.value)


@pytest.mark.row("L57")
def test_a_part_of_a_tree_is_no_bundle_and_two_commits_are_not_one(world):
    with pytest.raises(InvalidInput, match=r"git\.checkoutbundle is incompatible with git\.subdir"):
        world.open(NOWHERE, "main:sub", checkoutbundle="true")
    with pytest.raises(InvalidInput, match=r"expected checksum to match b{40}, got a{40}"):
        world.open(NOWHERE, "a" * 40, bundle=f"oci-layout+blob://x@{DIGEST}", checksum="b" * 40)


def git(folder, *args) -> str:
    run = subprocess.run(["git", "-C", folder, *args], capture_output=True, text=True, check=True)
    return run.stdout.strip()


@pytest.mark.row("L57")
async def test_a_checkout_may_be_a_bundle_with_all_history(world, origin, url, tmp_path):
    origin.commit(a="1")
    commit = origin.commit(a="2")
    origin.git("tag", "-a", "-m", "one", "v1")
    origin.git("push", "-q", "--tags", "origin")
    await world.get(url, "main")  # which is shallow

    def take(root):
        assert [p.name for p in root.iterdir()] == ["bundle"]
        assert (root / "bundle").stat().st_mode & 0o7777 == 0o666
        return (root / "bundle").read_bytes()

    for ref, name in (("main", "refs/heads/main"), ("refs/tags/v1", "refs/tags/v1"), (commit, "refs/heads/main")):
        with pytest.raises(UnicodeDecodeError):
            await world.get(url, ref, checkoutbundle="true", look=take)
        assert world.keys == [commit + "(bundle)"]
        file = tmp_path / "made"
        file.write_bytes(world.looked)
        clone = tmp_path / f"clone-{name.replace('/', '-')}-{ref[:4]}"
        git("/", "clone", "-q", "--bare", str(file), str(clone))
        heads = git("/", "bundle", "list-heads", str(file)).split()
        assert heads[1] == name
        assert git(clone, "rev-list", "--count", heads[0]) == "2"


@pytest.mark.row("L57")
async def test_a_bundle_that_was_made_here_can_be_used_here(world, origin, url, shelf, tmp_path):
    commit = origin.commit(a="1")
    with pytest.raises(UnicodeDecodeError):
        await world.get(url, "main", checkoutbundle="true", look=lambda root: (root / "bundle").read_bytes())
    first = world.looked
    how = {"bundle": shelf.put(first), "lends": shelf.lends}
    other = GitWorld(tmp_path / "other")
    assert await other.get(NOWHERE, "main", checksum=commit, **how) == {"a": "1"}
    again = GitWorld(tmp_path / "again")
    with pytest.raises(UnicodeDecodeError):
        await again.get(url, "main", checkoutbundle="true", look=lambda root: (root / "bundle").read_bytes())
    assert again.looked == first
