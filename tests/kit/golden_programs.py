"""LLB programs whose bytes are known: those that BuildKit 0.32's own client writes for the same programs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from buildkit import llb
from buildkit.core.errors import Range
from buildkit.core.platform import Platform
from buildkit.llb import caps

DIGEST = "sha256:" + "a" * 64
AMD64, ARM64, ARMV7 = (Platform("linux", "amd64"), Platform("linux", "arm64"), Platform("linux", "arm", "v7"))
WHEN = 1000 * 10**9 + 7
REPOSITORY = "https://example.com/o/r.git"


class Program(NamedTuple):
    """A graph and what it is marshalled with."""

    state: llb.State
    options: dict[str, Any]


PROGRAMS: dict[str, Callable[[], Program]] = {}


def program(name: str, **options: Any) -> Callable[[Callable[[], llb.State]], Callable[[], llb.State]]:
    def add(write: Callable[[], llb.State]) -> Callable[[], llb.State]:
        PROGRAMS[name] = lambda: Program(write(), options)
        return write

    return add


def simple(states: dict[str, Callable[[], llb.State]]) -> None:
    for name, write in states.items():
        program(name)(write)


def base() -> llb.State:
    return llb.image("busybox")


simple(
    {
        "image": base,
        "image with every option": lambda: llb.image(
            f"alpine:edge@{DIGEST}",
            resolve_mode="pull",
            record_type="internal",
            layer_limit=2,
            checksum=DIGEST,
            name="base",
        ),
        "image of another platform": lambda: (
            llb.image("reg.example:5000/a/b:v1", resolve_mode="local", platform=ARMV7).run(["true"]).root
        ),
        "image with layer limit zero": lambda: llb.image("busybox", layer_limit=0, resolve_mode="default"),
        "image blob": lambda: llb.image_blob(f"busybox@{DIGEST}", filename="f", mode=0o4640, uid=1, gid=2),
        "layout blob": lambda: llb.oci_layout_blob(f"name@{DIGEST}", session="sess", store="store", filename="f"),
        "layout": lambda: llb.oci_layout(f"example.com/name@{DIGEST}", session="sess", store="store", layer_limit=3),
        "layout without options": lambda: llb.oci_layout(f"n@{DIGEST}"),
        "local": lambda: llb.local("src"),
        "local with every option": lambda: llb.local(
            "src",
            session="sess",
            include=["a<b>&c", "**/*.go", "ü\u2028"],
            exclude=["!x", '"q"'],
            follow=["l", "m/n"],
            shared_key="hint",
            differ="metadata",
            differ_required=True,
            metadata_only=True,
            metadata_exceptions=["*.md"],
        ),
        "local with a differ that is a wish": lambda: llb.local(
            "src", differ="none", metadata_only=True, local_unique_id="own"
        ),
        "git https": lambda: llb.git(REPOSITORY, "v1", subdir="sub/dir"),
        "git without protocol": lambda: llb.git("example.com/o/r.git", "main"),
        "git with the ref in the url": lambda: llb.git("https://user:pw@example.com:8443/o/r.git#ignored:dir"),
        "git scp": lambda: llb.git("git@example.com:o/r.git", known_ssh_hosts="h k1\nh k2\n"),
        "git ssh": lambda: llb.git(
            "ssh://git@example.com:2222/o/r", "refs/heads/x", known_ssh_hosts="h k", ssh_agent="mine"
        ),
        "git protocol": lambda: llb.git("git://example.com/o/r", "r", subdir="/s/../t"),
        "git with every option": lambda: llb.git(
            REPOSITORY,
            "v2",
            subdir="d",
            keep_git_dir=True,
            auth_token_secret="tok",
            auth_header_secret="head",
            checksum="abcdef",
            skip_submodules=True,
            mtime="commit",
            fetch_by_commit=True,
            bundle=f"oci-layout+blob://b@{DIGEST}",
            bundle_session="sess",
            bundle_store="store",
            checkout_bundle=True,
        ),
        "git without secrets": lambda: llb.git(
            "http://example.com/o/r.git", auth_token_secret="", auth_header_secret="", mtime="checkout"
        ),
        "git with one secret": lambda: llb.git(REPOSITORY, auth_token_secret="t"),
        "git with a url of no protocol that git knows": lambda: llb.git("weird://example.com/x", "r"),
        "http": lambda: llb.http("https://example.com/f?q=1"),
        "http with every option": lambda: llb.http(
            "https://example.com/f",
            checksum=DIGEST,
            filename="n",
            mode=0o755,
            uid=5,
            gid=6,
            auth_header_secret="s",
            accept="a/b",
            user_agent="agent",
            signature=b"sig",
            signature_key=b"key",
            name="fetch",
        ),
        "http with a group": lambda: llb.http("http://example.com/f", gid=7, accept="x"),
        "http with a special mode only": lambda: llb.http("http://example.com/f", mode=0o4000),
    }
)


@program("run with settings")
def _() -> llb.State:
    state = base().env("A", "1").env("B", "2").env("A", "3").env("EMPTY", "").dir("/srv").dir("app/../x")
    return state.user("me:us").hostname("box").run(["a b", "ü", ""]).root


@program("run in a directory with dots")
def _() -> llb.State:
    return base().dir("/a/../b/./c//").run(["pwd"]).root.dir("..").run(["pwd"]).root


WORDS = (
    r'sh -c "echo \$HOME \"q\" \n"',
    r"""a 'b c'"d e"f\ g""",
    "one # comment two",
    "x#y '#' z",
    "tab\tsep\nline",
    r"""'\n' "\\" "" """.strip(),
    "ü\u00a0x",
    "a # b\nc",
)
simple(
    {
        f"words {letter}": lambda words=words: base().run(words).root
        for letter, words in zip("abcdefgh", WORDS, strict=True)
    }
)


@program("run with hosts and limits")
def _() -> llb.State:
    state = base().extra_host("db", "10.0.0.1").extra_host("six", "2001:DB8:0:0::1")
    return state.ulimit("nofile", 1, 2).ulimit("core", 0, -1).cgroup_parent("/x").run(["true"]).root


@program("run with everything of the process")
def _() -> llb.State:
    return (
        base()
        .run(
            ["true"],
            network="host",
            security="insecure",
            valid_exit_codes=[0, 3, 255],
            readonly_root=True,
            proxy=llb.Proxy("h", "s", "f", "n", "a"),
            devices=[llb.Device("vendor.com/dev=a", optional=True), llb.Device("vendor.com/dev=b")],
            mounts=[llb.bind("/out")],
        )
        .mount("/out")
    )


@program("run without network")
def _() -> llb.State:
    return base().network("none").security("sandbox").run(["true"]).root.run(["again"]).root


@program("run with an empty proxy")
def _() -> llb.State:
    return base().run(["true"], proxy=llb.Proxy()).root


@program("run on nothing")
def _() -> llb.State:
    return llb.scratch().run(["/x"], mounts=[llb.bind("/x", base(), path="bin/true", readonly=True)]).root


@program("run for a daemon that sets the path", known_caps=caps.BY_PING)
@program("run for a daemon that does not", known_caps=())
def _() -> llb.State:
    return base().run(["true"]).root


@program("run with a path for a daemon that sets none", known_caps=())
def _() -> llb.State:
    return base().env("PATH", "/x").run(["true"]).root


@program("run on windows", known_caps=(), platform=Platform("windows", "amd64"))
def _() -> llb.State:
    return llb.image("win", platform=Platform("windows", "amd64")).run(["cmd"]).root


@program("mounts of every kind")
def _() -> llb.State:
    mounts = [
        llb.bind("/src", llb.local("src"), readonly=True, path="sub"),
        llb.bind("/out"),
        llb.bind("/rw", llb.local("src")),
        llb.bind("/drop", llb.local("src"), discard=True),
        llb.cache("/cache", "id", sharing="locked"),
        llb.cache("/cache2", "id2", source=llb.image("seed"), path="c", sharing="private", readonly=True),
        llb.cache("/cache3", "id3", sharing="shared"),
        llb.tmpfs("/tmp", 1 << 20),
        llb.tmpfs("/tmp2"),
        llb.bind("/on", llb.image("x"), content_cache="on", readonly=True),
        llb.bind("/off", llb.image("y"), content_cache="off"),
    ]
    return base().run(["make"], mounts=mounts).mount("/rw")


@program("outputs of mounts are used")
def _() -> llb.State:
    like = llb.image("like").dir("/like").env("L", "1")
    made = base().run(["make"], mounts=[llb.bind("/b"), llb.bind("/a"), llb.bind("/z", like)])
    return llb.merge([made.mount("/b"), made.mount("/a"), made.root, made.mount("/z", like).run(["q"]).root])


@program("one input for several mounts")
def _() -> llb.State:
    same = llb.image("same")
    mounts = [llb.bind("/1", same), llb.bind("/2", same, readonly=True), llb.bind("/3", llb.image("same"))]
    return same.run(["x"], mounts=mounts).mount("/2")


@program("a readonly mount gives its source")
def _() -> llb.State:
    return base().run(["x"], mounts=[llb.bind("/r", llb.image("r"), readonly=True)]).mount("/r")


@program("secrets")
def _() -> llb.State:
    secrets = [
        llb.secret("/run/s"),
        llb.secret("/run/t", id="id", optional=True, uid=1, gid=2, mode=0o444),
        llb.secret(id="tok", env="TOKEN"),
        llb.secret("/run/both", id="both", env="BOTH"),
        llb.secret(id="only", env="ONLY", optional=True),
    ]
    return base().run(["x"], mounts=secrets).root


@program("ssh")
def _() -> llb.State:
    agents = [llb.ssh(), llb.ssh("two", "/s", optional=True), llb.ssh(target="/t", uid=1, gid=2, mode=0o666)]
    return base().run(["x"], mounts=agents).root


@program("ssh where the environment names a socket")
def _() -> llb.State:
    return base().env("SSH_AUTH_SOCK", "/mine").env("Z", "z").run(["x"], mounts=[llb.ssh(target="/s")]).root


def context() -> llb.State:
    return llb.local("src").dir("/in")


@program("copy with every option")
def _() -> llb.State:
    copy = llb.copy(
        context(),
        "a/../b*",
        "dest/",
        mode=0o640,
        follow_symlinks=True,
        contents_only=True,
        include=["i"],
        exclude=["e", "!f"],
        required=["r"],
        unpack=True,
        create_parents=True,
        allow_wildcard=True,
        allow_empty_wildcard=True,
        created=WHEN,
        always_replace=True,
        owner=llb.parse_owner("me:us"),
    )
    return base().dir("/work").file(copy)


@program("copy with a mode in words")
def _() -> llb.State:
    return base().file(llb.copy(context(), "/", "/.", mode="u+x,go-w", owner=llb.Owner(0, 12)))


@program("copy plainly")
def _() -> llb.State:
    return base().file(llb.copy(llb.scratch(), "x", "."))


@program("owners")
def _() -> llb.State:
    owner = llb.parse_owner
    return base().file(
        llb.mkdir("a", 0o7777, parents=True, owner=owner("root:root"), created=WHEN)
        .mkfile("/f", b"\x00\xff", 0o6644, owner=owner("7"), created=WHEN)
        .symlink("../old", "new", owner=owner("a:"), created=WHEN)
        .rm("gone*", allow_not_found=True, allow_wildcard=True)
        .mkdir("/neg", 0, owner=owner("-5:+6"))
        .mkfile("e", b"", 0o600, owner=owner(":9"))
        .rm("/")
    )


@program("chains that are copied from")
def _() -> llb.State:
    made = llb.mkdir("d").mkfile("d/f", "x").on(llb.scratch().dir("/made"))
    action = llb.mkdir("/a").copy(context(), "x", "/a/").copy(made, "d", "b").copy(made, "d/f", "c").rm("/a")
    return base().dir("/w").file(action)


@program("copies of copies")
def _() -> llb.State:
    other = llb.mkfile("o", "o", 0o600).copy(llb.image("z"), "p", "q").on(llb.image("y"))
    return llb.scratch().file(llb.copy(other, "o", "1").copy(llb.image("z"), "x", "2").copy(base(), "x", "3"))


@program("a tree of file ops")
def _() -> llb.State:
    state = llb.scratch().file(llb.mkdir("/a")).file(llb.copy(base().file(llb.mkdir("/b")), "b", "/"))
    return state.file(llb.symlink("/a", "/l").symlink("l", "m"))


A, B, C = llb.image("a"), llb.image("b"), llb.image("c")

simple(
    {
        "merge": lambda: llb.merge([A, llb.scratch(), B, C, A], name="all"),
        "merge of one": lambda: llb.merge([llb.scratch(), B]),
        "diff": lambda: llb.diff(A, A.run(["x"]).root, ignore_cache=True),
        "diff to nothing": lambda: llb.diff(A, llb.scratch()),
        "diff with itself": lambda: llb.diff(A, A),
        "diff from nothing": lambda: llb.diff(llb.scratch(), B),
        "merge of diffs": lambda: (
            llb.merge([A.dir("/k").env("K", "v"), llb.diff(A, B), llb.diff(A, C)]).run(["z"]).root
        ),
        "requires": lambda: A.requires("after", B, llb.scratch(), C).run(["z"]).root,
        "nested": lambda: llb.nested(llb.local("defs"), "f.llb"),
        "nested with the usual name": lambda: llb.nested(llb.image("defs")).run(["x"]).root,
    }
)


@program("every constraint")
def _() -> llb.State:
    ran = base().run(
        ["x"],
        ignore_cache=True,
        description={"k": "v", "a": "b"},
        name="n",
        export_cache=False,
        progress_group=llb.ProgressGroup("g", "group", weak=True),
        resources=llb.LinuxResources(1, -1, 3, 4, 5, "0-1", "0"),
        filters=["worker.label==x", "y"],
        platform=ARM64,
    )
    group = llb.ProgressGroup("h", "")
    return ran.root.file(llb.mkdir("/x", 0o700), export_cache=True, progress_group=group, filters=["file"])


@program(
    "constraints when marshalled",
    filters=["one", "two"],
    export_cache=True,
    progress_group=llb.ProgressGroup("p", "pp"),
    ignore_cache=True,
)
def _() -> llb.State:
    return base().run(["x"], name="own").root.file(llb.mkdir("/x", 0o700))


@program("defaults of marshalling", filters=["d2"])
def _() -> llb.State:
    state = base().run(["x"], filters=["mine"]).root
    group = llb.ProgressGroup("dg", "d")
    return state.with_marshal_defaults(platform=Platform("linux", "riscv64"), filters=["d1"], progress_group=group)


@program("platforms in one graph")
def _() -> llb.State:
    windows = Platform("windows", "amd64", "", "10.0.1", ("win32k", "a"))
    return llb.merge(
        [
            base().platform(Platform("Linux", "aarch64", "v8")).run(["x"]).root,
            llb.image("busybox", platform=Platform("linux", "x86_64")).run(["x"]).root,
            base().run(["x"], platform=windows).root,
        ]
    )


@program("equal ops with different metadata")
def _() -> llb.State:
    first = base().run(["x"], name="first", export_cache=True).root
    second = base().run(["x"], description={"d": "e"}, ignore_cache=True, export_cache=False).root
    return llb.merge([first, second])


@program("a diamond")
def _() -> llb.State:
    d = base()
    left = d.run(["l"], mounts=[llb.bind("/r", d.run(["r"]).root)]).mount("/r")
    return llb.merge([left, d.run(["r"]).root, d])


@program("reset")
def _() -> llb.State:
    other = llb.image("r2").dir("/two").env("S", "2")
    return llb.image("r1").dir("/one").env("R", "1").user("u").reset(other).run(["x"]).root


@program("reset of an image with a platform")
def _() -> llb.State:
    other = llb.image("r2").dir("/two").user("v")
    return llb.image("r1", platform=Platform("linux", "s390x")).dir("/one").reset(other).run(["x"]).root


@program("the config of an image")
def _() -> llb.State:
    process = {"Env": ["A=1=2", "B", "=x", "PATH=/q"], "WorkingDir": "rel", "User": "ignored"}
    config = {"architecture": "arm64", "os": "linux", "variant": "v8", "os.version": "1", "os.features": ["f"]}
    return base().dir("/before").env("PATH", "/p").with_image_config({**config, "config": process}).run(["x"]).root


def text() -> llb.SourceFile:
    return llb.SourceFile("prog", "Text", b"one\ntwo\n")


@program("source maps")
def _() -> llb.State:
    tree = llb.scratch().file(llb.mkfile("prog3", "z")).marshal(platform=AMD64, local_unique_id="u")
    third = llb.SourceFile("prog3", "", b"z", tree)
    places = [text().at(Range(2, 0, 2, 0), Range(1, 1, 2, 2)), third.at()]
    ran = llb.image("m", location=text().at(Range(1, 0, 1, 3))).run(["x"], location=places)
    return ran.root.file(llb.mkdir("/q"), location=third.at(Range(7, 0, 7, 0)))


@program("a loaded definition")
def _() -> llb.State:
    place = text().at(Range(1, 0, 1, 0))
    ran = base().run(["one"], name="n", location=place, platform=ARM64)
    return llb.load(ran.root.marshal(platform=AMD64, local_unique_id="u")).run(["two"]).root


@program("made of nothing")
def _() -> llb.State:
    left = llb.mkdir("/a/b", 0o750, parents=True).mkfile("/a/b/f", "f", 0o600, owner=llb.Owner(3, 4))
    lower = llb.scratch().file(left.symlink("b/f", "/a/l"))
    upper = lower.file(llb.mkfile("/r", "r").rm("/a/l"))
    copied = llb.scratch().file(llb.copy(upper, "/a", "/copy/", create_parents=True))
    return llb.merge([llb.scratch().file(llb.mkdir("/z", 0o1777)), lower, llb.diff(lower, upper), copied])


@program("made of a directory")
def _() -> llb.State:
    source = llb.local("src", exclude=["*.md"])
    return llb.scratch().file(llb.copy(source, "/", "/in", contents_only=True, mode="go-r"))
