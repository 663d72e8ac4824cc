"""Checks that must pass before anything is released, though the release reads nothing of theirs."""

import sys

from buildkit import llb

base = llb.image(sys.argv[1] if len(sys.argv) > 1 else "busybox")
group = llb.ProgressGroup("checks", "checks")
checks = [
    base.run(["sh", "-c", f"test -x /bin/{program}"], name=f"there is {program}", progress_group=group).root
    for program in ("sh", "cat", "grep")
]
release = base.file(llb.mkfile("/VERSION", "1.0\n")).requires("checks", *checks)

sys.stdout.buffer.write(release.marshal(python_lines=True).to_bytes())
