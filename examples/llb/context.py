"""Parts of a directory, with owners and modes of their own. Needs `--local src=DIRECTORY`."""

import sys

from buildkit import llb

source = llb.local("src", exclude=["*.md", "**/secret*"])
result = (
    llb.image(sys.argv[1] if len(sys.argv) > 1 else "busybox")
    .dir("/app")
    .file(
        llb.copy(source, "/*", "./", allow_wildcard=True, create_parents=True, owner=llb.parse_owner("nobody:nogroup"))
        .copy(source, "greet*", "/etc/", allow_wildcard=True, mode="u=rw,go=r")
        .mkdir("cache", 0o700, owner=llb.Owner("nobody"))
    )
)

sys.stdout.buffer.write(result.marshal(python_lines=True).to_bytes())
