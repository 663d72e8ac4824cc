from __future__ import annotations

import io

import pytest
from tests.kit.images import make_image

from buildkit.core.digest import sha256
from buildkit.core.errors import Corrupt, InvalidInput, NotFound
from buildkit.oci.layout import Layout


def test_an_image_is_found_by_tag_and_by_digest(tmp_path):
    image = make_image(tmp_path, tag="v1")
    for name in ("v1", image.root.digest):
        found = Layout(tmp_path).find(name)
        assert found is not None and found.digest == image.root.digest
    assert Layout(tmp_path).find("v2") is None


def test_a_tag_moves_and_the_index_keeps_the_rest(tmp_path):
    first = make_image(tmp_path, [{"a": "1"}], tag="v1")
    make_image(tmp_path, [{"b": "2"}], tag="keep")
    second = make_image(tmp_path, [{"c": "3"}], tag="v1")
    layout = Layout(tmp_path)
    assert layout.find("v1").digest == second.root.digest != first.root.digest
    assert layout.find("keep") is not None
    assert len(layout.index().manifests) == 2


def test_a_blob_is_checked_when_it_is_taken_and_when_it_is_read(tmp_path):
    layout = Layout.create(tmp_path)
    with pytest.raises(Corrupt):
        layout.take(sha256(b"other"), io.BytesIO(b"content"))
    digest = layout.put(b"content")
    layout.path(digest).write_bytes(b"changed")
    with pytest.raises(Corrupt):
        layout.read(digest)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["blobs", "index.json", "oci-layout"]


def test_a_missing_blob_is_not_found(tmp_path):
    with pytest.raises(NotFound):
        Layout.create(tmp_path).read(sha256(b"x"))


def test_a_digest_cannot_be_a_path(tmp_path):
    with pytest.raises(InvalidInput):
        Layout.create(tmp_path).open("sha256:../../../etc/passwd")
