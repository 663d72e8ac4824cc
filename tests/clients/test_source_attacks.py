"""What repositories, servers and definitions try that must not work."""

from __future__ import annotations

import os
import socketserver
import threading
from contextlib import contextmanager

import pytest
from tests.kit.gitworld import GitWorld
from tests.kit.webs import Origin, web_server
from tests.kit.webworld import WebWorld

from buildkit.core.errors import BuildkitError, Exhausted, InvalidInput

pytestmark = pytest.mark.net


@pytest.fixture
def world(tmp_path):
    return GitWorld(tmp_path / "git")


@pytest.fixture
async def web(tmp_path):
    made = WebWorld(tmp_path / "web")
    yield made
    made.transport.close()


@contextmanager
def raw_server(answer):
    """Answers every request with what ``answer(write)`` writes; gives the URL of a file and how often it was asked."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            while (line := self.rfile.readline()) not in (b"\r\n", b""):
                asked.append(line)
            try:
                answer(self.wfile.write)
            except OSError:
                pass

    asked: list[bytes] = []
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/file"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("ref", ["-x", "--upload-pack=touch owned", "-u0"])
def test_attack_a_ref_that_is_an_option(world, ref):
    with pytest.raises(InvalidInput, match="invalid git ref"):
        world.open("http://127.0.0.1:1/app.git", ref)


def test_attack_a_host_that_is_an_option_of_ssh(world):
    for remote in ("ssh://-oProxyCommand=touch%20owned/x.git", "ssh://a@-oProxyCommand=x/x.git", "-a@host:x"):
        with pytest.raises(InvalidInput):
            world.open(remote)


async def test_attack_a_default_branch_that_is_an_option(world, origin, url):
    origin.commit(a="1")
    (origin.path / "HEAD").write_text("ref: refs/heads/-x\n")
    (origin.path / "refs/heads/-x").write_text(origin.git("rev-parse", "HEAD") + "\n")
    with pytest.raises(InvalidInput, match='invalid git ref "-x"'):
        await world.get(url)


async def test_attack_a_path_of_a_file_that_is_named_like_an_option(world, origin, url):
    origin.commit(**{"--help": "1", "-rf": "2"})
    assert await world.get(url, "main") == {"--help": "1", "-rf": "2"}


def strays(folder, name: str) -> list[str]:
    """Files of this name outside of the store and of the repositories that are served."""
    found = []
    for place, folders, files in os.walk(folder):
        folders[:] = [one for one in folders if one not in ("store", "served")]
        found += [os.path.join(place, one) for one in (*folders, *files) if one == name]
    return found


def _raw_tree(origin, *entries: tuple[str, str, str]) -> str:
    """Push a commit whose tree is written by hand: (mode, name, id)."""
    content = b"".join(f"{mode} {name}\0".encode() + bytes.fromhex(id) for mode, name, id in entries)
    tree = origin.git("hash-object", "-w", "-t", "tree", "--literally", "--stdin", input=content)
    commit = origin.git("commit-tree", "-m", "evil", tree)
    origin.git("push", "-q", "--force", "origin", f"{commit}:refs/heads/evil")
    return commit


@pytest.mark.parametrize("name", ["..", ".", ".git", ".GIT", "a/b"])
async def test_attack_names_in_trees_that_lead_out(world, origin, url, tmp_path, name):
    origin.commit(a="1")
    blob = origin.git("hash-object", "-w", "--stdin", input=b"evil")
    inner = origin.git("mktree", input=f"100644 blob {blob}\tescaped\n".encode())
    _raw_tree(origin, ("40000", name, inner))
    looked = {}
    try:
        looked = await world.get(url, "evil")
    except BuildkitError as error:
        assert "invalid path" in str(error) or "fsck" in str(error) or "malformed" in str(error)
    assert set(looked) <= {"a/b/escaped", ".GIT/escaped"}
    assert not strays(tmp_path, "escaped")


async def test_attack_a_git_directory_that_is_a_link(world, origin, url):
    origin.commit(a="1")
    target = origin.git("hash-object", "-w", "--stdin", input=b"/etc")
    for name in (".git", ".GIT", "git~1"):
        _raw_tree(origin, ("120000", name, target))
        for keep in ("true", "false"):
            try:
                await world.get(url, "evil", keepgitdir=keep, look=lambda root: (root / ".git").is_symlink())
            except BuildkitError as error:
                assert "invalid path" in str(error)
                continue
            assert not world.looked


@pytest.fixture
def inner(origin):
    made = Origin(origin.path.parent, "inner.git")
    made.commit(x="inner")
    return made


def _submodule(origin, inner, path: str, *, name: str = "mod", url: str = "../inner.git") -> None:
    commit = inner.git("rev-parse", "HEAD")
    modules = f'[submodule "{name}"]\n\tpath = {path}\n\turl = {url}\n'
    (origin.work / ".gitmodules").write_text(modules)
    origin.git("add", "-A")
    origin.git("update-index", "--add", "--cacheinfo", f"160000,{commit},{path}", at=origin.work)
    origin.git("commit", "-q", "-m", "sub")
    origin.git("push", "-q", "--force", "origin", "HEAD")


async def test_attack_a_submodule_whose_path_leads_out(world, origin, inner, url, tmp_path):
    origin.commit(a="1")
    _submodule(origin, inner, "good")
    assert (await world.get(url, "main"))["good/x"] == "inner"
    for path in ("../out", "a/../../out", "/tmp/out"):
        (origin.work / ".gitmodules").write_text(f'[submodule "mod"]\n\tpath = {path}\n\turl = ../inner.git\n')
        origin.commit(again=path)
        try:
            files = await world.get(url, "main")
        except BuildkitError:
            continue
        assert not [name for name in files if "out" in name]
    assert not (tmp_path / "out").exists() and not os.path.lexists("/tmp/out")


async def test_attack_a_submodule_whose_name_leads_out(world, origin, inner, url, tmp_path):
    origin.commit(a="1")
    for name in ("../../../escaped", "../x/../../escaped", "..\\\\escaped"):
        _submodule(origin, inner, "mod", name=name)
        for keep in ("true", "false"):
            try:
                files = await world.get(url, "main", keepgitdir=keep)
            except BuildkitError:
                continue
            assert "mod/x" not in files
    assert not strays(tmp_path, "escaped")


async def test_attack_a_submodule_below_a_link(world, origin, inner, url, tmp_path):
    (tmp_path / "victim").mkdir()
    blob = origin.git("hash-object", "-w", "--stdin", input=str(tmp_path / "victim").encode())
    modules = b'[submodule "mod"]\n\tpath = link/mod\n\turl = ../inner.git\n'
    listed = origin.git("hash-object", "-w", "--stdin", input=modules)
    inside = origin.git("mktree", "--missing", input=f"160000 commit {inner.git('rev-parse', 'HEAD')}\tmod\n".encode())
    _raw_tree(origin, ("100644", ".gitmodules", listed), ("120000", "link", blob), ("40000", "link", inside))
    try:
        await world.get(url, "evil")
    except BuildkitError:
        pass
    assert os.listdir(tmp_path / "victim") == []


@pytest.mark.parametrize("target", ["ext::sh -c touch% /tmp/owned-by-submodule", "-u./payload", "file:///etc", "/etc"])
async def test_attack_a_submodule_of_another_scheme(world, origin, inner, url, target):
    _submodule(origin, inner, "mod", url=target)
    with pytest.raises(BuildkitError):
        await world.get(url, "main")
    assert not os.path.lexists("/tmp/owned-by-submodule")


async def test_attack_hooks_and_filters_in_a_repository_do_not_run(world, origin, url, tmp_path):
    mark = tmp_path / "ran"
    (origin.work / ".gitattributes").write_text("* filter=evil diff=evil merge=evil\n")
    (origin.work / ".gitconfig").write_text(f'[filter "evil"]\n\tsmudge = touch {mark}\n')
    (origin.work / "hooks").mkdir()
    hook = origin.work / "hooks/post-checkout"
    hook.write_text(f"#!/bin/sh\ntouch {mark}\n")
    hook.chmod(0o755)
    origin.commit(a="1")
    for keep in ("true", "false"):
        await world.get(url, "main", keepgitdir=keep)
    assert not mark.exists()


@pytest.mark.parametrize(
    "target", ["file:///etc", "ext::sh -c touch% owned", "ftp://127.0.0.1/x", "git://127.0.0.1:1/x"]
)
async def test_attack_a_git_server_that_redirects_to_another_scheme(world, target):
    def answer(write):
        write(f"HTTP/1.1 301 Moved\r\nLocation: {target}/info/refs\r\nContent-Length: 0\r\n\r\n".encode())

    with raw_server(answer) as url:
        with pytest.raises(BuildkitError):
            await world.get(url, "main")


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ext::sh -c id", "ftp://localhost/a", "//\x00", "unix:///x"])
async def test_attack_a_web_server_that_redirects_to_another_scheme(web, target):
    def answer(write):
        write(f"HTTP/1.1 302 Found\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n".encode())

    with raw_server(answer) as url:
        with pytest.raises(BuildkitError):
            await web.get(url)
    assert await web.store.usage() == []


async def test_attack_a_web_server_that_redirects_for_ever(web):
    with web_server() as server:
        url = server.put("/a", redirect="/a")
        with pytest.raises(BuildkitError, match="redirect"):
            await web.get(url)


async def test_attack_a_body_that_never_ends(web, monkeypatch):
    class Disk:
        free = 1 << 20

    monkeypatch.setattr("buildkit.source.http.shutil.disk_usage", lambda path: Disk)

    def answer(write):
        write(b"HTTP/1.1 200 OK\r\nContent-Type: x\r\n\r\n")
        while True:
            write(b"x" * 65536)

    with raw_server(answer) as url:
        with pytest.raises(Exhausted):
            await web.get(url)
    assert await web.store.usage() == []


async def test_attack_a_body_that_is_longer_than_the_disk(web):
    def answer(write):
        write(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999\r\n\r\n")

    with raw_server(answer) as url:
        with pytest.raises(Exhausted, match="no space for 99999999999999999 bytes"):
            await web.get(url)
    assert await web.store.usage() == []


@pytest.mark.parametrize("length", ["-1", "1e9", "5, 6", "0x5", "", "9" * 40])
async def test_attack_a_length_that_is_no_number(web, length):
    def answer(write):
        write(f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\nhello".encode())

    with raw_server(answer) as url:
        try:
            _, files = await web.get(url)
        except BuildkitError:
            assert await web.store.usage() == []
        else:
            assert files["file"][0] in (b"hello", b"")


async def test_attack_a_body_that_is_shorter_than_it_said(web):
    def answer(write):
        write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")

    with raw_server(answer) as url:
        with pytest.raises(BuildkitError, match="of 10 bytes"):
            await web.get(url)
    assert await web.store.usage() == []


async def test_attack_a_body_that_is_longer_than_it_said(web):
    def answer(write):
        write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello and more")

    with raw_server(answer) as url:
        _, files = await web.get(url)
        assert files["file"][0] == b"hello"


async def test_attack_a_header_that_never_ends(web):
    def answer(write):
        write(b"HTTP/1.1 200 OK\r\nX: ")
        while True:
            write(b"x" * 65536)

    with raw_server(answer) as url:
        with pytest.raises(BuildkitError):
            await web.get(url)


async def test_attack_a_compressed_body_that_grows_without_end(web, monkeypatch):
    import gzip

    class Disk:
        free = 1 << 20

    monkeypatch.setattr("buildkit.source.http.shutil.disk_usage", lambda path: Disk)
    content = gzip.compress(bytes(64 << 20))

    def answer(write):
        write(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(content) + content)

    with raw_server(answer) as url:
        with pytest.raises(Exhausted):
            await web.get(url)
    assert await web.store.usage() == []


@pytest.mark.parametrize(
    "name", ["../evil", "/etc/evil", "a/../../evil", "..", ".", "/", "evil\0x", "\\..\\evil", "x/"]
)
async def test_attack_a_file_name_that_leads_out(web, tmp_path, name):
    with web_server() as server:
        _, by_wish = await web.get(server.put("/a"), filename=name)
        header = name.replace("\0", "%00").replace("\\", "\\\\")
        _, by_header = await web.get(server.put("/b", disposition=f'attachment; filename="{header}"'))
    for files in (by_wish, by_header):
        (found,) = files
        assert found not in ("", ".", "..") and "/" not in found and "\0" not in found
    assert not strays(tmp_path, "evil")
