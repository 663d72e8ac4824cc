"""A step with a cache that outlives it, a scratch disk in memory, no network, and a user without rights."""

import sys

from buildkit import llb

result = (
    llb.image(sys.argv[1] if len(sys.argv) > 1 else "busybox")
    .file(llb.mkdir("/made", owner=llb.Owner(65534, 65534)))
    .user("nobody")
    .hostname("factory")
    .ulimit("nofile", 64, 64)
    .extra_host("db.example", "192.0.2.7")
    .run(
        [
            "sh",
            "-c",
            "date >> /cache/visits; cat /etc/hostname > /scratch/name; ulimit -n >> /scratch/name;"
            "grep db.example /etc/hosts >> /scratch/name; id -u >> /scratch/name; cp /scratch/name /made/name",
        ],
        mounts=[
            llb.cache(
                "/cache", "visits", sharing="locked", source=llb.scratch().file(llb.mkdir("/v", 0o777)), path="v"
            ),
            llb.tmpfs("/scratch", 1 << 20),
        ],
        network="none",
    )
    .root
)

sys.stdout.buffer.write(result.marshal(python_lines=True).to_bytes())
