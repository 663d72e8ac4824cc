"""What a policy may ask of an image in a registry: who attested it, and who signed that. Both daemons say the same."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.daemon.test_command import process
from tests.kit.daemons import Peer, connected
from tests.kit.peers import buildkitd
from tests.kit.registry import put_manifest

from buildkit.core.digest import sha256
from buildkit.core.identity import new_id

pytestmark = [pytest.mark.net, pytest.mark.root]
OCI = "application/vnd.oci.image."
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
SLSA = "https://slsa.dev/provenance/v1"


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ours")
    with process(folder, f"--addr=unix://{folder}/s"):
        yield folder / "s"


@pytest.fixture(scope="module")
def image(ours, registry_host, tmp_path_factory):
    """The name of an image with provenance, which has a signature."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    name = f"{registry_host}/attested:1"
    words = [sys.executable, "-c", "import sys; from buildkit.cli.main import main; sys.exit(main())"]
    words += ["--addr", f"unix://{ours}", "build", "--frontend=dockerfile.v0", "--opt=attest:provenance=mode=min"]
    words += [f"--local=context={folder}", f"--local=dockerfile={folder}", f"--output=type=image,name={name},push=true"]
    environ = {"PYTHONPATH": ":".join(sys.path), "PATH": "/usr/bin:/bin", "HOME": str(folder)}
    done = subprocess.run([*words, "--metadata-file", folder / "m"], env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return name, sign(registry_host, attestations_of(name, folder))


def attestations_of(name, folder):
    raw = subprocess.run(
        ["skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{name}"], capture_output=True, check=True
    ).stdout
    return json.loads(raw)["manifests"][1]["digest"]


def sign(host, signed):
    """Put a signature into the registry, listed under the tag for registries without a list of referrers."""
    config, layer = b"{}", b'{"signature": "mine"}'

    def descriptor(content, kind):
        return {"mediaType": kind, "digest": sha256(content), "size": len(content)}

    manifest = {"schemaVersion": 2, "mediaType": f"{OCI}manifest.v1+json", "artifactType": BUNDLE}
    manifest |= {"config": descriptor(config, f"{OCI}config.v1+json"), "layers": [descriptor(layer, BUNDLE)]}
    content = json.dumps(manifest).encode()
    digest = put_manifest(host, "attested", "signature", manifest, config, layer)
    listed = {**descriptor(content, manifest["mediaType"]), "artifactType": BUNDLE}
    index = {"schemaVersion": 2, "mediaType": f"{OCI}index.v1+json", "manifests": [listed]}
    put_manifest(host, "attested", signed.replace(":", "-"), index)
    return signed, digest


@asynccontextmanager
async def build_at(socket: Path):
    """Asks the gateway of a build that does nothing."""
    async with connected(socket) as channel:
        peer, ref = Peer(channel, None), new_id()
        building = asyncio.create_task(peer.control("Solve", Ref=ref))
        await peer.bridge(ref, "Ping")
        yield lambda method, **fields: peer.bridge(ref, method, **fields)
        await peer.bridge(ref, "Return", result={})
        await building


async def chain_at(socket, name):
    async with build_at(socket) as ask:
        wanted = {"AttestationChain": True, "ResolveAttestations": [SLSA]}
        platform = {"OS": "linux", "Architecture": "amd64"}
        source = {"identifier": f"docker-image://{name}"}
        answer = await ask("ResolveSourceMeta", Source=source, Platform=platform, Image=wanted)
        return answer.Image


@pytest.mark.row("A86")
async def test_a_daemon_tells_the_chain_from_an_image_to_its_signature(ours, image):
    name, (attestations, signature) = image
    found = await chain_at(ours, name)
    chain = found.AttestationChain
    assert chain.Root == found.Digest and chain.AttestationManifest == attestations
    assert list(chain.SignatureManifests) == [signature]
    assert json.loads(chain.Blobs[signature].data)["artifactType"] == BUNDLE
    assert {sha256(blob.data) for blob in chain.Blobs.values()} == set(chain.Blobs)
    kinds = [blob.descriptor.annotations.get("in-toto.io/predicate-type") for blob in chain.Blobs.values()]
    assert SLSA in kinds


@pytest.mark.row("A86")
async def test_the_real_daemon_tells_the_same_chain(ours, image, tmp_path):
    with buildkitd(tmp_path):
        assert await chain_at(tmp_path / "s.sock", image[0]) == await chain_at(ours, image[0])
