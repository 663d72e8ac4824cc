"""Flags of ``build``, long and short, and what they come to."""

from __future__ import annotations

import os
import pty

import pytest

from buildkit.cli.build import COMMAND, read_options
from buildkit.cli.flags import BadUsage, parse
from buildkit.client.options import CacheOptions, OutputOptions, RegistryTLS, SecretOptions, SSHOptions


@pytest.fixture(autouse=True)
def context(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "Other").write_text("FROM scratch\n")
    return tmp_path


def options(*arguments):
    return read_options(parse(arguments, COMMAND.flags)[0])


def long(*arguments):
    return options("--frontend", "f", *arguments)


def refusal(*arguments):
    with pytest.raises(BadUsage) as caught:
        long(*arguments)
    return str(caught.value)


@pytest.mark.row("T20")
def test_outputs_are_csv_with_keys_in_lower_case():
    found = long("--output", 'type=image,"name=a,b",PUSH=true', "-o", "type=oci,dest=x.tar").outputs
    assert found == (OutputOptions("image", {"name": "a,b", "push": "true"}), OutputOptions("oci", {}, "x.tar"))


@pytest.mark.row("T20", "E41")
@pytest.mark.parametrize(
    ("output", "text"),
    [
        ("foo", "invalid value foo"),
        ("dest=x", "--output requires type=<type>"),
        ("type=oci,output=x", "output=x not supported for --output, you meant dest=x?"),
        ("type=local", "invalid output option: output: output directory is required for local exporter"),
        ("type=oci,tar=false", "invalid output option: output: output directory is required for oci exporter"),
        ("type=image,dest=x", "invalid output option: output: output x is not supported by image exporter"),
        ("type=oci,dest=sub", "invalid output option: output: destination file is a directory"),
        ("type=tar,dest=Dockerfile/x", "invalid output option: output: invalid destination file: Dockerfile/x"),
    ],
)
def test_bad_outputs_are_refused(output, text):
    assert refusal("-o", output).startswith(text)


@pytest.mark.row("T20")
def test_an_archive_is_not_written_to_a_terminal(monkeypatch):
    main, side = pty.openpty()
    with os.fdopen(side, "w") as console, os.fdopen(main, "rb"):
        monkeypatch.setattr("os.isatty", lambda fd, ask=os.isatty: ask(console.fileno() if fd == 1 else fd))
        assert "output file is required for oci exporter. refusing to write to console" in refusal("-o", "type=oci")


@pytest.mark.row("T20")
def test_without_a_destination_an_archive_goes_to_standard_output():
    assert long("-o", "type=tar").outputs == (OutputOptions("tar", {}, "-"),)
    assert refusal("-o", "type=tar", "-o", "type=oci,dest=-") == "only one output can go to standard output"


@pytest.mark.row("T21", "T22")
def test_directories_must_exist():
    assert long("--local", "context=sub").locals == {"context": "sub"}
    assert long("--oci-layout", "a=sub").oci_layouts == {"a": "sub"}
    assert refusal("--local", "foo") == "invalid local: invalid value foo"
    assert refusal("--local", "a=/x/y") == "invalid local: resolve : lstat /x/y: no such file or directory"
    assert refusal("--local", "a=Dockerfile") == "invalid local: Dockerfile: not a directory"
    assert refusal("--oci-layout", "a").startswith("oci-layout option must be 'id=path/to/layout'")


@pytest.mark.row("T23", "T25")
def test_frontend_options_are_kept_as_they_are(monkeypatch):
    monkeypatch.setenv("SET", "from env")
    found = long("--opt", "target=a", "--opt", "build-arg:X=1=2", "--opt", "build-arg:SET", "--opt", "build-arg:UNSET")
    assert found.frontend_attrs == {"target": "a", "build-arg:X": "1=2", "build-arg:SET": "from env"}
    assert long("--no-cache").frontend_attrs == {"no-cache": ""}
    assert refusal("--opt", "x") == "invalid opt: invalid value x"


@pytest.mark.row("T23")
def test_the_epoch_of_the_environment_becomes_a_build_argument(monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "7")
    assert long().frontend_attrs == {"build-arg:SOURCE_DATE_EPOCH": "7"}
    assert long("--opt", "build-arg:SOURCE_DATE_EPOCH=8").frontend_attrs == {"build-arg:SOURCE_DATE_EPOCH": "8"}


@pytest.mark.row("T26")
def test_caches_are_csv_and_a_bare_name_is_a_registry(capsys):
    found = long("--export-cache", "type=local,dest=d", "--import-cache", "example.com/x")
    assert found.exports == (CacheOptions("local", {"mode": "min", "dest": "d"}),)
    assert found.imports == (CacheOptions("registry", {"ref": "example.com/x"}),)
    assert "--import-cache <ref> is deprecated" in capsys.readouterr().err
    assert refusal("--export-cache", "type=local") == "local cache exporter requires dest"
    assert refusal("--import-cache", "type=registry") == "registry cache importer requires ref"


@pytest.mark.row("T26")
def test_the_actions_cache_is_found_in_the_environment(monkeypatch):
    assert "requires url parameter" in refusal("--import-cache", "type=gha")
    monkeypatch.setenv("ACTIONS_RESULTS_URL", "http://r")
    monkeypatch.setenv("ACTIONS_CACHE_SERVICE_V2", "true")
    assert "requires token parameter" in refusal("--import-cache", "type=gha")
    monkeypatch.setenv("ACTIONS_RUNTIME_TOKEN", "t")
    attrs = {"url_v2": "http://r", "url": "http://r", "token": "t"}
    assert long("--import-cache", "type=gha").imports == (CacheOptions("gha", attrs),)


@pytest.mark.row("T27")
def test_secrets_come_from_files_and_variables(monkeypatch):
    monkeypatch.setenv("TOKEN", "x")
    flags = ("id=a,src=Dockerfile", "id=b,env=TOKEN", "id=c,type=env,src=TOKEN", "id=TOKEN", "id=Dockerfile")
    found = long(*(part for flag in flags for part in ("--secret", flag))).secrets
    assert found == (
        SecretOptions("a", "Dockerfile"),
        SecretOptions("b", env="TOKEN"),
        SecretOptions("c", env="TOKEN"),
        SecretOptions("TOKEN", env="TOKEN"),
        SecretOptions("Dockerfile", "Dockerfile"),
    )


@pytest.mark.row("T27")
@pytest.mark.parametrize(
    ("secret", "text"),
    [
        ("x", "invalid field 'x' must be a key=value pair"),
        ("id=a,type=y", 'unsupported secret type "y"'),
        ("id=a,k=v", "unexpected key 'k' in 'k=v'"),
        ("src=Dockerfile", "secret missing ID"),
        ("id=a,src=none", "failed to stat none: stat none: no such file or directory"),
    ],
)
def test_bad_secrets_are_refused(secret, text):
    assert refusal("--secret", secret) == text


@pytest.mark.row("T28")
def test_agents_have_sockets_or_keys():
    found = long("--ssh", "default", "--ssh", "k=a,b", "--ssh", "s=sock,raw=true").ssh
    assert found == (SSHOptions("default"), SSHOptions("k", ("a", "b")), SSHOptions("s", ("sock",), True))
    assert refusal("--ssh", "s=a,b,raw=true") == 'raw mode must supply exactly one socket path for "s"'
    assert refusal("--ssh", "a", "--ssh", "a=x") == "duplicate agent ID"


@pytest.mark.row("T29")
def test_entitlements_must_exist():
    assert long("--allow", "network.host", "--allow", "device=x").allow == ("network.host", "device=x")
    assert refusal("--allow", "x") == "unknown entitlement x"


@pytest.mark.row("T31")
def test_a_source_policy_is_json(context):
    (context / "p.json").write_text('{"rules": []}')
    (context / "bad.json").write_text("{")
    assert long("--source-policy-file", "p.json").source_policy == '{"rules": []}'
    assert refusal("--source-policy-file", "bad.json").startswith('failed to unmarshal source-policy-file "bad.json"')
    assert "No such file" in refusal("--source-policy-file", "none")


@pytest.mark.row("T33", "T34")
def test_registries_tls_is_merged_by_host():
    found = long(
        "--registry-auth-tlscontext",
        "host=h,ca=1",
        "--registry-auth-tlscontext",
        "host=h,cert=c,key=k",
        "--proxy-network",
    )
    assert found.registry_tls == (RegistryTLS("h", False, ("1",), (("c", "k"),)),) and found.proxy_network
    assert "requires host" in refusal("--registry-auth-tlscontext", "ca=1")
    assert "requires cert" in refusal("--registry-auth-tlscontext", "host=h,ca=1,cert=x")


def test_a_path_builds_its_dockerfile():
    found = options(".")
    assert (found.frontend, found.locals) == ("dockerfile.v0", {"context": ".", "dockerfile": "."})
    found = options("-f", "sub/Other", ".")
    assert found.locals == {"context": ".", "dockerfile": "sub"} and found.frontend_attrs == {"filename": "Other"}


def test_short_flags_become_options_of_the_frontend(monkeypatch):
    monkeypatch.setenv("E", "e")
    found = options(
        *("--target", "t", "--build-arg", "A=1", "--build-arg", "E", "--build-arg", "UNSET", "--label", "l=v"),
        *("--platform", "linux/amd64", "--platform", "linux/arm64", "--pull", "--add-host", "h:1.2.3.4"),
        *("--network", "host", "--shm-size", "64m", "--no-cache-filter", "s", "--build-context", "c=sub", "."),
    )
    assert found.frontend_attrs == {
        "target": "t",
        "build-arg:A": "1",
        "build-arg:E": "e",
        "label:l": "v",
        "platform": "linux/amd64,linux/arm64",
        "image-resolve-mode": "pull",
        "add-hosts": "h=1.2.3.4",
        "force-network-mode": "host",
        "shm-size": "67108864",
        "no-cache": "s",
        "context:c": "local:c",
    }
    assert found.locals["c"] == "sub"


def test_asking_for_newest_images_is_an_option_of_the_frontend_too():
    words = ("--frontend", "dockerfile.v0", "--pull")
    assert options(*words).frontend_attrs == {"image-resolve-mode": "pull"}
    assert options(*words, "--opt", "image-resolve-mode=local").frontend_attrs == {"image-resolve-mode": "local"}
    assert options("--frontend", "dockerfile.v0", "--pull=missing").frontend_attrs == {}


def test_tags_name_the_images():
    assert options("-t", "a", "-t", "b", ".").outputs == (OutputOptions("image", {"name": "a,b"}),)
    assert options("-t", "a", "--push", ".").outputs == (OutputOptions("image", {"name": "a", "push": "true"}),)
    assert options("-t", "a", "-o", "type=oci,dest=x", ".").outputs == (OutputOptions("oci", {"name": "a"}, "x"),)
    assert options("-o", "out", ".").outputs == (OutputOptions("local", {}, "out"),)
    assert options("-o", "-", ".").outputs == (OutputOptions("tar", {}, "-"),)
    annotated = options("-o", "type=oci,dest=x", "--annotation", "a=1", "--annotation", "index:b=2", ".")
    assert annotated.outputs[0].attrs == {"annotation.a": "1", "annotation-index.b": "2"}


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--push", "."], "--push needs a name"),
        (["-f", "none", "."], "Dockerfile none does not exist"),
        (["-f", "sub", "."], "Dockerfile sub is not a file"),
        (["-f", "-", "https://x.org/a.git"], "comes with it"),
        (["Dockerfile"], "build context Dockerfile is not a directory"),
        (["--add-host", "h", "."], "--add-host h: expected HOST:IP"),
        (["--network", "x", "."], "--network x: expected sandbox, host or none"),
        (["--shm-size", "x", "."], "--shm-size x"),
        (["--label", "=x", "."], "--label =x: expected NAME=VALUE"),
    ],
)
def test_bad_short_flags_are_refused(arguments, text):
    with pytest.raises(BadUsage, match="(?i)" + text.replace("-", "[-]")):
        options(*arguments)


def test_a_remote_context_is_the_frontends_affair():
    found = options("-f", "a/Dockerfile", "https://example.com/x.git#main")
    assert found.locals == {}
    assert found.frontend_attrs == {"context": "https://example.com/x.git#main", "filename": "a/Dockerfile"}


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        (["--tag", "x"], "x"),
        (["--tag=x"], "x"),
        (["-t", "x"], "x"),
        (["-tx"], "x"),
        (["-t=x"], "x"),
        (["--", "-t"], ""),
    ],
)
def test_flags_are_written_in_every_usual_way(arguments, value):
    assert parse(arguments, COMMAND.flags)[0].text("tag") == value


def test_a_secret_is_at_most_500_kib(tmp_path):
    (tmp_path / "s").write_bytes(bytes(500 * 1024))
    long("--secret", f"id=s,src={tmp_path}/s")
    (tmp_path / "s").write_bytes(bytes(500 * 1024 + 1))
    assert refusal("--secret", f"id=s,src={tmp_path}/s") == "secret s too big. max size 500KiB"
