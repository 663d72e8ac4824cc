"""A step that uses a secret and leaves no trace of it. Needs `--secret id=token,src=FILE`."""

import sys

from buildkit import llb

result = (
    llb.image(sys.argv[1] if len(sys.argv) > 1 else "busybox")
    .run(
        ["sh", "-c", 'test "$(cat /run/secrets/token)" = "$TOKEN" && test ! -e /run/secrets/other && echo ok > /proof'],
        mounts=[
            llb.secret("/run/secrets/token", id="token", mode=0o444),
            llb.secret(id="token", env="TOKEN"),
            llb.secret("/run/secrets/other", optional=True),
        ],
    )
    .root
)

sys.stdout.buffer.write(result.marshal(python_lines=True).to_bytes())
