"""Which failures of an attempt are worth another one, how long to wait, and what to call them."""

from __future__ import annotations

import email.utils
import json
import secrets
import time
from dataclasses import dataclass

import httpx2
import pydantic
from openai import APIConnectionError, APIError, APIStatusError, APITimeoutError

from morningai.llm.connection import StreamCut
from morningai.llm.errors import ModelRefused
from morningai.llm.settings import SettingNames

_RETRIED_STATUS = frozenset({408, 409, 425, 429})
_REFUSALS = {
    401: ("the key is not valid", "Set {0.api_key} to a valid key."),
    403: ("the key may not use this model", "Use a key that may, or set {0.model} to another model."),
    404: ("it knows no such model or path", "Check {0.model}, and that {0.base_url} ends with /v1."),
}

AttemptError = (APIError, StreamCut, httpx2.TransportError, json.JSONDecodeError, pydantic.ValidationError)


@dataclass(frozen=True)
class Backoff:
    """Exponential with full jitter: uniform between 0 and base · 2^(attempt-1), never above the longest wait."""

    base_seconds: float
    max_seconds: float

    def wait_seconds(self, attempt: int) -> float:
        bound = min(self.max_seconds, self.base_seconds * 2 ** (attempt - 1))
        return secrets.SystemRandom().uniform(0, bound)


def is_retryable(error: Exception) -> bool:
    if isinstance(error, APIStatusError):
        return error.status_code in _RETRIED_STATUS or error.status_code >= 500
    return True


def was_not_worked_on(error: BaseException) -> bool:
    """True when the server answered with a status, or was never reached."""
    never_reached = isinstance(error.__cause__, httpx2.ConnectError | httpx2.ConnectTimeout)
    return isinstance(error, APIStatusError) or (isinstance(error, APIConnectionError) and never_reached)


def describe(error: Exception) -> str:
    """What happened, without anything the server said: it may have repeated the prompt."""
    if isinstance(error, APIStatusError):
        return f"HTTP status {error.status_code}"
    if isinstance(error, APITimeoutError | httpx2.TimeoutException):
        return "the server stayed silent for too long"
    if isinstance(error, APIConnectionError | httpx2.TransportError):
        return f"the connection failed or broke ({type(error.__cause__ or error).__name__})"
    if isinstance(error, StreamCut):
        return str(error)
    if isinstance(error, APIError):
        return "the server reported an error in the middle of its answer"
    return "the server sent something that is not the OpenAI protocol"


def retry_after_seconds(error: Exception, *, now: float | None = None) -> float | None:
    """The server's Retry-After, in seconds from now, whether given in seconds or as a date."""
    if not isinstance(error, APIStatusError):
        return None
    value = error.response.headers.get("retry-after", "").strip()
    try:
        return max(0.0, float(value))
    except ValueError:
        date = email.utils.parsedate_tz(value)
    if date is None:
        return None
    return max(0.0, email.utils.mktime_tz(date) - (time.time() if now is None else now))


def complaint_of(error: APIStatusError) -> str:
    """The server's own words, to be searched and not shown."""
    return json.dumps(error.body, default=str).lower()


def is_context_overflow(error: APIStatusError) -> bool:
    complaint = complaint_of(error)
    return (
        error.status_code in (400, 413, 422)
        and "context" in complaint
        and ("exceed" in complaint or "length" in complaint)
    )


def refusal_of(error: APIStatusError, names: SettingNames) -> ModelRefused:
    problem, remedy = _REFUSALS.get(
        error.status_code, (f"HTTP status {error.status_code}", "Check that the endpoint speaks the OpenAI protocol.")
    )
    return ModelRefused(problem, remedy=remedy.format(names), status=error.status_code)
