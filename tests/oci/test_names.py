from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildkit.core.errors import InvalidInput
from buildkit.oci.names import parse_reference

DIGEST = "sha256:" + "ab" * 32


@pytest.mark.row("L30")
@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("busybox", "docker.io/library/busybox"),
        ("busybox:1", "docker.io/library/busybox:1"),
        ("user/app", "docker.io/user/app"),
        ("docker.io/app", "docker.io/library/app"),
        ("index.docker.io/app", "docker.io/library/app"),
        ("localhost/app", "localhost/app"),
        ("localhost:5000/a/b:t", "localhost:5000/a/b:t"),
        ("[::1]:5000/a", "[::1]:5000/a"),
        (f"r.example/a__b/c-d.e@{DIGEST}", f"r.example/a__b/c-d.e@{DIGEST}"),
        (f"a:t@{DIGEST}", f"docker.io/library/a:t@{DIGEST}"),
    ],
)
def test_a_reference_is_normalised(text, normal):
    assert str(parse_reference(text)) == normal


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "invalid reference format"),
        ("Busybox", "invalid reference format: repository name (library/Busybox) must be lowercase"),
        ("a//b", "invalid reference format"),
        ("a:", "invalid reference format"),
        ("a@sha256:abc", "invalid reference format"),
        ("a@sha256:" + "g" * 64, "invalid reference format"),
        ("a@md5:" + "a" * 32, "unsupported digest algorithm"),
        ("a:t@SHA256:" + "a" * 64, "invalid checksum digest format"),
        ("a@sha256:" + "A" * 64, "invalid checksum digest format"),
        ("a@sha512:" + "a" * 64, "invalid checksum digest length"),
        ("a:\u212a", "repository name must be lowercase"),
        ("a" * 256, "repository name must not be more than 255 characters"),
        ("f" * 64, f"invalid repository name ({'f' * 64}), cannot specify 64-byte hexadecimal strings"),
        ("../etc/passwd", "invalid reference format"),
    ],
)
def test_a_bad_reference_says_what_is_wrong(text, message):
    with pytest.raises(InvalidInput) as caught:
        parse_reference(text)
    assert str(caught.value) == message


def test_the_familiar_form_reads_back_as_the_same_reference():
    for text in ("busybox:1", "user/app", "r.example/x", "library/a/b"):
        reference = parse_reference(text)
        assert parse_reference(reference.familiar) == reference
    assert parse_reference("docker.io/library/busybox:1").familiar == "busybox:1"


def test_the_default_tag_is_only_for_bare_names():
    assert str(parse_reference("a").with_default_tag()).endswith(":latest")
    assert parse_reference(f"a@{DIGEST}").with_default_tag().tag == ""


@given(st.text(max_size=80))
def test_any_text_is_parsed_or_refused_and_printing_is_stable(text):
    try:
        reference = parse_reference(text)
    except InvalidInput:
        return
    assert parse_reference(str(reference)) == reference
