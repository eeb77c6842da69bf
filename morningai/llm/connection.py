"""One attempt at a streamed chat completion over the real OpenAI client, whose own retries are off.

Streaming lets a stalled server be noticed by its silence, and closing the stream stops a generation nobody waits for.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import httpx2
from openai import APIStatusError, AsyncOpenAI, omit
from openai.types.chat import ChatCompletionChunk, ChatCompletionMessageParam
from openai.types.chat.completion_create_params import ResponseFormat
from pydantic import TypeAdapter

from morningai.llm.dialect import Dialect
from morningai.llm.errors import Usage
from morningai.llm.output import JsonObject
from morningai.llm.settings import OPENAI_URL, ModelSettings
from morningai.llm.tokens import estimate_tokens, fewest_tokens

_RESPONSE_FORMAT: TypeAdapter[ResponseFormat] = TypeAdapter(ResponseFormat)
_SENT_HEADERS = {"host", "accept", "accept-encoding", "connection", "content-type", "content-length", "user-agent"}


class StreamCut(Exception):
    """The stream ended without saying that the answer is complete."""


@dataclass(frozen=True)
class Message:
    role: str
    content: str


@dataclass(frozen=True)
class Request:
    model: str
    messages: tuple[Message, ...]
    max_output_tokens: int
    temperature: float
    response_format: JsonObject | None
    dialect: Dialect

    @property
    def text(self) -> str:
        return "\n".join(message.content for message in self.messages)


@dataclass
class Reply:
    """What has arrived so far; kept by the caller, so that an interrupted stream can still be charged."""

    parts: list[str] = field(default_factory=list)
    model: str = ""
    finish_reason: str | None = None
    refusal: str = ""
    usage: Usage | None = None

    @property
    def text(self) -> str:
        return "".join(self.parts)

    def charge(self, request: Request) -> Usage:
        """The reported tokens, or an estimate where the server sent none."""
        if self.usage is not None:
            return self.usage
        return Usage(estimate_tokens(request.text), estimate_tokens(self.text))


class _DiscreetOpenAI(AsyncOpenAI):
    def _make_status_error(self, err_msg: str, *, body: object, response: httpx2.Response) -> APIStatusError:
        # Servers repeat the request in their complaints, and the message would end up in spans and logs.
        return super()._make_status_error(f"HTTP status {response.status_code}", body=body, response=response)


def make_connection(settings: ModelSettings, transport: httpx2.AsyncBaseTransport | None = None) -> AsyncOpenAI:
    """Through a transport no redirect is followed, and nothing of the environment is used: neither its proxy nor what
    the library would add of OPENAI_*."""
    # At DEBUG the library logs whole requests, prompts included.
    logging.getLogger("openai").setLevel(logging.INFO)
    key = settings.api_key.get_secret_value() if settings.api_key else "none"
    timeout = httpx2.Timeout(settings.inactivity_timeout_seconds, connect=settings.connect_timeout_seconds)
    client = None
    if transport is not None:
        hooks: dict[str, list[Callable[..., object]]] = {"request": [partial(_send_nothing_else, key)]}
        client = httpx2.AsyncClient(
            transport=transport, timeout=timeout, follow_redirects=False, trust_env=False, event_hooks=hooks
        )
    return _DiscreetOpenAI(
        base_url=settings.base_url or OPENAI_URL, api_key=key, max_retries=0, timeout=timeout, http_client=client
    )


async def _send_nothing_else(key: str, request: httpx2.Request) -> None:
    """OPENAI_ORG_ID, OPENAI_PROJECT_ID and OPENAI_CUSTOM_HEADERS are the platform's: a tenant's endpoint sees none."""
    for name in set(request.headers) - _SENT_HEADERS:
        del request.headers[name]
    request.headers["authorization"] = f"Bearer {key}"


async def stream_reply(connection: AsyncOpenAI, request: Request, reply: Reply) -> None:
    """Fills `reply` as the answer arrives; raises what the client raises, or StreamCut."""
    dialect = request.dialect
    stream = await connection.chat.completions.create(
        stream=True,
        model=request.model,
        messages=_messages(request.messages),
        response_format=_RESPONSE_FORMAT.validate_python(request.response_format) if request.response_format else omit,
        temperature=request.temperature if dialect.temperature else omit,
        max_tokens=omit if dialect.completion_limit else request.max_output_tokens,
        max_completion_tokens=request.max_output_tokens if dialect.completion_limit else omit,
        stream_options={"include_usage": True} if dialect.usage_in_stream else omit,
    )
    async with stream:
        async for chunk in stream:
            _add(reply, chunk)
    if reply.finish_reason is None:
        raise StreamCut("the connection ended in the middle of the answer")


def reads_fewer_tokens(request: Request, reply: Reply) -> tuple[int, int] | None:
    """Reported and expected tokens when the server cannot have read the whole prompt."""
    expected = fewest_tokens(request.text)
    if reply.usage is None or not 0 < reply.usage.prompt_tokens < expected:
        return None
    return reply.usage.prompt_tokens, expected


def _add(reply: Reply, chunk: ChatCompletionChunk) -> None:
    reply.model = chunk.model or reply.model
    if chunk.usage is not None:
        reply.usage = Usage(chunk.usage.prompt_tokens, chunk.usage.completion_tokens)
    for choice in chunk.choices[:1]:
        reply.parts.append(choice.delta.content or "")
        reply.refusal += choice.delta.refusal or ""
        reply.finish_reason = choice.finish_reason or reply.finish_reason


def _messages(messages: Sequence[Message]) -> list[ChatCompletionMessageParam]:
    made: list[ChatCompletionMessageParam] = []
    for message in messages:
        if message.role == "system":
            made.append({"role": "system", "content": message.content})
        elif message.role == "assistant":
            made.append({"role": "assistant", "content": message.content})
        else:
            made.append({"role": "user", "content": message.content})
    return made
