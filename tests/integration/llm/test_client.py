"""The client against the scripted server, over HTTP and through the real openai library."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest
import structlog
from pydantic import BaseModel

from morningai.deadline import begin_deadline
from morningai.llm import (
    ModelClient,
    ModelOutputCut,
    ModelOutputInvalid,
    ModelPromptTooLong,
    ModelRefused,
    ModelSettings,
    ModelTruncated,
    ModelUnavailable,
    Prompt,
    Uncharged,
)
from morningai.testing.model_script import Script, ScriptedReply, ScriptedRule
from morningai.testing.model_server import ScriptedModelServer

PROMPT = Prompt("greet", 1, "You are brief.", "Greet the SECRETWORD world.")
LONG_PROMPT = Prompt("long", 1, "You are brief.", "one more word " * 500)


class Greeting(BaseModel):
    text: str
    loud: bool = False


RIGHT = ScriptedReply(value={"text": "hello", "loud": True})
BAD_GATEWAY = ScriptedReply(status=502)

Connect = Callable[..., Awaitable[tuple[ModelClient, ScriptedModelServer]]]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    async with AsyncExitStack() as stack:

        async def make(script: Script, **changes: object) -> tuple[ModelClient, ScriptedModelServer]:
            server = await stack.enter_async_context(ScriptedModelServer(script).serving())
            values = {"base_url": server.base_url, "api_key": "key", "model": "asked-model", "retry_base_seconds": 0.01}
            client = ModelClient.from_settings(ModelSettings.model_validate(values | changes))
            assert client is not None
            stack.push_async_callback(client.close)
            return client.charged_to(Uncharged()), server

        yield make


async def test_an_answer_comes_back_as_the_schema_with_engine_model_and_usage(connect: Connect) -> None:
    client, server = await connect(Script.of(ScriptedReply(value=RIGHT.value, prompt_tokens=40)))

    completion = await client.complete(PROMPT, Greeting, 100)

    assert completion.value == Greeting(text="hello", loud=True)
    assert (completion.engine, completion.model) == ("openai-compatible", "scripted-model")
    assert (completion.prompt_tokens, completion.completion_tokens) == (40, 4)
    assert server.calls[0].body["model"] == "asked-model"
    assert server.calls[0].body["max_tokens"] == 100
    assert server.calls[0].body["response_format"]["type"] == "json_schema"  # type: ignore[call-overload,index]


async def test_a_text_answer_comes_back_as_it_is(connect: Connect) -> None:
    client, server = await connect(Script.of(ScriptedReply(content="  line one\nline two\n")))

    completion = await client.complete_text(PROMPT, 100)

    assert completion.value == "  line one\nline two\n"
    assert "response_format" not in server.calls[0].body


async def test_without_an_endpoint_there_is_no_client() -> None:
    assert ModelClient.from_settings(ModelSettings(base_url=None, api_key=None)) is None


@pytest.mark.parametrize(
    ("refused", "wanted_format"),
    [(("json_schema",), {"type": "json_object"}), (("response_format",), None)],
    ids=["json_schema", "every_response_format"],
)
async def test_an_endpoint_that_refuses_a_response_format_is_told_the_schema_in_words(
    connect: Connect, refused: tuple[str, ...], wanted_format: object
) -> None:
    client, server = await connect(Script(refuses=refused, rules=(ScriptedRule(reply=RIGHT),)))

    first = await client.complete(PROMPT, Greeting, 100)
    calls_of_first = len(server.calls)
    await client.complete(PROMPT, Greeting, 100)

    assert first.value.text == "hello"
    assert server.calls[-1].body.get("response_format") == wanted_format
    assert '"loud"' in server.calls[-1].prompt
    assert len(server.calls) == calls_of_first + 1


@pytest.mark.parametrize("feature", ["stream_options", "temperature"])
async def test_a_feature_that_the_endpoint_refuses_is_left_out(connect: Connect, feature: str) -> None:
    client, server = await connect(Script(refuses=(f'"{feature}"',), rules=(ScriptedRule(reply=RIGHT),)))

    completion = await client.complete(PROMPT, Greeting, 100)

    assert feature not in server.calls[-1].body
    assert completion.prompt_tokens > 0


async def test_a_request_that_every_dialect_fails_with_leaves_the_dialect_alone(connect: Connect) -> None:
    refusal = ScriptedRule(when=("SECRETWORD",), reply=ScriptedReply(status=400, error="bad words"))
    client, server = await connect(Script(rules=(refusal, ScriptedRule(reply=RIGHT))))

    with pytest.raises(ModelRefused):
        await client.complete(PROMPT, Greeting, 100)
    await client.complete(Prompt("other", 1, "", "Greet."), Greeting, 100)

    assert server.calls[-1].body["response_format"]["type"] == "json_schema"  # type: ignore[call-overload,index]


async def test_malformed_output_is_repaired_once_and_the_model_is_told_what_was_wrong(connect: Connect) -> None:
    client, server = await connect(Script.of(ScriptedReply(content='{"loud": "purple"}', prompt_tokens=40), RIGHT))

    completion = await client.complete(PROMPT, Greeting, 100)

    assert completion.value.text == "hello"
    assert "text: Field required" in server.calls[1].prompt
    assert '{"loud": "purple"}' in server.calls[1].prompt
    assert completion.prompt_tokens > 40


@pytest.mark.parametrize("answer", ['{"loud": true}', "Hello there!", ""], ids=["wrong_shape", "prose", "nothing"])
async def test_output_that_stays_malformed_fails_with_the_tokens_it_cost(connect: Connect, answer: str) -> None:
    client, server = await connect(Script.of(ScriptedReply(content=answer, prompt_tokens=50)))

    with pytest.raises(ModelOutputInvalid) as failure:
        await client.complete(PROMPT, Greeting, 100)

    assert failure.value.reason == "model_output_invalid"
    assert failure.value.usage.prompt_tokens == 100
    assert len(server.calls) == 2


async def test_an_empty_text_is_asked_for_again_once(connect: Connect) -> None:
    client, server = await connect(Script.of(ScriptedReply(content=""), ScriptedReply(content="words")))

    assert (await client.complete_text(PROMPT, 100)).value == "words"
    assert len(server.calls) == 2


@pytest.mark.parametrize(
    "failure",
    [
        ScriptedReply(status=500),
        ScriptedReply(status=503),
        ScriptedReply(status=429),
        ScriptedReply(content="some text that breaks off", cut_after=8),
        ScriptedReply(content="some text that stops coming", stall_after=8),
        ScriptedReply(delay_seconds=30),
        ScriptedReply(content="some text", garbled=True),
    ],
    ids=["500", "503", "429", "cut_stream", "stall_in_the_middle", "stall_at_the_start", "not_the_protocol"],
)
async def test_a_passing_failure_is_tried_again(connect: Connect, failure: ScriptedReply) -> None:
    client, server = await connect(Script.of(failure, RIGHT), inactivity_timeout_seconds=0.2)

    completion = await client.complete(PROMPT, Greeting, 100)

    assert completion.value.text == "hello"
    assert len(server.calls) == 2


async def test_a_cut_answer_is_charged_with_the_one_that_replaced_it(connect: Connect) -> None:
    cut = ScriptedReply(content="some text that breaks off", cut_after=20)
    client, _ = await connect(Script.of(cut, ScriptedReply(value=RIGHT.value, prompt_tokens=40)))

    completion = await client.complete(PROMPT, Greeting, 100)

    assert completion.prompt_tokens > 40
    assert completion.completion_tokens > 4


@pytest.mark.parametrize(
    ("failure", "charged"),
    [(ScriptedReply(delay_seconds=30), True), (ScriptedReply(status=503), False)],
    ids=["silence", "status"],
)
async def test_a_failed_attempt_is_charged_when_the_server_may_have_worked_on_it(
    connect: Connect, failure: ScriptedReply, charged: bool
) -> None:
    client, _ = await connect(Script.of(failure), inactivity_timeout_seconds=0.1, max_attempts=1)

    with pytest.raises(ModelUnavailable) as unavailable:
        await client.complete(PROMPT, Greeting, 100)

    assert (unavailable.value.usage.prompt_tokens > 0) is charged


async def test_the_temperature_is_zero_unless_another_is_asked_for(connect: Connect) -> None:
    client, server = await connect(Script.of(ScriptedReply(content="words")))

    await client.complete_text(PROMPT, 100)
    await client.complete_text(PROMPT, 100, temperature=0.7)

    assert [call.body["temperature"] for call in server.calls] == [0, 0.7]


async def test_a_server_that_keeps_failing_is_unavailable_after_the_last_attempt(connect: Connect) -> None:
    client, server = await connect(Script.of(BAD_GATEWAY), max_attempts=3)

    with pytest.raises(ModelUnavailable) as failure:
        await client.complete(PROMPT, Greeting, 100)

    assert (failure.value.cause, failure.value.attempts) == ("HTTP status 502", 3)
    assert len(server.calls) == 3


async def test_a_server_that_is_not_there_is_unavailable(connect: Connect) -> None:
    client, _ = await connect(Script.of(RIGHT), base_url="http://127.0.0.1:9/v1", max_attempts=2)

    with pytest.raises(ModelUnavailable, match="connection failed"):
        await client.complete(PROMPT, Greeting, 100)


async def test_retry_after_is_waited_for(connect: Connect) -> None:
    client, _ = await connect(Script.of(ScriptedReply(status=429, retry_after="0.3"), RIGHT))
    started = time.monotonic()

    await client.complete(PROMPT, Greeting, 100)

    assert time.monotonic() - started >= 0.3


async def test_a_retry_after_beyond_the_longest_wait_is_handed_to_the_caller_at_once(connect: Connect) -> None:
    client, server = await connect(Script.of(ScriptedReply(status=429, retry_after="90")))

    with pytest.raises(ModelUnavailable) as failure:
        await client.complete(PROMPT, Greeting, 100)

    assert failure.value.retry_after_seconds == 90
    assert len(server.calls) == 1


async def test_a_call_ends_at_its_total_deadline(connect: Connect) -> None:
    client, _ = await connect(Script.of(ScriptedReply(delay_seconds=30)), total_timeout_seconds=0.2)

    with pytest.raises(ModelUnavailable, match=r"longer than 0\.2 s"):
        await client.complete(PROMPT, Greeting, 100)


async def test_a_call_ends_at_the_deadline_of_the_call_that_causes_it(connect: Connect) -> None:
    client, _ = await connect(Script.of(ScriptedReply(delay_seconds=30)), total_timeout_seconds=60)

    async def caused() -> None:
        begin_deadline(0.2)
        await client.complete(PROMPT, Greeting, 100)

    with pytest.raises(ModelUnavailable, match="longer than 0"):
        await asyncio.wait_for(asyncio.create_task(caused()), 5)


async def test_a_cancelled_call_closes_its_connection(connect: Connect) -> None:
    client, _ = await connect(Script.of(ScriptedReply(content="waiting", stall_after=3)))
    call = asyncio.create_task(client.complete_text(PROMPT, 100))
    await asyncio.sleep(0.2)

    call.cancel()

    with pytest.raises(asyncio.CancelledError):
        await call


async def test_an_answer_at_the_token_limit_is_an_error(connect: Connect) -> None:
    client, server = await connect(Script.of(ScriptedReply(content="never end", finish_reason="length")))

    with pytest.raises(ModelOutputCut, match="limit of 7 tokens"):
        await client.complete_text(PROMPT, 7)

    assert len(server.calls) == 1


async def test_a_prompt_that_the_server_silently_truncated_is_an_error_with_the_numbers(connect: Connect) -> None:
    client, _ = await connect(Script.of(ScriptedReply(value=RIGHT.value, prompt_tokens=600)))

    with pytest.raises(ModelTruncated) as failure:
        await client.complete(LONG_PROMPT, Greeting, 100)

    assert failure.value.reported_tokens == 600
    assert failure.value.expected_tokens > 1200


async def test_a_prompt_that_cannot_fit_is_not_sent(connect: Connect) -> None:
    client, server = await connect(Script.of(RIGHT), context_tokens=1024)

    with pytest.raises(ModelPromptTooLong):
        await client.complete(LONG_PROMPT, Greeting, 100)

    assert server.calls == []


async def test_a_prompt_that_the_server_finds_too_long_is_an_error(connect: Connect) -> None:
    complaint = "the request exceeds the available context size"
    client, server = await connect(Script.of(ScriptedReply(status=400, error=complaint)))

    with pytest.raises(ModelPromptTooLong):
        await client.complete(PROMPT, Greeting, 100)

    assert len(server.calls) == 1


async def test_a_wrong_key_is_refused_with_the_remedy_and_not_tried_again(connect: Connect) -> None:
    script = Script(api_key="another", rules=(ScriptedRule(reply=RIGHT),))
    client, server = await connect(script)

    with pytest.raises(ModelRefused, match="OPENAI_API_KEY"):
        await client.complete(PROMPT, Greeting, 100)

    assert len(server.calls) == 1


async def test_neither_errors_nor_log_lines_repeat_the_prompt(connect: Connect) -> None:
    echo = ScriptedReply(status=500, error=f"cannot read: {PROMPT.user}")
    client, _ = await connect(Script.of(echo), max_attempts=2)

    with structlog.testing.capture_logs() as lines, pytest.raises(ModelUnavailable) as failure:
        await client.complete(PROMPT, Greeting, 100)

    assert [line["event"] for line in lines] == ["llm.attempt.failed"]
    assert "SECRETWORD" not in f"{lines} {failure.value} {failure.value.__cause__}"
