"""The clients of Python programs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.kit.fake_daemon import CONTROL, FakeDaemon, in_thread, listening

import buildkit
from buildkit import llb
from buildkit.api import control_pb2 as control
from buildkit.api import gateway_pb2 as gateway
from buildkit.client.builds import solve_options
from buildkit.client.options import OutputOptions
from buildkit.core.errors import InvalidInput, NotFound, Unavailable

SOURCE = str(Path(__file__).parents[2] / "src")


def test_importing_the_package_imports_nothing_else():
    program = f"import sys; sys.path.insert(0, {SOURCE!r}); import buildkit; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert [name for name in run.stdout.split() if name.startswith("buildkit.")] == []


def test_what_the_package_offers_is_listed_and_nothing_else_is_there():
    assert {"Client", "AsyncClient", "build", "BuildkitError"} <= set(dir(buildkit))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = buildkit.nothing


async def test_a_daemon_builds_a_directory(tmp_path):
    daemon = FakeDaemon()
    daemon.response = {"containerimage.digest": "sha256:1"}
    daemon.statuses = [control.StatusResponse(vertexes=[control.Vertex(digest="d")])]
    seen = []
    async with listening(daemon, f"{tmp_path}/s") as address, buildkit.AsyncClient(address) as client:
        result = await client.build(tmp_path, progress=seen.extend, target="t", build_args={"a": "b"})
    inner = gateway.SolveRequest.FromString(daemon.requests["LLBBridge/Solve"])
    assert inner.Frontend == "dockerfile.v0" and inner.FrontendOpt == {"target": "t", "build-arg:a": "b"}
    assert result.digest == "sha256:1" and [update.digest for update in seen] == ["d"]
    assert result.ref == control.SolveRequest.FromString(daemon.requests["Solve"]).Ref


def test_the_sync_face_does_the_same(tmp_path):
    daemon = FakeDaemon()
    daemon.streams = {
        CONTROL + "DiskUsage": usage,
        CONTROL + "Prune": [control.UsageRecord(ID="b", Size=2)],
    }
    with in_thread(daemon, f"{tmp_path}/s") as address, buildkit.Client(address) as client:
        client.build(llb.scratch().file(llb.mkdir("/a")))
        assert [record.id for record in client.usage(["x"])] == ["a"]
        assert [record.size for record in client.prune()] == [2]
    assert gateway.SolveRequest.FromString(daemon.requests["LLBBridge/Solve"]).Definition.Source.infos


async def usage(request, call):
    assert control.DiskUsageRequest.FromString(request).filter == ["x"]
    return control.DiskUsageResponse(record=[control.UsageRecord(ID="a", Size=1)]).SerializeToString()


def test_a_failed_build_raises_and_leaves_the_client_usable(tmp_path):
    daemon = FakeDaemon()
    daemon.solve_error = NotFound("no")
    with in_thread(daemon, f"{tmp_path}/s") as address, buildkit.Client(address) as client:
        for _ in range(2):
            with pytest.raises(buildkit.BuildkitError, match="failed to solve: NotFound: no"):
                client.build(tmp_path)


def test_nobody_at_the_address_is_told_when_the_client_is_opened(tmp_path):
    with pytest.raises(Unavailable, match="no such file or directory"):
        buildkit.build(tmp_path, address=f"unix://{tmp_path}/s")


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("out", OutputOptions("local", {}, "out")),
        ("type=oci,dest=a.tar,name=x", OutputOptions("oci", {"name": "x"}, "a.tar")),
        ("type=image,name=x,push=true", OutputOptions("image", {"name": "x", "push": "true"})),
        (OutputOptions("tar", {}, "-"), OutputOptions("tar", {}, "-")),
    ],
)
def test_outputs_are_paths_or_what_the_command_line_takes(output, expected):
    assert solve_options(".", outputs=[output]).outputs == (expected,)


def test_a_directory_is_context_and_dockerfile_unless_told_otherwise(tmp_path):
    options = solve_options(tmp_path, locals={"dockerfile": tmp_path / "d"}, attrs={"filename": "f"})
    assert options.locals == {"context": str(tmp_path), "dockerfile": str(tmp_path / "d")}
    assert options.frontend_attrs == {"filename": "f"}


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (lambda: solve_options(llb.scratch()), "the graph is empty"),
        (lambda: solve_options(llb.image("a"), target="x"), "a graph is built as it is"),
        (lambda: solve_options(".", outputs=["type=oci,x"]), "invalid value x"),
        (lambda: buildkit.Client("unix:///x", root="y"), "not both"),
        (lambda: buildkit.AsyncClient("unix:///x").engine, "the client is not open"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong, text):
    with pytest.raises(InvalidInput, match=text):
        wrong()


def test_what_is_lent_may_be_written_as_flags_are():
    options = solve_options(
        "x",
        secrets=["id=a,src=f", "id=b,env=V", buildkit.SecretOptions("c", value=b"v")],
        ssh=["default", "two=/s1", buildkit.SSHOptions("three")],
        exports=["type=local,dest=d,mode=max"],
        imports=["type=registry,ref=r"],
    )
    secret, ssh, cache = buildkit.SecretOptions, buildkit.SSHOptions, buildkit.CacheOptions
    assert options.secrets == (secret("a", "f"), secret("b", "", "V"), secret("c", value=b"v"))
    assert options.ssh == (ssh("default"), ssh("two", ("/s1",)), ssh("three"))
    assert options.exports == (cache("local", {"dest": "d", "mode": "max"}),)
    assert options.imports == (cache("registry", {"ref": "r"}),)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"secrets": ["x"]}, "invalid field 'x' must be a key=value pair"),
        ({"ssh": ["a=b,raw=x"]}, "invalid value for 'raw': x"),
        ({"exports": ["ref"]}, "invalid cache ref: ref is not key=value"),
        ({"imports": ["ref=r"]}, "cache ref=r requires type=<type>"),
    ],
)
def test_what_is_lent_and_makes_no_sense_is_refused(given, said):
    with pytest.raises(InvalidInput, match=said):
        solve_options("x", **given)


@pytest.mark.parametrize("name", ["secrets", "ssh", "outputs", "exports", "imports", "allow"])
def test_a_text_where_a_list_is_wanted_is_no_list_of_letters(name):
    with pytest.raises(TypeError, match=f"{name}: a list is wanted"):
        solve_options("x", **{name: "type=a"})


def test_a_secret_in_memory_is_not_shown():
    assert "hunter2" not in repr(solve_options("x", secrets=[buildkit.SecretOptions("c", value=b"hunter2")]))


def test_help_tells_of_every_option():
    options = buildkit.BuildOptions
    assert [name for name in options.__optional_keys__ if f"``{name}``" not in (options.__doc__ or "")] == []


def test_every_name_that_is_offered_is_there():
    assert all(getattr(buildkit, name) is not None for name in buildkit.__all__)
    assert all(getattr(llb, name) is not None for name in llb.__all__)
    assert set(llb.__all__) <= set(dir(llb))


@pytest.mark.slow
def test_programs_are_checked_by_type(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(TYPED)
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--no-incremental",
        "--follow-imports=silent",
        "--config-file=",
        program,
    ]
    done = subprocess.run(command, env={**os.environ, "MYPYPATH": SOURCE}, capture_output=True, text=True)
    said = [line.partition(": ")[2] for line in done.stdout.splitlines() if "program.py:" in line]
    assert [line for line in said if line.startswith("error: ")] == [
        'error: Module has no attribute "imag"  [attr-defined]',
        'error: Module has no attribute "Clientt"  [attr-defined]',
        'error: Unexpected keyword argument "nam" for "file" of "State"; did you mean "name"?  [call-arg]',
    ], done.stdout


TYPED = """
from collections.abc import Sequence

import buildkit
from buildkit import llb


def show(batch: Sequence[buildkit.Update]) -> None:
    for update in batch:
        if isinstance(update, buildkit.VertexUpdate):
            print(update.name, update.cached)
        elif isinstance(update, buildkit.LogUpdate):
            print(update.content)


def program(who: str) -> llb.State:
    return llb.image("busybox").env("WHO", who).run(["true"], mounts=[llb.secret("/s", id="s")]).root


with buildkit.Client() as client:
    result: buildkit.Result = client.build(
        program("me"), progress=show, secrets=["id=s,env=S"], outputs=["out", buildkit.OutputOptions("image")]
    )
    why: tuple[buildkit.Explanation, ...] = result.explain()
    fields: list[str] = [change.field for step in why for change in step.changes]
    size: int = sum(record.size for record in client.usage())

llb.imag("busybox")
buildkit.Clientt()
llb.scratch().file(llb.mkdir("/x"), nam="y")
"""
