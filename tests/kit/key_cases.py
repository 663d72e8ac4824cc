"""Definitions whose cache keys were recorded from BuildKit: each a chain or small graph on a local directory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.kit.llb_ops import Ops, file, run, source
from tests.kit.rootfs import PATH, busybox_root

from buildkit.api import ops as pb

CONTEXT, TOOLS = "local://context", "local://tools"


def context(root: Path) -> Path:
    """The directory that cases copy from: the same on every machine."""
    (root / "bin").mkdir(parents=True)
    (root / "bin/tool").write_text("tool\n")
    (root / "etc").mkdir()
    (root / "etc/passwd").write_text("ann:x:10:20::/:/bin/sh\n")
    (root / "etc/group").write_text("staff:x:20:\n")
    (root / "d/e").mkdir(parents=True)
    (root / "d/f.txt").write_text("hello\n")
    (root / "d/e/g").write_text("deep\n")
    (root / "d/e/x.md").write_text("# x\n")
    (root / "d/link").symlink_to("f.txt")
    (root / "d/exe").write_text("#!/bin/sh\n")
    (root / "d/exe").chmod(0o755)
    (root / "d/suid").touch()
    (root / "d/suid").chmod(0o4711)
    for place in [root, *root.rglob("*")]:
        if place.is_dir():
            place.chmod(0o755)
        elif not place.is_symlink() and not place.stat().st_mode & 0o111:
            place.chmod(0o644)
    return root


def tools(root: Path) -> Path:
    """The directory that steps run on."""
    return busybox_root(root)


def _sh(script: str, *mounts: pb.Mount, root: pb.Mount | None = None, **meta: object) -> pb.Op:
    made = (root or pb.Mount(dest="/"), *mounts)
    op = run("sh", "-c", script, env=(PATH,), mounts=made, **meta)
    op.platform.CopyFrom(pb.Platform(OS="linux", Architecture="amd64"))
    return op


def _copy(
    src: str, dest: str, *, input: int = -1, secondary: int = 0, output: int = 0, **fields: object
) -> pb.FileAction:
    said = {"mode": -1, "timestamp": -1, "createDestPath": True, **fields}
    return pb.FileAction(
        input=input,
        secondaryInput=secondary,
        output=output,
        copy=pb.FileActionCopy(src=src, dest=dest, **said),  # type: ignore[arg-type]
    )


def _on_base(*ops: pb.Op) -> Callable[[], pb.Definition]:
    """Ops in a chain on a copy of the tools; those that read the context have it as their second input."""

    def make() -> pb.Definition:
        made = Ops()
        given = made.add(source(CONTEXT))
        digest = made.add(file(_copy("/", "/", dirCopyContents=True)), made.add(source(TOOLS)))
        for op in ops:
            copied = pb.Op()
            copied.CopyFrom(op)
            digest = made.add(copied, digest, *([given] if _reads_context(op) else []))
        return made.definition(digest)

    return make


def _reads_context(op: pb.Op) -> bool:
    return any(mount.input == 1 for mount in op.exec.mounts) or any(a.secondaryInput == 1 for a in op.file.actions)


def _copied(**fields: object) -> Callable[[], pb.Definition]:
    src, dest = str(fields.pop("src", "/d")), str(fields.pop("dest", "/t"))
    return _on_base(file(_copy(src, dest, input=0, secondary=1, **fields)))


def _mount(**fields: object) -> pb.Mount:
    return pb.Mount(**{"dest": "/m", "input": 1, "output": -1, **fields})  # type: ignore[arg-type]


def _by_name(user: str, group: str = "") -> pb.ChownOpt:
    owner = pb.ChownOpt(user=pb.UserOpt(byName=pb.NamedUserOpt(name=user, input=1)))
    if group:
        owner.group.byName.name = group
        owner.group.byName.input = 1
    return owner


def _graph(kind: str) -> Callable[[], pb.Definition]:
    def make() -> pb.Definition:
        made = Ops()
        given = made.add(source(CONTEXT))
        one = made.add(file(_copy("/d", "/one")), given)
        two = made.add(file(_copy("/bin", "/two")), given)
        if kind == "merge":
            made.add(pb.Op(merge=pb.MergeOp(inputs=[pb.MergeInput(input=0), pb.MergeInput(input=1)])), one, two)
        elif kind == "diff":
            diff = pb.DiffOp(lower=pb.LowerDiffInput(input=0), upper=pb.UpperDiffInput(input=1))
            made.add(pb.Op(diff=diff), one, two)
        else:
            made.add(pb.Op(passthrough=pb.PassthroughOp(id="p", outputs=[1])), one, two)
        return made.definition()

    return make


CASES: dict[str, Callable[[], pb.Definition]] = {
    "run": _on_base(_sh("echo '<&>' > /out")),
    "run with everything": _on_base(
        _sh(
            "true",
            user="ann",
            hostname="box",
            extraHosts=[pb.HostIP(Host="db", IP="10.0.0.1")],
            ulimit=[pb.Ulimit(Name="nofile", Soft=100, Hard=200)],
            validExitCodes=[0, 3],
            proxy_env=pb.ProxyEnv(http_proxy="http://p"),
        )
    ),
    "run with mounts": _on_base(
        _sh(
            "true",
            _mount(selector="d", readonly=True),
            _mount(dest="/c", input=-1, mountType=pb.CACHE, cacheOpt=pb.CacheOpt(ID="/c")),
            _mount(dest="/c2", input=-1, mountType=pb.CACHE, cacheOpt=pb.CacheOpt(ID="own", sharing=pb.LOCKED)),
            _mount(dest="/t", input=-1, mountType=pb.TMPFS, TmpfsOpt=pb.TmpfsOpt(size=65536)),
        )
    ),
    "run with a whole mount": _on_base(_sh("true", _mount(readonly=True))),
    "run with nested selectors": _on_base(
        _sh("true", _mount(selector="d"), _mount(dest="/n", selector="/d/e"), _mount(dest="/o", selector="bin"))
    ),
    "run without network": _on_base(_without_network := _sh("true")),
    "copy a file": _copied(src="/d/f.txt"),
    "copy a link": _copied(src="/d/link", followSymlink=True),
    "copy a link itself": _copied(src="/d/link"),
    "copy a directory": _copied(src="/d"),
    "copy the contents": _copied(src="/d/", dest="/t/", dirCopyContents=True),
    "copy by wildcard": _copied(src="/d/*.txt", dest="/t/", allowWildcard=True, allowEmptyWildcard=True),
    "copy by a wildcard for nothing": _copied(src="/d/*.none", dest="/t/", allowWildcard=True, allowEmptyWildcard=True),
    "copy with patterns": _copied(include_patterns=["**/*.md", "exe"], exclude_patterns=["e/g"]),
    "copy everything but": _copied(src="/", exclude_patterns=["bin", "d/e"], dirCopyContents=True),
    "copy the contents but": _copied(src="/d/", dirCopyContents=True, exclude_patterns=["e"]),
    "copy some of everything": _copied(src="/", include_patterns=["d/e"], dirCopyContents=True),
    "copy by a wildcard but": _copied(src="/*", exclude_patterns=["e"], allowWildcard=True),
    "copy with a mode": _copied(src="/d/exe", mode=0o640),
    "copy with an owner": _copied(src="/d/exe", owner=pb.ChownOpt(user=pb.UserOpt(byID=7), group=pb.UserOpt(byID=0))),
    "copy with a named owner": _copied(src="/d/exe", owner=_by_name("ann", "staff")),
    "copy twice": _on_base(
        file(
            _copy("/d/f.txt", "/a", input=0, secondary=1, output=-1),
            _copy("/d/e", "/b", input=2, secondary=1, output=0),
        )
    ),
    "files, directories, links": _on_base(
        file(
            pb.FileAction(
                input=0,
                secondaryInput=-1,
                output=-1,
                mkdir=pb.FileActionMkDir(path="/x", mode=0o750, makeParents=True, timestamp=-1),
            ),
            pb.FileAction(
                input=1,
                secondaryInput=-1,
                output=-1,
                mkfile=pb.FileActionMkFile(path="/x/y", mode=0o644, data=b"\x00<>", timestamp=5),
            ),
            pb.FileAction(
                input=2,
                secondaryInput=-1,
                output=-1,
                symlink=pb.FileActionSymlink(oldpath="y", newpath="/x/z", timestamp=-1),
            ),
            pb.FileAction(input=3, secondaryInput=-1, output=0, rm=pb.FileActionRm(path="/d", allowNotFound=True)),
        )
    ),
    "merge": _graph("merge"),
    "diff": _graph("diff"),
    "passthrough": _graph("passthrough"),
}
_without_network.exec.network = pb.NONE
