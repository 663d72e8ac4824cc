"""Regenerate src/buildkit/api from its .proto files."""

import subprocess
import sys
from pathlib import Path

import google.rpc
import grpc_tools

SOURCE = Path(__file__).parent.parent / "src"


def main() -> None:
    includes = [
        SOURCE,
        Path(grpc_tools.__file__).parent / "_proto",
        Path(next(iter(google.rpc.__path__))).parent.parent,
    ]
    protos = sorted((SOURCE / "buildkit/api").glob("*.proto"))
    command = [sys.executable, "-m", "grpc_tools.protoc", *(f"-I{path}" for path in includes)]
    subprocess.run([*command, f"--python_out={SOURCE}", f"--mypy_out={SOURCE}", *map(str, protos)], check=True)


if __name__ == "__main__":
    main()
