"""Spans and metrics for model calls: model, tokens, duration and kind of error, and never what was said."""

from __future__ import annotations

import os
from collections.abc import Mapping

from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import Span, Status, StatusCode, TracerProvider

_CAPTURE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"


class _Discretion:
    """Called just before a span ends. Taking this place also keeps an uploading hook from being loaded."""

    def on_completion(self, *, span: Span | None = None, **content: object) -> None:
        attributes = getattr(span, "attributes", None)
        if span is not None and isinstance(attributes, Mapping) and "error.type" in attributes:
            # The description would be the server's complaint, which may repeat the prompt.
            span.set_status(Status(StatusCode.ERROR, str(attributes["error.type"])))


def instrument_model_calls(
    tracer_provider: TracerProvider | None = None, meter_provider: MeterProvider | None = None
) -> None:
    """Call once per process, before the first call; without providers the global ones are used."""
    os.environ.pop(_CAPTURE, None)
    OpenAIInstrumentor().instrument(
        tracer_provider=tracer_provider, meter_provider=meter_provider, completion_hook=_Discretion()
    )


def uninstrument_model_calls() -> None:
    OpenAIInstrumentor().uninstrument()
