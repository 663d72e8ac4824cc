"""Features of Dockerfiles, each with a file that shows it: the README table is made of this list; tests build it.

``@web`` and ``@git`` in a file or an argument are the addresses of servers, ``@key`` of a private key of ssh, and
``@context`` of the context. The web has ``/f`` (``from the web``) and ``/a.tar`` (``out``: ``packed``);
git has ``app.git`` with a file ``inside``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any


@dataclass(frozen=True)
class Feature:
    """One line of the table. ``out`` is what the build leaves in ``/out``; ``config`` what the image says."""

    group: str
    name: str
    dockerfile: str
    out: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()


WEB_FILE = b"from the web"
WEB_SUM = sha256(WEB_FILE).hexdigest()


def ran(group: str, name: str, body: str, out: str, *arguments: str, **files: str) -> Feature:
    """A feature seen by what steps leave in ``/out``."""
    named = {key.replace("__", "/").replace("_dot_", "."): value for key, value in files.items()}
    whole = body if body.startswith(("ARG X=", "FROM ", "# ")) else f"FROM base\n{body}"
    return Feature(group, name, f"{whole}\n", out, files=named, arguments=arguments)


def said(group: str, name: str, body: str, *arguments: str, **config: Any) -> Feature:
    """A feature seen in the image's config."""
    return Feature(group, name, f"FROM base\n{body}\n", config=config, arguments=arguments)


FEATURES = (
    ran("RUN", "shell form", "RUN echo a > /out", "a\n"),
    ran("RUN", "exec form", 'RUN ["/bin/sh", "-c", "echo b > /out"]', "b\n"),
    ran("RUN", "here-documents", "RUN <<EOF\necho c > /out\nEOF", "c\n"),
    ran("RUN", "--mount=type=bind", "RUN --mount=target=/ctx cat /ctx/f > /out", "x", f="x"),
    ran(
        "RUN",
        "--mount=type=bind,from=stage",
        "FROM base AS s\nRUN echo s > /s\nFROM base\nRUN --mount=from=s,source=/s,target=/m cat /m > /out",
        "s\n",
    ),
    ran(
        "RUN",
        "--mount=type=cache",
        "RUN --mount=type=cache,target=/c echo kept > /c/f\nRUN --mount=type=cache,target=/c cat /c/f > /out",
        "kept\n",
    ),
    ran("RUN", "--mount=type=tmpfs", "RUN --mount=type=tmpfs,target=/t echo x > /t/f && echo ok > /out", "ok\n"),
    ran(
        "RUN",
        "--mount=type=secret",
        "RUN --mount=type=secret,id=s wc -c < /run/secrets/s > /out",
        "6\n",
        "--secret=id=s,src=@context/token",
        token="secret",
    ),
    ran(
        "RUN",
        "--mount=type=secret,env=",
        "RUN --mount=type=secret,id=s,env=TOKEN echo ${#TOKEN} > /out",
        "6\n",
        "--secret=id=s,src=@context/token",
        token="secret",
    ),
    ran(
        "RUN",
        "--mount=type=cache,sharing=,id=,mode=",
        "RUN --mount=type=cache,id=i,sharing=locked,mode=0750,target=/c stat -c %a /c > /out",
        "750\n",
    ),
    ran(
        "RUN",
        "--mount=type=ssh",
        "RUN --mount=type=ssh test -S $SSH_AUTH_SOCK && echo lent > /out",
        "lent\n",
        "--ssh=default=@key",
    ),
    ran("RUN", "--network=none", "RUN --network=none ls /sys/class/net | grep -vc lo > /out || true", "0\n"),
    ran(
        "RUN",
        "--network=host",
        "RUN --network=host ls /sys/class/net | grep -c lo > /out",
        "1\n",
        "--allow=network.host",
    ),
    ran(
        "RUN",
        "--security=insecure",
        "RUN --security=insecure chroot / true && echo all > /out",
        "all\n",
        "--allow=security.insecure",
    ),
    ran(
        "RUN",
        "--device, where the syntax line says labs",
        "# syntax=docker/dockerfile:1-labs\nFROM base\nRUN --device=none.example/d echo left out > /out",
        "left out\n",
    ),
    ran(
        "COPY",
        "files, directories, patterns",
        "COPY d*/ f /x/\nRUN ls /x | xargs > /out",
        "a b f\n",
        d__a="",
        d__b="",
        f="",
    ),
    ran("COPY", "--from=stage", "FROM base AS s\nRUN echo s > /s\nFROM base\nCOPY --from=s /s /out", "s\n"),
    ran("COPY", "--from=named context", "COPY --from=other f /out", "o", "--opt=context:other=local:context", f="o"),
    ran("COPY", "--chown", "COPY --chown=7:8 f /f\nRUN stat -c %u:%g /f > /out", "7:8\n", f=""),
    ran("COPY", "--chmod", "COPY --chmod=4750 f /f\nRUN stat -c %a /f > /out", "4750\n", f=""),
    ran("COPY", "--link", "COPY --link f /out", "l", f="l"),
    ran("COPY", "--parents", "COPY --parents a/b/f /x/\nRUN cat /x/a/b/f > /out", "p", a__b__f="p"),
    ran(
        "COPY", "--exclude", "COPY --exclude=*.o d /x\nRUN ls /x | xargs > /out", "a.c\n", d__a_dot_c="", d__a_dot_o=""
    ),
    ran("COPY", "here-documents", "COPY <<EOF /out\nhello\nEOF", "hello\n"),
    ran("COPY", "--from=image", "COPY --from=base /bin/busybox /b\nRUN cmp /b /bin/busybox && echo i > /out", "i\n"),
    ran("COPY", "--chmod by letters", "COPY --chmod=u=rw,go= f /f\nRUN stat -c %a /f > /out", "600\n", f=""),
    ran("ADD", "local files", "ADD f /out", "a", f="a"),
    ran("ADD", "the web", "ADD @web/f /out", "from the web"),
    ran("ADD", "--checksum", f"ADD --checksum=sha256:{WEB_SUM} @web/f /out", "from the web"),
    ran("ADD", "--unpack", "ADD --unpack @web/a.tar /", "packed"),
    ran("ADD", "git, branches and directories", "ADD @git/app.git#main /g\nRUN cat /g/inside > /out", "git"),
    ran("ADD", "--keep-git-dir", "ADD --keep-git-dir @git/app.git#main /g\nRUN ls -a /g | grep git > /out", ".git\n"),
    ran("ARG", "defaults and --build-arg", "ARG A=1\nARG B=1\nRUN echo $A $B > /out", "1 2\n", "--build-arg=B=2"),
    ran("ARG", "before FROM", "ARG X=base\nFROM ${X}\nARG X\nRUN echo $X > /out", "base\n"),
    ran("ARG", "platform arguments", "ARG TARGETOS\nRUN echo $TARGETOS > /out", "linux\n"),
    ran("ENV", "variables and expansion", "ENV A=ab\nENV B=${A%b}c${X:-d}\nRUN echo $A $B > /out", "ab acd\n"),
    ran(
        "ENV",
        "${v#p} ${v%p} ${v/p/r} ${v:-w} ${v:+w}",
        "ENV V=a.b.c\nENV W=${V#*.}-${V%%.*}-${V//./_}\nRUN echo $W > /out",
        "b.c-a-a_b_c\n",
    ),
    ran("WORKDIR", "made and relative", "WORKDIR /a\nWORKDIR b\nRUN pwd > /out", "/a/b\n"),
    ran("USER", "ids of steps and new directories", "USER 7\nWORKDIR /w\nUSER 0\nRUN stat -c %u /w > /out", "7\n"),
    ran("SHELL", "other shells", 'SHELL ["/bin/sh", "-ec"]\nRUN echo s > /out', "s\n"),
    ran(
        "FROM",
        "several stages, --target",
        "FROM base AS one\nRUN echo t > /out\nFROM base AS two",
        "t\n",
        "--target=one",
    ),
    ran("FROM", "scratch", "FROM scratch\nCOPY f /out", "s", f="s"),
    ran(
        "FROM",
        "--platform",
        "FROM --platform=$BUILDPLATFORM base\nARG TARGETARCH\nRUN echo $TARGETARCH > /out",
        "s390x\n",
        "--platform=linux/s390x",
    ),
    ran("FROM", "stage names in any case", "FROM base AS Tools\nRUN echo f > /out\nFROM Tools", "f\n"),
    ran(
        ".dockerignore",
        "patterns, exceptions, ** ",
        "COPY . /x\nRUN ls /x | xargs > /out",
        "a.c keep.o\n",
        a_dot_c="",
        b_dot_o="",
        keep_dot_o="",
        _dot_dockerignore="Dockerfile\n*.o\n!keep.o\n.dockerignore\n",
    ),
    Feature("directives", "# check", "# check=skip=all\nfrom base\nRUN echo c > /out\n", "c\n"),
    Feature("directives", "# escape", "# escape=`\nFROM base\nRUN echo 1 `\n 2 > /out\n", "1 2\n"),
    Feature(
        "directives",
        "# syntax=docker/dockerfile",
        "# syntax=docker/dockerfile:1\nFROM base\nRUN echo y > /out\n",
        "y\n",
    ),
    said("config", "CMD", 'CMD ["a", "b"]', Cmd=["a", "b"]),
    said("config", "ENTRYPOINT", "ENTRYPOINT run it", Entrypoint=["/bin/sh", "-c", "run it"]),
    said("config", "EXPOSE", "EXPOSE 80 53/udp", ExposedPorts={"80/tcp": {}, "53/udp": {}}),
    said(
        "config",
        "HEALTHCHECK",
        "HEALTHCHECK --interval=5s CMD x",
        Healthcheck={"Test": ["CMD-SHELL", "x"], "Interval": 5000000000},
    ),
    said("config", "LABEL, --label", "LABEL a=1", "--label=b=2", Labels={"a": "1", "b": "2"}),
    said("config", "ONBUILD", "ONBUILD RUN x", OnBuild=["RUN x"]),
    said("config", "STOPSIGNAL", "STOPSIGNAL SIGINT", StopSignal="SIGINT"),
    said("config", "USER", "USER me:us", User="me:us"),
    said("config", "VOLUME", 'VOLUME ["/v", "/w"]', Volumes={"/v": {}, "/w": {}}),
    said("config", "WORKDIR", "WORKDIR /w", WorkingDir="/w"),
)
