"""The one client for language models: a prompt in, a checked value out, with retries, one repair and the tokens spent.

Nothing that a prompt or an answer says is put into an error, a log line or a span.
"""

from __future__ import annotations

import asyncio
from typing import TypeVar

import httpx2
import structlog
from pydantic import BaseModel

from morningai.deadline import seconds_left
from morningai.errors import InvalidInput
from morningai.llm.budget import Budget
from morningai.llm.completion import Completion
from morningai.llm.connection import Message, Reply, make_connection
from morningai.llm.endpoint import Endpoint, Meter, Question
from morningai.llm.errors import ModelFailure, ModelOutputInvalid, ModelPromptTooLong, ModelUnavailable
from morningai.llm.output import JsonOutput, MalformedOutput, Output, TextOutput
from morningai.llm.prompt import Prompt
from morningai.llm.settings import PLATFORM_NAMES, ModelSettings, SettingNames
from morningai.llm.tokens import estimate_tokens, fewest_tokens
from morningai.redaction import remember

log = structlog.get_logger()

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

_REPAIR = "Your answer could not be used: {problem}. Answer the same request again, complete and in the right form."
_REPEATED_ANSWER_CHARACTERS = 4_000


class ModelClient:
    """Asks after `charged_to`: a call that nobody pays for cannot be made."""

    def __init__(self, settings: ModelSettings, endpoint: Endpoint, budget: Budget | None = None) -> None:
        self._settings = settings
        self._endpoint = endpoint
        self._budget = budget

    @classmethod
    def from_settings(cls, settings: ModelSettings) -> ModelClient | None:
        """None when no endpoint is configured; InvalidInput when one is, but no model is named."""
        if not settings.configured:
            return None
        if settings.model is None:
            raise InvalidInput("MORNINGAI_MODEL_NAME", "is not set", remedy="Name the model that the endpoint serves.")
        if settings.api_key is not None:
            remember([settings.api_key.get_secret_value()])
        return cls.connected(settings)

    @classmethod
    def connected(
        cls,
        settings: ModelSettings,
        *,
        names: SettingNames = PLATFORM_NAMES,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> ModelClient:
        """With a transport, nothing is reached but through it."""
        assert settings.model is not None
        return cls(settings, Endpoint(settings, make_connection(settings, transport), settings.model, names))

    def charged_to(self, budget: Budget) -> ModelClient:
        """The same endpoint, its calls charged to the budget."""
        return ModelClient(self._settings, self._endpoint, budget)

    @property
    def engine(self) -> str:
        return self._settings.engine

    @property
    def model(self) -> str:
        return self._endpoint.model

    def prompt_budget(self, max_output_tokens: int) -> int:
        """Tokens that remain for a prompt, to be compared with `estimate_tokens`."""
        return self._settings.context_tokens - max_output_tokens

    async def complete(
        self, prompt: Prompt, schema: type[M], max_output_tokens: int, *, temperature: float = 0.0
    ) -> Completion[M]:
        """Raises ModelUnavailable when trying later may help, else one of the ModelFailures, BudgetExhausted too."""
        output = JsonOutput(schema)
        return await self._within_deadline(output, _question(prompt, output, max_output_tokens, temperature))

    async def complete_text(
        self, prompt: Prompt, max_output_tokens: int, *, temperature: float = 0.0
    ) -> Completion[str]:
        """Raises as `complete` does; an empty answer counts as malformed."""
        output = TextOutput(prompt.tags)
        return await self._within_deadline(output, _question(prompt, output, max_output_tokens, temperature))

    async def close(self) -> None:
        await self._endpoint.close()

    async def _within_deadline(self, output: Output[T], question: Question) -> Completion[T]:
        assert self._budget is not None, "charged_to says whose budget pays for the call"
        meter = Meter(self._budget)
        total_seconds = _shorter(self._settings.total_timeout_seconds, seconds_left())
        try:
            async with asyncio.timeout(total_seconds):
                return await self._answer(output, question, meter)
        except TimeoutError as error:
            cause = f"the call took longer than {total_seconds:g} s"
            raise ModelUnavailable(
                cause, attempts=meter.attempts, usage=meter.usage, names=self._endpoint.names
            ) from error
        except ModelFailure as error:
            error.usage = meter.usage
            raise

    async def _answer(self, output: Output[T], question: Question, meter: Meter) -> Completion[T]:
        self._refuse_what_cannot_fit(question)
        reply = await self._endpoint.reply(question, meter)
        try:
            value = output.parse(reply.text)
        except MalformedOutput as malformed:
            log.info("llm.output.malformed")
            reply = await self._endpoint.reply(_repair(question, reply, str(malformed)), meter)
            value = _parse_repaired(output, reply.text)
        return Completion(
            value=value,
            engine=self.engine,
            model=reply.model or self.model,
            prompt_tokens=meter.usage.prompt_tokens,
            completion_tokens=meter.usage.completion_tokens,
        )

    def _refuse_what_cannot_fit(self, question: Question) -> None:
        if fewest_tokens(question.text) > self.prompt_budget(question.max_output_tokens):
            raise ModelPromptTooLong(
                prompt_tokens=estimate_tokens(question.text),
                max_output_tokens=question.max_output_tokens,
                context_tokens=self._settings.context_tokens,
                names=self._endpoint.names,
            )


def _shorter(seconds: float, call_seconds: float | None) -> float:
    return seconds if call_seconds is None else max(0.0, min(seconds, call_seconds))


def _question(prompt: Prompt, output: Output[T], max_output_tokens: int, temperature: float) -> Question:
    messages = (Message("system", prompt.system), Message("user", prompt.user))
    return Question(messages, output, max_output_tokens, temperature)


def _repair(question: Question, reply: Reply, problem: str) -> Question:
    answer = Message("assistant", reply.text[:_REPEATED_ANSWER_CHARACTERS] or "(nothing)")
    return question.followed_by(answer, Message("user", _REPAIR.format(problem=problem)))


def _parse_repaired(output: Output[T], text: str) -> T:
    try:
        return output.parse(text)
    except MalformedOutput as malformed:
        raise ModelOutputInvalid(str(malformed)) from malformed
