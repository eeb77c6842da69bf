"""The endpoint as one reliable part: attempts with bounded retries, and the dialect that was found to work."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import Protocol

import structlog
from openai import APIStatusError, AsyncOpenAI

from morningai.llm.budget import Budget
from morningai.llm.connection import Message, Reply, Request, reads_fewer_tokens, stream_reply
from morningai.llm.dialect import Dialect, Structure
from morningai.llm.errors import (
    ModelOutputCut,
    ModelPromptTooLong,
    ModelRefused,
    ModelTruncated,
    ModelUnavailable,
    Usage,
)
from morningai.llm.failure import (
    AttemptError,
    Backoff,
    complaint_of,
    describe,
    is_context_overflow,
    is_retryable,
    refusal_of,
    retry_after_seconds,
    was_not_worked_on,
)
from morningai.llm.output import JsonObject
from morningai.llm.settings import PLATFORM_NAMES, ModelSettings, SettingNames
from morningai.llm.tokens import estimate_tokens

log = structlog.get_logger()

# What a chat template adds to a message, at most, and how long settling may take.
_TEMPLATE_TOKENS = 16
_SETTLING_SECONDS = 60.0


class Shape(Protocol):
    """How the endpoint is told the form of an answer; every Output is one."""

    @property
    def structured(self) -> bool: ...

    def response_format(self, structure: Structure) -> JsonObject | None: ...

    def instruction(self, structure: Structure) -> str: ...


@dataclass(frozen=True)
class Question:
    """The system message comes first."""

    messages: tuple[Message, ...]
    shape: Shape
    max_output_tokens: int
    temperature: float

    @property
    def text(self) -> str:
        return "\n".join(message.content for message in self.messages)

    def followed_by(self, *messages: Message) -> Question:
        return replace(self, messages=(*self.messages, *messages))

    def in_dialect(self, dialect: Dialect, model: str) -> Request:
        system, *others = self.messages
        told = "\n\n".join(filter(None, (system.content, self.shape.instruction(dialect.structure))))
        return Request(
            model=model,
            messages=(Message("system", told), *others),
            max_output_tokens=self.max_output_tokens,
            temperature=self.temperature,
            response_format=self.shape.response_format(dialect.structure),
            dialect=dialect,
        )


@dataclass
class Meter:
    """Counts over everything that one call needed, its failed attempts included, and charges each attempt."""

    budget: Budget
    attempts: int = 0
    usage: Usage = Usage()  # noqa: RUF009  frozen


class Endpoint:
    def __init__(
        self, settings: ModelSettings, connection: AsyncOpenAI, model: str, names: SettingNames = PLATFORM_NAMES
    ) -> None:
        self.model = model
        self.names = names
        self._settings = settings
        self._connection = connection
        self._dialect = Dialect()
        self._backoff = Backoff(settings.retry_base_seconds, settings.retry_max_seconds)

    async def close(self) -> None:
        await self._connection.close()

    async def reply(self, question: Question, meter: Meter) -> Reply:
        """A whole answer; raises ModelUnavailable or a ModelFailure."""
        dialect, failed_attempts = self._dialect, 0
        while True:
            request = question.in_dialect(dialect, self.model)
            try:
                reply = await self._attempt(request, meter)
            except AttemptError as error:
                if isinstance(error, APIStatusError) and not is_retryable(error):
                    dialect = self._adapt_or_give_up(error, request, structured=question.shape.structured)
                else:
                    failed_attempts += 1
                    await self._wait_or_give_up(error, failed_attempts, meter)
            else:
                self._dialect = dialect
                self._refuse_incomplete(request, reply)
                return reply

    async def _attempt(self, request: Request, meter: Meter) -> Reply:
        reply = Reply()
        reservation = await meter.budget.reserve(
            self.model,
            prompt_tokens=estimate_tokens(request.text) + _TEMPLATE_TOKENS * len(request.messages),
            output_tokens=request.max_output_tokens,
            lifetime_seconds=self._settings.total_timeout_seconds + _SETTLING_SECONDS,
        )
        await reservation.mark_sent()
        meter.attempts += 1
        try:
            await stream_reply(self._connection, request, reply)
        except BaseException as error:
            # Of an attempt that broke off nobody knows what it cost: it is charged, unless it was never worked on.
            if was_not_worked_on(error):
                await reservation.release()
            else:
                meter.usage += reply.charge(request)
                await reservation.settle_in_full()
            raise
        used = reply.charge(request)
        meter.usage += used
        await reservation.settle(used)
        return reply

    def _adapt_or_give_up(self, error: APIStatusError, request: Request, *, structured: bool) -> Dialect:
        if is_context_overflow(error):
            raise ModelPromptTooLong(
                prompt_tokens=estimate_tokens(request.text),
                max_output_tokens=request.max_output_tokens,
                context_tokens=self._settings.context_tokens,
                names=self.names,
            ) from error
        adapted = None
        if error.status_code in (400, 422):
            adapted = request.dialect.after_refusal(complaint_of(error), structured=structured)
        if adapted is None:
            raise refusal_of(error, self.names) from error
        log.info("llm.endpoint.adapted", structure=adapted.structure, status=error.status_code)
        return adapted

    async def _wait_or_give_up(self, error: Exception, failed_attempts: int, meter: Meter) -> None:
        asked_seconds = retry_after_seconds(error)
        last = failed_attempts >= self._settings.max_attempts
        if last or (asked_seconds or 0) > self._settings.retry_max_seconds:
            raise ModelUnavailable(
                describe(error),
                attempts=meter.attempts,
                usage=meter.usage,
                retry_after_seconds=asked_seconds,
                names=self.names,
            ) from error
        wait_seconds = max(asked_seconds or 0, self._backoff.wait_seconds(failed_attempts))
        log.info("llm.attempt.failed", attempt=meter.attempts, cause=describe(error), wait_seconds=wait_seconds)
        await asyncio.sleep(wait_seconds)

    def _refuse_incomplete(self, request: Request, reply: Reply) -> None:
        if fewer := reads_fewer_tokens(request, reply):
            raise ModelTruncated(reported_tokens=fewer[0], expected_tokens=fewer[1], names=self.names)
        if reply.finish_reason == "length":
            raise ModelOutputCut(request.max_output_tokens)
        if reply.refusal or reply.finish_reason == "content_filter":
            raise ModelRefused("it declined to answer", remedy="Rephrase the request, or use another model.")
