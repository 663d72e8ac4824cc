"""What builds leave in the store, as clients are told of it."""

from __future__ import annotations

import pytest
from tests.kit.webs import Origin, git_web_server, web_server

from buildkit import llb
from buildkit.client.library import Client

pytestmark = [pytest.mark.root, pytest.mark.net]


@pytest.fixture
def client(tmp_path):
    with Client(root=tmp_path / "state") as client:
        yield client


def kinds(client):
    return {record.description: record.record_type for record in client.usage()}


@pytest.mark.row("S65", "S66")
def test_records_tell_what_made_them(client, base, tmp_path):
    Origin(tmp_path).commit(a="1")
    (tmp_path / "context").mkdir()
    (tmp_path / "context/file").write_text("1")
    mounts = [llb.cache("/c", "the id")]
    with git_web_server(tmp_path) as git, web_server() as web:
        page = web.put("/page")
        sources = llb.git(f"{git}/app.git", "main"), llb.http(page), llb.local("context")
        root = llb.image(base).run("true", mounts=mounts).root.run("touch /made").root
        client.build(llb.merge([root, *sources]).file(llb.mkdir("/d")), locals={"context": tmp_path / "context"})
    found = {name.partition("@sha256:")[0]: kind for name, kind in kinds(client).items()}
    assert found.items() >= {
        (f"pulled from {base}", "regular"),
        ("mount / from exec touch /made", "regular"),
        ('cached mount /c from exec true with id "the id"', "exec.cachemount"),
        (f"git snapshot for {git}/app.git#main", "source.git.checkout"),
        (f"shared git repo for {git}/app.git", "regular"),
        (f"http url {page}", "regular"),
        ("local source for context", "source.local"),
    }


@pytest.mark.row("S65")
@pytest.mark.parametrize("kind", ["internal", "frontend"])
def test_an_image_may_be_for_the_builder_itself(client, base, kind):
    client.build(llb.image(base, record_type=kind).run("true").root)
    [found] = [kind for name, kind in kinds(client).items() if name.startswith("pulled from")]
    assert found == kind
