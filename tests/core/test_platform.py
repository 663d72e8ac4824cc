import pytest

from buildkit.core.errors import InvalidInput
from buildkit.core.platform import Platform, format_platform, host_platform, normalize, parse_platform, rank


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("linux/x86_64", "linux/amd64"),
        ("linux/aarch64", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/arm", "linux/arm/v7"),
        ("linux/armhf", "linux/arm/v7"),
        ("linux/arm/6", "linux/arm/v6"),
        ("LINUX/AMD64/v1", "linux/amd64"),
        ("linux/amd64/v3", "linux/amd64/v3"),
        ("mips64p32le", f"{host_platform().os}/mips64p32le"),
    ],
)
def test_aliases_and_default_variants_are_normalised(text, canonical):
    assert format_platform(parse_platform(text)) == canonical


@pytest.mark.parametrize("text", ["", "linux/", "a/b/c/d", "nonsense", "linux/am d64"])
def test_a_bad_platform_is_refused_by_name(text):
    with pytest.raises(InvalidInput, match=text or "invalid"):
        parse_platform(text)


def test_a_close_variant_serves_and_a_foreign_one_does_not():
    wanted = Platform("linux", "arm", "v7")
    assert rank(Platform("linux", "arm", "v7"), wanted) == 0
    assert rank(Platform("linux", "arm", "v6"), wanted) == 1
    assert rank(Platform("linux", "amd64"), wanted) is None


@pytest.mark.parametrize(
    ("architecture", "variant", "expected"),
    [
        ("i386", "7", ("386", "")),
        ("armhf", "v8", ("arm", "v7")),
        ("armel", "", ("arm", "v6")),
        ("aarch64", "v9.0", ("arm64", "v9")),
        ("x86_64", "v3", ("amd64", "v3")),
    ],
)
def test_an_alias_may_decide_the_variant(architecture, variant, expected):
    found = normalize(Platform("linux", architecture, variant))
    assert (found.architecture, found.variant) == expected


@pytest.mark.parametrize("text", ["foo", "a/b/c/d", "linux/*", "linux/a b"])
def test_what_is_no_platform_is_an_invalid_argument_as_buildkit_says(text):
    with pytest.raises(InvalidInput, match=r": invalid argument$"):
        parse_platform(text)
