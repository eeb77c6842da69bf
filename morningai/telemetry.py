"""OpenTelemetry for gRPC, the bus, SQL and model calls: one trace per task, kept in the rows and headers of messages.

Nothing is exported unless OTEL_EXPORTER_OTLP_ENDPOINT is set; trace IDs are made and kept all the same.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import Link, Span, SpanKind, Status
from opentelemetry.util.types import Attributes, AttributeValue

from morningai.redaction import hide_secrets

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

    exporter = Redacting(OTLPSpanExporter(timeout=EXPORT_SECONDS))
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=1000))
    PsycopgInstrumentor().instrument(enable_commenter=False)


class Redacting(SpanExporter):
    """Exports copies of spans in which no attribute, event or status holds a credential."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return self._exporter.export([_redacted(span) for span in spans])

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return self._exporter.force_flush(timeout_millis)


def _redacted(span: ReadableSpan) -> ReadableSpan:
    return ReadableSpan(
        name=hide_secrets(span.name),
        context=span.get_span_context(),
        parent=span.parent,
        resource=span.resource,
        attributes=_attributes(span.attributes),
        events=[Event(event.name, _attributes(event.attributes), event.timestamp) for event in span.events],
        links=[Link(link.context, _attributes(link.attributes)) for link in span.links],
        kind=span.kind,
        status=Status(span.status.status_code, span.status.description and hide_secrets(span.status.description)),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def _attributes(attributes: Attributes) -> Attributes:
    return {name: _attribute(value) for name, value in (attributes or {}).items()}


def _attribute(value: AttributeValue) -> AttributeValue:
    if isinstance(value, str):
        return hide_secrets(value)
    if isinstance(value, Sequence):
        return tuple(hide_secrets(item) if isinstance(item, str) else item for item in value)
    return value


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


@contextmanager
def new_trace(name: str) -> Iterator[Span]:
    """A span that begins a trace, for work that recurs; what brought it about is linked."""
    cause = Link(trace.get_current_span().get_span_context())
    with tracer.start_as_current_span(name, context=Context(), links=[cause]) as span:
        yield span
