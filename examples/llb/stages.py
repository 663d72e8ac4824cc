"""Tools make something in a stage of their own; only what they made is kept. Needs `--local src=DIRECTORY`."""

import sys

from buildkit import llb

base = llb.image(sys.argv[1] if len(sys.argv) > 1 else "busybox")
tools = base.run("mkdir -p /opt/tools", name="install the tools").root.dir("/work").env("LC_ALL", "C")
made = tools.run(
    ["sh", "-c", "sort /src/greeting | tee /out/sorted | wc -l > /out/lines"],
    mounts=[llb.bind("/src", llb.local("src", include=["greeting"]), readonly=True), llb.bind("/out")],
    name="sort the greeting",
)
result = llb.scratch().file(
    llb.copy(made.mount("/out"), "/", "/share/greeting/", contents_only=True, create_parents=True)
)

sys.stdout.buffer.write(result.marshal(python_lines=True).to_bytes())
