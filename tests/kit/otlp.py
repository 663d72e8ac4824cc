"""The messages in which spans travel, as far as tests look into them (opentelemetry/proto/trace/v1)."""

from __future__ import annotations

from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.message_factory import GetMessageClass

_BYTES, _TEXT, _ENUM, _FIXED64, _MESSAGE = 12, 9, 5, 6, 11
_MESSAGES = {
    "AnyValue": {"string_value": (1, _TEXT)},
    "KeyValue": {"key": (1, _TEXT), "value": (2, "AnyValue")},
    "Status": {"message": (2, _TEXT), "code": (3, _ENUM)},
    "Span": {
        "trace_id": (1, _BYTES),
        "span_id": (2, _BYTES),
        "parent_span_id": (4, _BYTES),
        "name": (5, _TEXT),
        "kind": (6, _ENUM),
        "start_time_unix_nano": (7, _FIXED64),
        "end_time_unix_nano": (8, _FIXED64),
        "status": (15, "Status"),
    },
    "Resource": {"attributes": (1, ["KeyValue"])},
    "Scope": {"name": (1, _TEXT)},
    "ScopeSpans": {"scope": (1, "Scope"), "spans": (2, ["Span"])},
    "ResourceSpans": {"resource": (1, "Resource"), "scope_spans": (2, ["ScopeSpans"])},
    "ExportTraceServiceRequest": {"resource_spans": (1, ["ResourceSpans"])},
}


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name="tests/otlp.proto", package="tests.otlp", syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            repeated = isinstance(kind, list)
            inner = kind[0] if repeated else kind
            one = message.field.add(name=field, number=number, label=3 if repeated else 1)
            one.type = _MESSAGE if isinstance(inner, str) else inner
            if isinstance(inner, str):
                one.type_name = f".tests.otlp.{inner}"
    return file


_POOL = descriptor_pool.DescriptorPool()
_POOL.Add(_file())
ExportTraceServiceRequest = GetMessageClass(_POOL.FindMessageTypeByName("tests.otlp.ExportTraceServiceRequest"))
