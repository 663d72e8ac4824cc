"""Tokens for a guarded registry: any client fetches them itself for any daemon, and the build shows it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from tests.daemon.test_command import process
from tests.kit.peers import buildkitd
from tests.kit.registry import PASSWORD, USER, Authority, registry, token_server

OURS = [sys.executable, "-c", "import sys; from buildkit.cli.main import main; sys.exit(main())"]
THEIRS = [os.environ.get("PEER_BUILDCTL", "")]

pytestmark = [pytest.mark.net, pytest.mark.root]
compared = pytest.mark.skipif(not THEIRS[0], reason="no buildctl to compare with: PEER_BUILDCTL is not set")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """A registry, and its token server whose authority only clients know: daemons can fetch no token there."""
    folder = tmp_path_factory.mktemp("guarded")
    authority = Authority.make(folder / "authority")
    with token_server(authority, tls=True) as tokens, registry(folder / "registry", tokens=tokens) as host:
        yield host, tokens


@pytest.fixture(scope="module", params=["ours", "theirs"])
def address(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("daemon")
    if request.param == "theirs":
        with buildkitd(folder) as daemon:
            yield daemon.address
    else:
        with process(folder, f"--addr=unix://{folder}/s"):
            yield f"unix://{folder}/s"


def push(client, guarded, folder, *words, **variables):
    """A build whose image goes to the guarded registry, by a user who may push there."""
    host, tokens = guarded
    auths = {host: {"username": USER, "password": PASSWORD}}
    (folder / "config.json").write_text(json.dumps({"auths": auths}))
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    words = [*words, "--progress=plain", "--frontend=dockerfile.v0", f"--local=context={folder}"]
    words += [f"--local=dockerfile={folder}", "--output", f"type=image,name={host}/app:1,push=true"]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "DOCKER_CONFIG": str(folder), **variables}
    tokens.requests.clear()
    return subprocess.run([*client, *words], env=environ, capture_output=True, text=True, stdin=-3)


@pytest.mark.row("A163", "A164", "A172", "A173")
@pytest.mark.parametrize("client", [pytest.param(OURS, id="ours"), pytest.param(THEIRS, id="theirs", marks=compared)])
def test_the_client_fetches_the_token_and_shows_it(client, address, guarded, tmp_path):
    host, tokens = guarded
    trust = ["--registry-auth-tlscontext", f"host={host},ca={tokens.authority.ca}"]
    done = push([*client, "--addr", address, "build", *trust], guarded, tmp_path)
    assert done.returncode == 0, done.stderr
    assert ("POST", USER, ("repository:app:pull,push",)) in tokens.requests
    assert f"[auth] app:pull,push token for {host}\n" in done.stderr
    assert json.loads((tmp_path / ".token_seed").read_text()).keys() == {host}


@pytest.mark.row("A164")
def test_a_client_may_leave_it_to_the_daemon(address, guarded, tmp_path):
    host, tokens = guarded
    trust = ["--registry-auth-tlscontext", f"host={host},insecure=true"]
    done = push([*OURS, "--addr", address, "build", *trust], guarded, tmp_path, BUILDKIT_NO_CLIENT_TOKEN="1")
    assert done.returncode == 1 and "certificate" in done.stderr and not tokens.requests
    assert f"[auth] sharing credentials for {host}\n" in done.stderr


@pytest.mark.row("A172")
def test_the_engine_in_the_command_trusts_what_the_user_says(guarded, tmp_path):
    host, _ = guarded
    command = [*OURS, "build", "--root", str(tmp_path / "state")]
    done = push([*command, "--registry-auth-tlscontext", f"host={host},insecure=true"], guarded, tmp_path)
    assert done.returncode == 0 and f"[auth] app:pull,push token for {host}\n" in done.stderr, done.stderr
    (tmp_path / "state").rename(tmp_path / "other")
    done = push(command, guarded, tmp_path)
    assert done.returncode == 1 and "failed to verify certificate" in done.stderr
