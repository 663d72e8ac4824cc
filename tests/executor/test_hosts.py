from __future__ import annotations

import os
import stat

import pytest

from buildkit.core.errors import InvalidInput
from buildkit.executor.hosts import Dns, NameFiles, hosts_text, resolv_conf_text


@pytest.mark.row("X40", "L83", "L84")
def test_the_hosts_file_names_the_container_and_more():
    assert hosts_text("me", [("db", "10.0.0.1")]) == (
        "127.0.0.1\tlocalhost me\n::1\tlocalhost ip6-localhost ip6-loopback\n10.0.0.1\tdb\n"
    )


def test_a_bad_address_of_an_extra_host_is_refused():
    with pytest.raises(InvalidInput, match=r"failed to parse IP 1\.2\.3"):
        hosts_text("me", [("db", "1.2.3")])


@pytest.mark.row("X41")
@pytest.mark.parametrize(
    ("host", "made"),
    [
        ("nameserver 1.1.1.1\nsearch a b\n", "nameserver 1.1.1.1\nsearch a b\n"),
        ("nameserver 127.0.0.1\nnameserver 1.1.1.1\n", "nameserver 1.1.1.1\n"),
        ("search a\ndomain b\noptions x\noptions y\n# c\n", None),
        ("sortlist 1\nnameserver 1.1.1.1", "nameserver 1.1.1.1\nsortlist 1\n"),
    ],
)
def test_loopback_name_servers_are_left_out(host, made):
    fallback = "".join(
        f"nameserver {a}\n" for a in ("8.8.8.8", "8.8.4.4", "2001:4860:4860::8888", "2001:4860:4860::8844")
    )
    assert resolv_conf_text(host) == (made or fallback + "search b\noptions x y\n")


@pytest.mark.row("X41")
def test_on_the_host_network_loopback_name_servers_serve():
    assert resolv_conf_text("nameserver 127.0.0.53\n", host_network=True) == "nameserver 127.0.0.53\n"


@pytest.mark.row("X41")
def test_configured_settings_replace_the_hosts():
    dns = Dns(("9.9.9.9",), ("ndots:1",), ("example.org",))
    assert resolv_conf_text("nameserver 1.1.1.1\nsearch a\noptions b\n", dns) == (
        "nameserver 9.9.9.9\nsearch example.org\noptions ndots:1\n"
    )
    with pytest.raises(InvalidInput, match="bad nameserver address: nine"):
        Dns(("nine",))


@pytest.mark.row("X40")
def test_hosts_files_are_shared_unless_they_differ(tmp_path):
    files = NameFiles(tmp_path)
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    assert files.hosts("box", (), bundle, "box") == str(tmp_path / "hosts")
    assert files.hosts("other", (), bundle, "box") == str(bundle / "hosts")
    assert files.hosts("box", [("a", "1.1.1.1")], bundle, "box") == str(bundle / "hosts")


@pytest.mark.row("X41")
def test_resolv_conf_is_written_anew_when_the_host_changes(tmp_path):
    source = tmp_path / "source"
    source.write_text("nameserver 1.1.1.1\n")
    files = NameFiles(tmp_path, source=source)
    path = files.resolv_conf(host_network=False)
    source.write_text("nameserver 2.2.2.2\n")
    assert files.resolv_conf(host_network=False) == path
    assert (tmp_path / "resolv.conf").read_text() == "nameserver 2.2.2.2\n"


@pytest.mark.row("X40", "X41")
def test_nobody_but_root_may_write_the_files_whatever_the_umask_of_the_daemon(tmp_path):
    files = NameFiles(tmp_path)
    before = os.umask(0)
    try:
        shared = files.hosts("box", (), tmp_path, "box")
        resolv = files.resolv_conf(host_network=False)
        (bundle := tmp_path / "bundle").mkdir()
        own = files.hosts("other", (), bundle, "box")
    finally:
        os.umask(before)
    assert [stat.S_IMODE(os.stat(path).st_mode) for path in (shared, resolv, own)] == [0o644] * 3
