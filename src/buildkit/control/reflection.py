"""gRPC server reflection, v1 and v1alpha (the same messages under two names): what services there are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from buildkit.api import attend_pb2, content_pb2, control_pb2, gateway_pb2, health_pb2
from buildkit.api import reflection_pb2 as pb
from buildkit.control.calls import parse
from buildkit.core.values import dataclass
from buildkit.rpc import status
from buildkit.rpc.server import Method, ServerCall

if TYPE_CHECKING:
    from google.protobuf.descriptor import FileDescriptor

SERVICES = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")
_FILES: tuple[FileDescriptor, ...] = tuple(
    module.DESCRIPTOR for module in (attend_pb2, control_pb2, gateway_pb2, content_pb2, health_pb2, pb)
)


@dataclass(frozen=True, slots=True)
class Reflection:
    """Answers about ``services``."""

    services: Sequence[str]

    def methods(self) -> dict[str, Method]:
        """The methods by path."""
        return {f"/{name}/ServerReflectionInfo": Method(streaming=self.run) for name in SERVICES}

    async def run(self, call: ServerCall) -> None:
        """Answer questions until there are no more."""
        async for content in call:
            request = parse(pb.ServerReflectionRequest, content)
            response = pb.ServerReflectionResponse(valid_host=request.host, original_request=request)
            self._answer(request, response)
            await call.send(response.SerializeToString())

    def _answer(self, request: pb.ServerReflectionRequest, response: pb.ServerReflectionResponse) -> None:
        kind = request.WhichOneof("message_request")
        found: FileDescriptor | None = None
        if kind == "list_services":
            names = sorted(self.services)
            response.list_services_response.service.extend(pb.ServiceResponse(name=name) for name in names)
            return
        if kind == "file_by_filename":
            found = next((file for file in _with_dependencies(_FILES) if file.name == request.file_by_filename), None)
        elif kind == "file_containing_symbol":
            found = _file_of(request.file_containing_symbol)
        if found is None:
            response.error_response.error_code = status.NOT_FOUND
            response.error_response.error_message = f"not found: {request.WhichOneof('message_request')}"
            return
        files = _with_dependencies((found,))
        response.file_descriptor_response.file_descriptor_proto.extend(file.serialized_pb for file in files)


def _file_of(symbol: str) -> FileDescriptor | None:
    for file in _FILES:
        package = file.package + "."
        name = symbol.removeprefix(package).partition(".")[0]
        parts = (file.services_by_name, file.message_types_by_name, file.enum_types_by_name)
        if symbol.startswith(package) and any(name in part for part in parts):
            return file
    return None


def _with_dependencies(files: Sequence[FileDescriptor]) -> Iterator[FileDescriptor]:
    """The files and all that they import, each once."""
    seen: set[str] = set()
    todo = list(files)
    while todo:
        file = todo.pop(0)
        if file.name not in seen:
            seen.add(file.name)
            yield file
            todo += file.dependencies
