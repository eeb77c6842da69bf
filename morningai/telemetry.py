"""OpenTelemetry for gRPC, the bus, SQL and model calls: one trace per task, kept in the rows and headers of messages.

Nothing is exported unless OTEL_EXPORTER_OTLP_ENDPOINT is set; trace IDs are made and kept all the same.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Link, Span, SpanKind

# With its retries; an orderly stop waits for it, also when the collector is gone.
EXPORT_SECONDS = 2.0

tracer = trace.get_tracer("morningai")


def start_telemetry(service: str) -> TracerProvider:
    """Install the provider of this process; call once, before anything is instrumented."""
    provider = TracerProvider(resource=Resource.create({"service.name": f"morningai-{service}"}))
    if os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        _export(provider)
    trace.set_tracer_provider(provider)
    return provider


def _export(provider: TracerProvider) -> None:
    """Imports what only exporting needs, a sixth of the time that a service's imports take."""
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.instrumentation.psycopg import PsycopgInstrumentor
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    exporter = OTLPSpanExporter(timeout=EXPORT_SECONDS)
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=1000))
    PsycopgInstrumentor().instrument(enable_commenter=False)


def current_traceparent() -> str:
    """The W3C `traceparent` of the current span; empty outside any."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return carrier.get("traceparent", "")


def current_trace_id() -> str:
    """32 hexadecimal digits; zeros outside any span."""
    return f"{trace.get_current_span().get_span_context().trace_id:032x}"


def context_of(traceparent: str) -> Context:
    return propagate.extract({"traceparent": traceparent})


@contextmanager
def consumer_span(name: str, traceparent: str, attributes: dict[str, str]) -> Iterator[Span]:
    """A span for one message, child of the span that wrote it, however long ago that was."""
    with tracer.start_as_current_span(
        name, context=context_of(traceparent), kind=SpanKind.CONSUMER, attributes=attributes
    ) as span:
        yield span


@contextmanager
def continued_span(name: str, traceparent: str) -> Iterator[Span]:
    """A span in the trace of earlier work, for a call that arrived in a trace of its own; the call is linked."""
    call = Link(trace.get_current_span().get_span_context())
    with tracer.start_as_current_span(name, context=context_of(traceparent), links=[call]) as span:
        yield span
