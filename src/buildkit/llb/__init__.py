"""Programs in LLB: say what a filesystem is made of, then ``marshal`` or build it.

from buildkit import llb

tools = llb.image("debian:12").run("apt-get install -y gcc").root
out = tools.run("cc -o /out/hello /src/hello.c", mounts=[llb.bind("/src", llb.local("src")), llb.bind("/out")])
definition = out.mount("/out").marshal()
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from buildkit.core.platform import Platform as Platform
    from buildkit.llb.combine import diff as diff
    from buildkit.llb.combine import merge as merge
    from buildkit.llb.combine import nested as nested
    from buildkit.llb.constraints import Constraints as Constraints
    from buildkit.llb.definition import Definition as Definition
    from buildkit.llb.definition import Location as Location
    from buildkit.llb.definition import SourceFile as SourceFile
    from buildkit.llb.definition import SourceMap as SourceMap
    from buildkit.llb.env import Env as Env
    from buildkit.llb.file import FileAction as FileAction
    from buildkit.llb.file import Owner as Owner
    from buildkit.llb.file import copy as copy
    from buildkit.llb.file import mkdir as mkdir
    from buildkit.llb.file import mkfile as mkfile
    from buildkit.llb.file import parse_owner as parse_owner
    from buildkit.llb.file import rm as rm
    from buildkit.llb.file import symlink as symlink
    from buildkit.llb.loading import load as load
    from buildkit.llb.metadata import LinuxResources as LinuxResources
    from buildkit.llb.metadata import OpMetadata as OpMetadata
    from buildkit.llb.metadata import ProgressGroup as ProgressGroup
    from buildkit.llb.mount import Device as Device
    from buildkit.llb.mount import Mount as Mount
    from buildkit.llb.mount import Proxy as Proxy
    from buildkit.llb.mount import Secret as Secret
    from buildkit.llb.mount import Ssh as Ssh
    from buildkit.llb.mount import bind as bind
    from buildkit.llb.mount import cache as cache
    from buildkit.llb.mount import secret as secret
    from buildkit.llb.mount import ssh as ssh
    from buildkit.llb.mount import tmpfs as tmpfs
    from buildkit.llb.resolve import resolved_image as resolved_image
    from buildkit.llb.settings import Settings as Settings
    from buildkit.llb.source import git as git
    from buildkit.llb.source import http as http
    from buildkit.llb.source import image as image
    from buildkit.llb.source import image_blob as image_blob
    from buildkit.llb.source import local as local
    from buildkit.llb.source import oci_layout as oci_layout
    from buildkit.llb.source import oci_layout_blob as oci_layout_blob
    from buildkit.llb.state import Run as Run
    from buildkit.llb.state import State as State
    from buildkit.llb.state import scratch as scratch

_MODULES = {
    "constraints": "Constraints",
    "definition": "Definition Location SourceFile SourceMap",
    "loading": "load",
    "env": "Env",
    "file": "FileAction Owner copy mkdir mkfile parse_owner rm symlink",
    "combine": "diff merge nested",
    "resolve": "resolved_image",
    "metadata": "LinuxResources OpMetadata ProgressGroup",
    "mount": "Device Mount Proxy Secret Ssh bind cache secret ssh tmpfs",
    "source": "git http image image_blob local oci_layout oci_layout_blob",
    "settings": "Settings",
    "state": "Run State scratch",
}
_HOME = {name: module for module, names in _MODULES.items() for name in names.split()}
__all__ = [*_HOME, "Platform"]


if not TYPE_CHECKING:  # for whom names that there are not are mistakes

    def __getattr__(name: str) -> object:
        import importlib

        if name != "Platform" and name not in _HOME:
            raise AttributeError(f"module 'buildkit.llb' has no attribute {name!r}")
        module = "buildkit.core.platform" if name == "Platform" else f"buildkit.llb.{_HOME[name]}"
        value = globals()[name] = getattr(importlib.import_module(module), name)
        return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]
