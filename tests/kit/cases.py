"""Dockerfiles that other builders build too, over one context; ``BASE`` is their first argument."""

from __future__ import annotations

import os
import tarfile

from tests.kit.projects import Project

_HEAD = "ARG BASE\nFROM $BASE\n"

CASES = {
    "copies": """COPY a /a
COPY a sub/ /many/
COPY sub /new
COPY sub/ /existing/dir/
COPY . /all
COPY link /followed
COPY --chown=7:8 sub /owned
COPY --chown=65534 a /owned/number
COPY --chmod=0640 a /moded
""",
    "runs": """RUN echo one > /one && mkdir -p /d/e/f && ln -s ../one /d/up && ln /one /d/hard
RUN chmod 4755 /one; chown -R 3:4 /d; mkfifo /pipe; touch '/odd name' /d/.hidden; mkdir -m 1777 /sticky
RUN : > /empty; head -c 100000 /dev/zero > /zeros
""",
    "removals": """RUN mkdir -p /x/y/z && touch /x/1 /x/2 /x/y/3 && echo keep > /keep
RUN rm /x/1 && rm -r /x/y && rm -rf /etc/group
RUN mkdir /x/y && touch /x/y/new && rm /keep && mkdir /keep && rm -r /keep && ln -s /x /keep
RUN rm -r /x && echo file > /x
""",
    "stages": """RUN mkdir /out && echo 1 > /out/made && ln -s made /out/l && chown -h 5:6 /out/l
FROM $BASE AS other
WORKDIR /src
COPY sub .
RUN cat f > g
FROM $BASE
COPY --from=0 /out /in
COPY --from=0 /out/l /l
COPY --from=other /src/ /src/
""",
    "users": """RUN echo 'ann:x:1000:1001::/home/ann:/bin/sh' >> /etc/passwd; echo 'ann:x:1001:' >> /etc/group
RUN mkdir /home /w && chown ann:ann /w
USER ann
RUN echo $HOME $(id -u) $(id -g) > /w/who
COPY a /w/root-owned
COPY --chown=ann a /w/ann-owned
""",
    "words": """ARG X=default
ARG Y
ENV A=1 B="two words" C=$A-${X:-x} D=${Y:+set}
RUN echo "$A|$B|$C|$D|$X" > /words
WORKDIR /w/$C
RUN pwd > here
SHELL ["/bin/sh", "-ec"]
RUN echo $0 > /shell
RUN ["/bin/sh", "-c", "echo exec > /exec"]
""",
    "added directories": "ADD sub /s\nADD . /all/\nADD s*/deep /g/\n",
    "archives": "ADD files.tar /unpacked/\nADD files.tar.gz /\nCOPY files.tar.gz /kept/\nADD a /plain\n",
    "config": """LABEL one=1 two="2 2"
EXPOSE 80 53/udp
RUN mkdir /data
VOLUME /data
STOPSIGNAL SIGINT
ENTRYPOINT ["/bin/sh", "-c"]
CMD ["echo hi"]
HEALTHCHECK --interval=3s CMD true
WORKDIR /w
RUN true
USER 1:2
ONBUILD RUN true
MAINTAINER somebody
""",
    "triggers": "ONBUILD COPY a /triggered\nFROM $BASE\nRUN true\n",
}
BUILDKIT_CASES = {
    "heredocs": """RUN <<EOT
echo one > /one
EOT
COPY <<first <<"second" /d/
$BASE
first
$raw
second
""",
    "links": "COPY --link a /d/a\nCOPY --link --chown=3:4 --chmod=600 sub /d/sub\nRUN cat /d/a > /b\n",
    "parents": "COPY --parents sub/*/g a /p/\nCOPY --exclude=deep sub /e/\n",
    "mounts": """RUN --mount=target=/ctx,ro cat /ctx/a > /a
RUN --mount=type=tmpfs,target=/t touch /t/x; mkdir -p /made/by
RUN --mount=type=cache,target=/made/by/cache touch /made/by/cache/x
RUN --mount=type=bind,target=/new/mount/point true
""",
    "user of workdir": "USER 5:6\nWORKDIR /x/y\nRUN pwd > /tmp/out || true\n",
    "unpacked": "ADD --unpack=false files.tar /kept/\nADD --chown=9:9 files.tar /owned/\n",
    "mounts below new directories": """RUN --mount=type=cache,target=/c/d/e touch /c/x
RUN --mount=type=tmpfs,target=/new/t true
RUN --mount=type=bind,source=a,target=/file/of/context cat /file/of/context
""",
    "exclusions": "COPY --exclude=**/g --exclude=a . /e/\nADD --exclude=sub . /g/\n",
    "existing places": """RUN mkdir /real && ln -s real /ln && ln -s /real/sub /dangling && touch /file
COPY a /ln/
COPY sub /ln/
COPY a /dangling
COPY sub/f /file
COPY . /
""",
    "changes of lower trees": """RUN mkdir -p /x/y/z && echo 1 > /x/y/f && ln /x/y/f /x/hard && ln -s y /x/l
RUN mv /x/y /x/moved && ln /x/moved/f /x/second && chown 5:5 /x && chmod 600 /x/hard
RUN mv /x /xx && mkdir /x && mknod /x/null c 1 3 && mkfifo -m 600 /x/pipe
RUN rm -rf /xx && mkdir /xx && chown 3000000:65536 /xx
RUN n=$(printf 'a%.0s' $(seq 120)); mkdir -p /d/$n/$n && ln -s /d/$n/$n /d/l && touch "/d/$(printf '\\377')" /d/é
""",
    "symbolic modes": "COPY --chmod=u=rwX,go=r sub /modes\nCOPY --chmod=a+x a /exec\n",
}


def dockerfile(name: str) -> str:
    """The Dockerfile of a case."""
    return _HEAD + {**CASES, **BUILDKIT_CASES}[name]


def fill(project: Project) -> Project:
    """Write the context of every case."""
    project.write(a="a\n", sub__f="f\n", sub__deep__g="g\n", sub__deep__er__h="h\n")
    os.chmod(project.context / "a", 0o640)
    os.chmod(project.context / "sub/deep", 0o711)
    os.symlink("sub/f", project.context / "link")
    os.symlink("../a", project.context / "sub/up")
    for name, mode in (("files.tar", "w"), ("files.tar.gz", "w:gz")):
        with tarfile.open(project.context / name, mode) as tar:  # type: ignore[call-overload]
            for path, kind, link in (
                ("d", tarfile.DIRTYPE, ""),
                ("d/f", tarfile.REGTYPE, ""),
                ("d/l", tarfile.SYMTYPE, "f"),
            ):
                member = tarfile.TarInfo(path)
                member.type, member.linkname, member.uid, member.gid, member.mtime = kind, link, 11, 12, 1_000_000
                member.mode = 0o755 if kind == tarfile.DIRTYPE else 0o604
                tar.addfile(member)
    return project
