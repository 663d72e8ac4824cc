"""The main job, shown: build a project with the embedded engine, run it, rebuild it cached, change a line, rebuild.

Everything is made below .demo/ in the project; delete that folder to begin anew.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
DEMO = ROOT / ".demo"
BUILDCTL = ROOT / ".venv/bin/buildctl"
STATE = DEMO / "state"
SOURCES = (Path("/etc/apt/sources.list.d/debian.sources"), Path("/etc/apt/sources.list"))


def say(text: str) -> None:
    print(f"\n== {text}", flush=True)


def run(*command: str | Path) -> None:
    print("   $ " + " ".join(str(word).replace(str(ROOT) + "/", "") for word in command), flush=True)
    subprocess.run([str(word) for word in command], check=True)


def make_base(layout: Path) -> str:
    """A Debian base image made from the distribution's own packages, as an OCI layout; gives its digest."""
    if not (layout / "index.json").exists():
        say("Making a base image (debian:bookworm) from Debian's packages")
        project = DEMO / "debian"
        project.mkdir(exist_ok=True)
        sources = [path for path in SOURCES if path.exists() and path.stat().st_size][:1]
        options = ["--variant=apt", "--mode=root", "--quiet"]
        options += [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "man", "locale")]
        run("mmdebstrap", *options, "--dpkgopt=force-unsafe-io", "bookworm", project / "rootfs.tar", *sources)
        (project / "Dockerfile").write_text('FROM scratch\nADD rootfs.tar /\nCMD ["/bin/bash"]\n')
        output = f"type=oci,tar=false,name=debian:bookworm,dest={layout}"
        run(BUILDCTL, "build", project, "--root", STATE, "--progress", "plain", "--output", output)
        shutil.rmtree(project)
    index = json.loads((layout / "index.json").read_text())
    return str(index["manifests"][0]["digest"])


def build(project: Path, image: Path, base: Path, digest: str) -> float:
    started = time.perf_counter()
    run(
        *(BUILDCTL, "build", project, "--root", STATE, "--oci-layout", f"base={base}"),
        *("--opt", f"context:debian:bookworm=oci-layout://base@{digest}"),
        *("--output", f"type=oci,name=greeter:demo,dest={image}"),
    )
    return time.perf_counter() - started


def run_image(image: Path) -> None:
    """Unpack the image with umoci and run it under an OCI runtime."""
    layout, bundle = DEMO / "image", DEMO / "bundle"
    for folder in (layout, bundle):
        shutil.rmtree(folder, ignore_errors=True)
    layout.mkdir()
    subprocess.run(["tar", "-xf", image, "-C", layout], check=True)
    run("umoci", "unpack", "--image", f"{layout}:demo", bundle)
    config = json.loads((bundle / "config.json").read_text())
    config["process"]["terminal"] = False
    config["process"]["rlimits"] = []
    (bundle / "config.json").write_text(json.dumps(config))
    run("runc", "run", "--bundle", bundle, "pybuildkit-demo")


def main() -> int:
    DEMO.mkdir(exist_ok=True)
    base = DEMO / "base"
    digest = make_base(base)
    project, image = DEMO / "greeter", DEMO / "greeter.tar"
    shutil.rmtree(project, ignore_errors=True)
    shutil.rmtree(STATE, ignore_errors=True)
    shutil.copytree(ROOT / "examples/greeter", project)

    say("Building the example from nothing")
    first = build(project, image, base, digest)
    say("Running the image")
    run_image(image)
    say("Building it again: nothing changed")
    second = build(project, image, base, digest)
    say("Changing one line and building again")
    (project / "greeting").write_text("brave new world\n")
    third = build(project, image, base, digest)
    run_image(image)

    say("Times")
    print(
        f"   first build      {first:8.2f} s\n   fully cached     {second:8.2f} s\n   one line changed {third:8.2f} s"
    )
    print(f"\nThe image is {image.relative_to(ROOT)}, the engine's state {STATE.relative_to(ROOT)}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
