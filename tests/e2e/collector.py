"""A collector of spans in the test's process: the OTLP trace service over gRPC."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as api
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc


@dataclass(frozen=True)
class Span:
    """`service` is the resource's name; identifiers are hexadecimal, `parent_id` of a root is empty."""

    service: str
    scope: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    content: str

    @property
    def is_sql(self) -> bool:
        return self.scope.endswith(".psycopg")

    @property
    def is_model_call(self) -> bool:
        return "openai" in self.scope


@dataclass
class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    spans: list[Span] = field(default_factory=list)
    port: int = 0

    @property
    def settings(self) -> dict[str, str]:
        """What a service needs in its environment to send its spans here."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self.port}",
            "OTEL_EXPORTER_OTLP_INSECURE": "true",
        }

    def Export(
        self, request: api.ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> api.ExportTraceServiceResponse:
        for resource in request.resource_spans:
            names = {item.key: item.value.string_value for item in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.spans += [
                    Span(
                        service=names["service.name"],
                        scope=scope.scope.name,
                        name=span.name,
                        trace_id=span.trace_id.hex(),
                        span_id=span.span_id.hex(),
                        parent_id=span.parent_span_id.hex(),
                        content=str(span),
                    )
                    for span in scope.spans
                ]
        return api.ExportTraceServiceResponse()

    def of_trace(self, trace_id: str) -> list[Span]:
        return [span for span in self.spans if span.trace_id == trace_id]


@contextmanager
def collecting() -> Iterator[Collector]:
    collector = Collector()
    server = grpc.server(ThreadPoolExecutor(max_workers=2))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
    collector.port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield collector
    server.stop(grace=1).wait()
