"""Dockerfiles converted in a test: images come from a table, contexts from the client's directory."""

import asyncio
import hashlib
import json
from dataclasses import dataclass, field
from typing import NamedTuple

from buildkit.api import ops_pb2 as pb
from buildkit.core.platform import Platform
from buildkit.frontend.dockerfile.convert import convert
from buildkit.frontend.dockerfile.options import ConvertOptions
from buildkit.llb import caps
from buildkit.llb.definition import SourceFile

AMD64 = Platform("linux", "amd64")


class Image(NamedTuple):
    ref: str
    digest: str
    config: bytes


@dataclass
class Images:
    """Every image exists; ``configs`` overrides the ``config`` object by name."""

    configs: dict[str, dict] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    async def resolve_image(self, ref, *, platform, mode="default", log_name=""):
        self.asked.append(ref)
        config = self.configs.get(ref, {"Env": ["PATH=/bin"], "Cmd": ["sh"], "WorkingDir": "/"})
        document = {
            "os": platform.os,
            "architecture": platform.architecture,
            "created": "2024-01-01T00:00:00Z",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "1" * 64]},
        }
        return Image(ref, "sha256:" + hashlib.sha256(ref.encode()).hexdigest(), json.dumps(document).encode())


@dataclass
class Outcome:
    ops: list[pb.Op]
    names: list[str]
    config: dict
    findings: list[str]
    converted: object
    definition: object

    def execs(self):
        return [op.exec for op in self.ops if op.WhichOneof("op") == "exec"]

    def files(self):
        return [op.file for op in self.ops if op.WhichOneof("op") == "file"]

    def sources(self):
        return [op.source.identifier for op in self.ops if op.WhichOneof("op") == "source"]

    def history(self):
        return [entry["created_by"] for entry in self.config.get("history", ())]


def converted(text: str | bytes, *, images: Images | None = None, **options) -> Outcome:
    """Convert and marshal for linux/amd64."""
    content = text.encode() if isinstance(text, str) else text
    findings = []
    settings = {"build_platforms": (AMD64,), "known_caps": frozenset(caps.BY_PING)} | options
    file = SourceFile("Dockerfile", "Dockerfile", content)
    given = ConvertOptions(source_file=file, report=findings.append, **settings)
    result = asyncio.run(convert(content, given, images or Images()))
    definition = result.definition("unique")
    return Outcome(
        [pb.Op.FromString(op) for op in definition.ops],
        [m.description["llb.customname"] for m in definition.metadata.values() if m.description],
        json.loads(result.image.to_json()),
        [f.summary for f in findings],
        result,
        definition,
    )
