"""Key spellings against what a real buildkitd wrote into its cache export."""

import base64
import json

import pytest

from buildkit.core.digest import sha256_text
from buildkit.solver.digests import content_key, record_digest, selector_digest, source_digest

IMAGE = "sha256:609b8cb15555babbeb311ec78fbc3b2b62f2e90298edb3dfb6ae991c496cbf4d"
LAYER = "sha256:4080eeb48bb53899e263b02d8983881408448931894f706b13db722c6392fe7b"
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def exec_digest(*, args, env, mounts=()):
    meta = {"args": args, "env": env, "cwd": "/", "removeMountStubsRecursive": True}
    exec_ = {"meta": meta, **({"mounts": list(mounts)} if mounts else {})}
    text = json.dumps(
        {"Type": "buildkit.exec.v0", "Exec": exec_, "OS": "linux", "Arch": "amd64"}, separators=(",", ":")
    )
    return sha256_text(text.replace(">", "\\u003e").replace("<", "\\u003c").replace("&", "\\u0026"))


@pytest.mark.row("S1", "S21")
def test_an_image_by_its_manifest():
    identity = sha256_text(json.dumps({"Digest": IMAGE, "OS": "linux", "Arch": "amd64"}, separators=(",", ":")))
    assert record_digest(source_digest(identity), 0) == (
        "sha256:c5c1681a16c35aeb4fb5e9006d9d506dafa5672fbc47bb6610c2b71bc5865e3f"
    )


@pytest.mark.row("S2")
def test_an_image_by_its_layers():
    assert record_digest(source_digest(LAYER), 0) == (
        "sha256:32cefeb0f8ae13f0609962f3bdab5414076e44101c17d93398e9b62f85af8562"
    )


@pytest.mark.row("S3")
def test_a_step_with_only_a_root_mount():
    digest = exec_digest(args=["/bin/sh", "-c", "echo hi > /b"], env=["FOO=bar", PATH, "K=v"])
    assert record_digest(digest, 0) == "sha256:cb922a4d0325375e50689db434e8e1044730aed4b79c21ed0f91d33460811cbd"


@pytest.mark.row("S4")
def test_a_step_with_a_cache_mount():
    cache = {"input": -1, "dest": "/c", "output": -1, "mountType": 3, "cacheOpt": {"ID": "//c"}}
    command = 'echo $FOO > /a && echo "line out" && echo err >&2'
    digest = exec_digest(args=["/bin/sh", "-c", command], env=[PATH, "FOO=bar"], mounts=[{"dest": "/"}, cache])
    assert record_digest(digest, 0) == "sha256:fb641c18ddf6514741e735ce0442ea2bb7978469d09bc930932241e498a3d6d7"


@pytest.mark.row("S5")
def test_a_file_copy():
    action = {
        "src": "f.txt", "dest": "/f.txt", "mode": -1, "followSymlink": True, "dirCopyContents": True,
        "createDestPath": True, "allowWildcard": True, "allowEmptyWildcard": True, "timestamp": -1,
    }  # fmt: skip
    encoded = base64.b64encode(json.dumps(action, separators=(",", ":")).encode()).decode()
    text = json.dumps({"Type": "buildkit.file.v0", "Actions": [encoded]}, separators=(",", ":"))
    assert record_digest(sha256_text(text), 0) == (
        "sha256:91d4d26c6dc04298d52ffd84e105b33a55d7aee1862e07c18050f732063b1e5b"
    )


@pytest.mark.row("S6", "S23")
def test_a_content_digest_is_that_of_a_list_and_has_the_output_minus_one():
    header = "namemode420uid0gid0size6typeflag0linknameunamegnamedevmajor0devminor0"
    one = sha256_text(header + "hello\n")
    assert content_key(sha256_text(one)) == "sha256:c24a47b576469b52903dd7e5045a62fee5855b447dee1771d67b829458d2c08e"


@pytest.mark.row("S7")
def test_selectors_are_paths_joined_by_nul():
    assert selector_digest(["/"]) == "sha256:8a5edab282632443219e051e4ade2d1d5bbc671c781051bf1437897cbdfea0f1"
    assert selector_digest(["/a", "/b"]) == sha256_text("/a\0/b") != selector_digest(["/b", "/a"])


@pytest.mark.row("S21")
def test_random_digests_stay_as_they_are():
    assert record_digest("random:abc", 3) == "random:abc"
    assert source_digest("random:abc") == "random:abc"
