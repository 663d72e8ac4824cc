"""Packages installed side by side, each on the bare base, then laid on top of each other without copying a file."""

import sys

from buildkit import llb

base = llb.image(sys.argv[1] if len(sys.argv) > 1 else "busybox")


def package(name: str, *needs: str) -> llb.State:
    """What installing it adds to the base, and takes away."""
    script = f"mkdir -p /opt/{name} && echo needs {' '.join(needs)} > /opt/{name}/about && rm -f /etc/group"
    return llb.diff(base, base.run(["sh", "-c", script], name=f"install {name}").root)


result = llb.merge([base, package("one"), package("two", "one"), package("three", "one", "two")], name="all packages")

sys.stdout.buffer.write(result.marshal(python_lines=True).to_bytes())
