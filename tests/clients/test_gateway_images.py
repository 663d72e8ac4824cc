"""Clients that drive a build ask what images are: of registries, and of stores that a session lends."""

from __future__ import annotations

import asyncio
import json

import pytest
from tests.kit.daemons import running_daemon
from tests.kit.images import copy_to_registry, make_image

from buildkit.api import sourcepolicy_pb2
from buildkit.core.errors import BuildkitError
from buildkit.core.platform import Platform
from buildkit.llb import oci_layout
from buildkit.session.serve import lend
from buildkit.session.session import Session
from buildkit.session.stores import Layouts

pytestmark = pytest.mark.net

AMD64 = {"OS": "linux", "Architecture": "amd64"}


@pytest.fixture
async def peer(tmp_path):
    async with running_daemon(tmp_path) as found:
        yield found


@pytest.mark.row("A85", "A183")
async def test_an_image_is_resolved_in_a_registry_and_in_a_store_of_the_client(peer, registry_host, tmp_path):
    image, other = make_image(tmp_path / "image", [{"a": "1"}]), make_image(tmp_path / "other", [{"b": "2"}])
    copy_to_registry(image, f"{registry_host}/image:1")
    copy_to_registry(other, f"{registry_host}/other:1")
    session = Session.new(stores=Layouts({"lent": tmp_path / "image"}))
    async with lend(peer.channel, session):
        building = asyncio.create_task(peer.control("Solve", Ref="one", Session=session.id))

        async def resolve(**fields):
            return await peer.bridge("one", "ResolveImageConfig", Platform=AMD64, **fields)

        for mode in ("default", "pull", "local", ""):
            found = await resolve(Ref=f"{registry_host}/image:1", ResolveMode=mode, LogName=f"look at {mode}")
            assert (found.Ref, found.Digest) == (f"{registry_host}/image:1", image.root.digest)
            assert json.loads(found.Config)["architecture"] == "amd64"
        rule = {
            "action": sourcepolicy_pb2.CONVERT,
            "selector": {"identifier": f"docker-image://{registry_host}/image:1"},
        }
        rule["updates"] = {"identifier": f"docker-image://{registry_host}/other:1"}
        found = await resolve(Ref=f"{registry_host}/image:1", SourcePolicies=[{"version": 1, "rules": [rule]}])
        assert (found.Ref, found.Digest) == (f"{registry_host}/other:1", other.root.digest)
        ref = f"local/image@{image.root.digest}"
        lent = {"ResolverType": 1, "StoreID": "lent"}
        found = await resolve(Ref=ref, SessionID=session.id, **lent)
        assert (found.Ref, found.Digest) == (ref, image.root.digest)
        with pytest.raises(BuildkitError):
            await resolve(Ref=ref, SessionID=session.id, ResolverType=1, StoreID="other")
        state = oci_layout(ref, session=session.id, store="lent", platform=Platform("linux", "amd64"))
        ask = {"Definition": state.marshal().to_pb(), "Evaluate": True, "allowResultReturn": True}
        solved = await peer.bridge("one", "Solve", allowResultArrayRef=True, **ask)
        read = await peer.bridge("one", "ReadFile", Ref=solved.result.ref.id, FilePath="a")
        assert read.Data == b"1"
        await peer.bridge("one", "Return", result={})
        await building
    names = {v.name for status in await peer.listing("Status", Ref="one") for v in status.vertexes}
    assert "look at pull" in names
