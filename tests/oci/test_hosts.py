from __future__ import annotations

import pytest

from buildkit.oci.hosts import HostConfig, KeyPair, Tls, endpoints, is_this_machine


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("localhost", True),
        ("localhost:5000", True),
        ("127.0.0.1", True),
        ("127.1.2.3:80", True),
        ("[::1]:5000", True),
        ("localhost.example", False),
        ("128.0.0.1", False),
        ("127.0.0.1.example", False),
        ("docker.io", False),
    ],
)
def test_this_machine_is_told_from_others(host, local):
    assert is_this_machine(host) is local


@pytest.mark.row("B40")
@pytest.mark.parametrize(
    ("host", "config", "expected"),
    [
        ("h", HostConfig(), ("https", True, False)),
        ("h", HostConfig(plain_http=True), ("http", True, False)),
        ("h", HostConfig(insecure=True), ("https", False, False)),
        ("h", HostConfig(insecure=True, plain_http=True), ("https", False, True)),
        ("localhost", HostConfig(), ("http", True, False)),
        ("localhost", HostConfig(plain_http=False), ("https", True, False)),
        ("localhost", HostConfig(insecure=True), ("https", False, True)),
        ("127.0.0.1:5000", HostConfig(), ("http", True, False)),
    ],
)
def test_the_matrix_of_http_and_insecure(host, config, expected):
    (found,) = endpoints({host: config}, host)
    assert (found.scheme, found.tls.verify, found.may_fall_back) == expected


@pytest.mark.row("L30", "B40")
def test_docker_io_is_served_by_its_registry():
    (found,) = endpoints({}, "docker.io")
    assert found.url == "https://registry-1.docker.io/v2"


@pytest.mark.row("B40", "B41")
def test_mirrors_come_first_with_their_own_settings_and_only_for_pulls():
    hosts = {"h": HostConfig(mirrors=("m1.example/p/q", "m2.example")), "m2.example": HostConfig(plain_http=True)}
    assert [e.url for e in endpoints(hosts, "h")] == [
        "https://m1.example/v2/p/q",
        "http://m2.example/v2",
        "https://h/v2",
    ]
    assert [e.mirror_of for e in endpoints(hosts, "h")] == ["h", "h", ""]
    assert [e.url for e in endpoints(hosts, "h", push=True)] == ["https://h/v2"]


@pytest.mark.row("B39")
def test_a_tls_folder_gives_authorities_and_key_pairs(tmp_path):
    for name in ("a.crt", "b.cert", "b.key", "ignored.pem"):
        (tmp_path / name).touch()
    (found,) = endpoints({"h": HostConfig(tls_folders=(str(tmp_path),), authorities=("/x.pem",))}, "h")
    pair = KeyPair(str(tmp_path / "b.cert"), str(tmp_path / "b.key"))
    assert found.tls == Tls(True, ("/x.pem", str(tmp_path / "a.crt")), (pair,))
