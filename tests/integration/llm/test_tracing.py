from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from morningai.llm import ModelClient, ModelSettings, ModelUnavailable, Prompt, Uncharged, instrument_model_calls
from morningai.llm.tracing import uninstrument_model_calls
from morningai.testing.model_script import Script, ScriptedReply
from morningai.testing.model_server import ScriptedModelServer

PROMPT = Prompt("greet", 1, "You keep SECRETWORD one.", "Greet the SECRETWORD world.")


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "span_and_event")
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    instrument_model_calls(provider, MeterProvider())
    yield exporter
    uninstrument_model_calls()


async def call(reply: ScriptedReply) -> None:
    async with ScriptedModelServer(Script.of(reply)).serving() as server:
        settings = ModelSettings(base_url=server.base_url, model="asked-model", max_attempts=1)
        client = ModelClient.from_settings(settings)
        assert client is not None
        try:
            await client.charged_to(Uncharged()).complete_text(PROMPT, 100)
        finally:
            await client.close()


def everything_said(span: ReadableSpan) -> str:
    return span.to_json()


async def test_a_call_leaves_one_span_with_model_and_tokens(spans: InMemorySpanExporter) -> None:
    await call(ScriptedReply(content="SECRETWORD answer", prompt_tokens=40))

    (span,) = spans.get_finished_spans()
    assert span.attributes is not None
    assert span.name == "chat asked-model"
    assert span.attributes["gen_ai.response.model"] == "scripted-model"
    assert span.attributes["gen_ai.usage.input_tokens"] == 40


@pytest.mark.parametrize(
    "reply",
    [
        ScriptedReply(content="SECRETWORD answer"),
        ScriptedReply(status=500, error=f"cannot read {PROMPT.user}"),
        ScriptedReply(content="SECRETWORD answer", cut_after=12),
        ScriptedReply(content="SECRETWORD answer", garbled=True),
    ],
    ids=["answered", "echoed_in_an_error", "cut", "garbled"],
)
async def test_no_span_repeats_what_was_said(spans: InMemorySpanExporter, reply: ScriptedReply) -> None:
    with contextlib.suppress(ModelUnavailable):
        await call(reply)

    (span,) = spans.get_finished_spans()
    assert "SECRETWORD" not in everything_said(span)
